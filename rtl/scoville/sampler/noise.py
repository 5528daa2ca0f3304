"""Gumbel noise from a counter-based generator: a row's noise depends on seed, position and row, and on nothing else."""

import math

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check
from scoville.memory.dump import ROW_BITS
from scoville.numerics import fp32, table
from scoville.numerics.pipe import Pipe
from scoville.schedule.seats import PassState, Sampling
from scoville.slices import Skid

from .walk import Walk

__all__ = ["GumbelNoise", "gumbel", "model", "threefry", "threefry_model"]

ROUNDS = 13  # Crush-resistant, with the recommended margin: Salmon et al., "Parallel random numbers", SC 2011
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA
LOG2_E = math.log2(math.e)
SMALL_BITS = 21  # words below 2^21 stand for x < 2^-11, where -log2(1 - x) is taken as x log2(e)


def threefry(pipe, counter, key):
    """The first word of Threefry-2x32 with 13 rounds, one round a stage. Latency 17.

    Parameters
    ----------
    counter : Staged 32-bit word c0, and c1, an HDL value of its age
    key : of the key's two words and their parity: HDL values of an age, as a function (number, age)
    """
    x0, x1 = counter
    at = x0.at
    x0, x1 = pipe.reg((x0.value + key(0, at))[:32], at), pipe.reg((x1 + key(1, at))[:32], at)
    for turn in range(ROUNDS):
        at = x0.at
        total = pipe.wire((x0.value + x1.value)[:32])
        x0, x1 = pipe.reg(total, at), pipe.reg(x1.value.rotate_left(ROTATIONS[turn % 8]) ^ total, at)
        if turn % 4 == 3:
            step = turn // 4 + 1
            x0, x1 = (pipe.reg((x0.value + key(step % 3, at + 1))[:32], at + 1),
                      pipe.reg((x1.value + key((step + 1) % 3, at + 1) + step)[:32], at + 1))
    return x0


def gumbel(pipe, word):
    """Base-2 Gumbel noise of a 32-bit random word. Latency 25.

    With x = (2w + 1) * 2^-33, uniform in (0, 1)::

        E = mul(f32(x), log2 e)    if w < 2^21 (the first two terms differ by less than 2^-11 E),
            -log2_fixed(1 - x)     otherwise: an exponential variable
        noise = -log2(E)

    so that the largest noise, whose row is the likeliest to win, keeps its precision: 2^-33 <= x.
    """
    at, (w,) = pipe.align(word)
    small = fp32.from_int(pipe, pipe.input(Cat(Const(1, 1), w[:SMALL_BITS]), at), -33)
    small = fp32.mul(pipe, small, pipe.input(fp32.constant(LOG2_E), small.at))
    large = table.log2_fixed(pipe, pipe.input(Cat(Const(1, 1), ~w), at), 33)
    choose = pipe.delay(pipe.input(~w[SMALL_BITS:].any(), at), large.at)
    energy = Mux(choose, pipe.delay(small, large.at), fp32.neg(large.value))
    result = table.log2(pipe, pipe.reg(energy, large.at))
    return pipe.input(fp32.neg(result.value), result.at)


