"""Gumbel noise from a counter-based generator: a row's noise depends on seed, position and row, and on nothing else."""

import math

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check
from scoville.numerics import fp32, table
from scoville.numerics.pipe import Pipe
from scoville.slices import Skid

__all__ = ["GumbelNoise", "gumbel", "model", "noise_command", "threefry", "threefry_model"]

ROUNDS = 13  # Crush-resistant, with the recommended margin: Salmon et al., "Parallel random numbers", SC 2011
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA
LOG2_E = math.log2(math.e)
SMALL_BITS = 21  # words below 2^21 stand for x < 2^-11, where -log2(1 - x) is taken as x log2(e)

noise_command = data.StructLayout({"seed": 64, "position": 32, "rows": 24})


def threefry(pipe, counter, key):
    """The first word of Threefry-2x32 with 13 rounds, one round a stage. Latency 17.

    Parameters
    ----------
    counter : Staged 32-bit word c0, and c1, an HDL value that does not change while words are in the pipe
    key : two HDL values that do not change either
    """
    (x0, x1), keys = counter, (*key, key[0] ^ key[1] ^ PARITY)
    at = x0.at
    x0, x1 = pipe.reg((x0.value + keys[0])[:32], at), pipe.reg((x1 + keys[1])[:32], at)
    for turn in range(ROUNDS):
        at = x0.at
        total = pipe.wire((x0.value + x1.value)[:32])
        x0, x1 = pipe.reg(total, at), pipe.reg(x1.value.rotate_left(ROTATIONS[turn % 8]) ^ total, at)
        if turn % 4 == 3:
            step = turn // 4 + 1
            x0, x1 = (pipe.reg((x0.value + keys[step % 3])[:32], at + 1),
                      pipe.reg((x1.value + keys[(step + 1) % 3] + step)[:32], at + 1))
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
    """The noise of rows 0, 1, 2 … of one position: ``gumbel(threefry(key=seed, counter=(row, position)))``.

    Base 2: the row of the largest ``logit / (T ln 2) + noise`` is a sample of softmax(logit / T).
    One value a cycle; latency 43 cycles from the command, so the noise is ready before the logits are.

    Members
    -------
    command : In(stream(noise_command)), taken when the values of the command before have entered the pipeline, and left
    o : Out(stream(32)), FP32
    """

    command: In(stream.Signature(noise_command))
    o: Out(stream.Signature(32))

    def elaborate(self, platform):
        m = Module()
        enable, running = Signal(), Signal()
        pipe = Pipe(m, enable, occupied=Signal(name="occupied"))
        job = Signal(noise_command, reset_less=True)
        row = Signal(24)
        word = threefry(pipe, (pipe.input(row | Const(0, 32)), job.position), (job.seed[:32], job.seed[32:]))
        noise = gumbel(pipe, word)

        m.submodules.skid = skid = Skid(self.o.payload.shape())
        wiring.connect(m, skid.o, wiring.flipped(self.o))
        valids = pipe.occupy(running, noise.at)
        last = Signal(24, reset_less=True)
        with m.If(enable):
            m.d.sync += row.eq(Mux(running, row + 1, 0))
            with m.If(row == last):
                m.d.sync += running.eq(0)
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [job.eq(self.command.payload), last.eq(self.command.payload.rows - 1), row.eq(0),
                         running.eq(self.command.payload.rows != 0)]
        m.d.comb += [
            self.command.ready.eq(~running & ~pipe.occupied),
            skid.i.valid.eq(valids[-1]),
            skid.i.payload.eq(noise.value),
            enable.eq(skid.i.ready),  # a register, as it moves everything
        ]
        check(m, ~running | (row <= last), "noise: no row beyond the last")
        check(m, ~(self.command.valid & self.command.ready) | ~valids.any(), "noise: a command finds an empty pipeline")
        return m


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