class GumbelNoise(wiring.Component):
    """The noise of the pairs of `Walk`: ``gumbel(threefry(key=seed, counter=(row, position)))`` of the pair's seat.

    Base 2: the row of the largest ``logit / (T ln 2) + noise`` is a sample of softmax(logit / T).
    One value a cycle; latency 43 cycles from the command, so the noise is ready before the logits are. With more slots
    than one it is 44: what goes with a seat is chosen in the cycle before it is used, each time that it is.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    state, sampling : In(PassState), In(Sampling), stable from the cycle before a command to its last value
    command : In(stream(rows)), taken when the values of the command before have entered the pipeline, and left
    o : Out(stream(32)), FP32
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "state": In(PassState(config)),
            "sampling": In(Sampling(config)),
            "command": In(stream.Signature(ROW_BITS)),
            "o": Out(stream.Signature(32)),
        })

    def elaborate(self, platform):
        m = Module()
        enable = Signal()
        pipe = Pipe(m, enable, occupied=Signal(name="occupied"))
        m.submodules.walk = walk = Walk(self.config)
        position, key = self._of_seats(m, pipe, walk) if self.config.slots > 1 else self._of_one(m)
        age = int(self.config.slots > 1)  # of a row when it meets its position and key
        row = pipe.delay(pipe.input(walk.row | Const(0, 32)), age)
        noise = gumbel(pipe, threefry(pipe, (pipe.input(row, age), position), key))

        m.submodules.skid = skid = Skid(self.o.payload.shape())
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        valids = pipe.occupy(walk.running, noise.at)
        last_row = Signal(ROW_BITS, reset_less=True)
        begins = self.command.valid & self.command.ready
        with m.If(begins):
            m.d.sync += last_row.eq(self.command.payload - 1)
        m.d.comb += [
            walk.state.eq(self.state),
            walk.last_row.eq(last_row),
            walk.start.eq(begins & (self.command.payload != 0)),
            walk.next.eq(enable & walk.running),
            self.command.ready.eq(~walk.running & ~pipe.occupied),
            skid.i.valid.eq(valids[-1]),
            skid.i.payload.eq(noise.value),
            enable.eq(skid.i.ready),  # a register, as it moves everything
        ]
        check(m, ~walk.running | (walk.row <= last_row), "noise: no row beyond the last")
        check(m, ~begins | ~valids.any(), "noise: a command finds an empty pipeline")
        return m

    def _of_one(self, m):
        """Position and key of the only seat that samples, from registers."""
        seed, position = Signal(64, reset_less=True), Signal(32, reset_less=True)
        seat = Signal(range(self.config.seats))
        m.d.comb += seat.eq(self.state.tokens - 1)
        m.d.sync += [seed.eq(self.sampling[0].seed), position.eq(self.state.seats[seat].position)]
        keys = words(seed)
        return position, lambda number, at: keys[number]

    def _of_seats(self, m, pipe, walk):
        """Those of the seat that a value of the pipe is for."""
        seat = pipe.input(walk.seat)
        keys = [Array(key) for key in zip(*(words(choice.seed) for choice in self.sampling), strict=True)]
        position = Array(seat.position for seat in self.state.seats)

        def chosen(values, at):
            return pipe.reg(values[pipe.delay(seat, at - 1)], at - 1).value

        return chosen(position, 1), lambda number, at: chosen(keys[number], at)


def words(seed):
    """The key's words, and their parity."""
    low, high = seed[:32], seed[32:]
    return low, high, low ^ high ^ PARITY


def threefry_model(counter, key, rounds=ROUNDS):
    """Threefry-2x32 on uint32 arrays: (x0, x1)."""
    keys = [np.asarray(k, np.uint32) for k in key]
    keys.append(keys[0] ^ keys[1] ^ np.uint32(PARITY))
    x0, x1 = (np.atleast_1d(np.asarray(c, np.uint32)) + k for c, k in zip(counter, keys[:2], strict=True))
    for turn in range(rounds):
        left = ROTATIONS[turn % 8]
        x0 = x0 + x1
        x1 = (x1 << np.uint32(left) | x1 >> np.uint32(32 - left)) ^ x0
        if turn % 4 == 3:
            step = turn // 4 + 1
            x0, x1 = x0 + keys[step % 3], x1 + keys[(step + 1) % 3] + np.uint32(step)
    return x0, x1


def model(seed, position, rows):
    """The noise of rows 0 to `rows` - 1, float32[rows].

    Parameters
    ----------
    seed : int, 64 bits
    position : int, of the token whose logits are sampled
    """
    f = fp32.model
    counter = np.arange(rows, dtype=np.uint32), np.full(rows, position & 0xFFFFFFFF, np.uint32)
    key = np.full(1, seed & 0xFFFFFFFF, np.uint32), np.full(1, seed >> 32 & 0xFFFFFFFF, np.uint32)
    word = threefry_model(counter, key)[0].astype(np.int64)
    small = f.mul(f.from_int(2 * word + 1, -33), np.float32(LOG2_E))
    large = f.neg(table.model.log2_fixed((1 << 33) - 1 - 2 * word, 33))
    return f.neg(table.model.log2(np.where(word < 1 << SMALL_BITS, small, large)))
