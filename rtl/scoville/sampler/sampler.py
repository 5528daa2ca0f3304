"""The sampler: chooses tokens while the logits pass, and stores none of them."""

import numpy as np
from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.masks import first_of
from scoville.memory.dump import ROW_BITS, copy_layout
from scoville.numerics import fp32
from scoville.numerics.pipe import Pipe
from scoville.schedule.seats import PassState, Sampling
from scoville.slices import StreamSlice

from . import noise
from .noise import GumbelNoise
from .walk import Walk

__all__ = ["Sampler", "is_greedy", "model", "sampler_command"]

sampler_command = data.StructLayout({"rows": ROW_BITS})  # logits a seat, not 0


def is_greedy(field):
    """Whether an `invt` of this exponent field means arg-max: zero, a subnormal value, infinity or NaN."""
    return (field == 0) | (field == 255)


class Sampler(wiring.Component):
    """token = the first row of the largest ``add(mul(logit, invt), noise(row))``, if `is_greedy` of the largest logit,
    of every seat that samples.

    One logit a cycle, in the order of `Walk`, as soon as the noise has come (see `GumbelNoise`): a row takes as many
    cycles as seats of its phase sample. The first token follows the last row by 9 cycles, with more slots than one by
    10; the others follow it in the order of their seats, one a cycle.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    state, sampling : In(PassState), In(Sampling), stable from the cycle before a command to its last row
    command : In(stream(sampler_command)), taken when the tokens before have left
    i : In(stream(FP32[T])), logits
    dump : Out(stream(copy_layout)), copies of all that counts in a pass in which a seat has a place for its logits; if
        it waits, so do the logits
    o : Out(stream({token})), in the order of their seats
    busy : Out(1), a command runs or tokens wait
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "state": In(PassState(config)),
            "sampling": In(Sampling(config)),
            "command": In(stream.Signature(sampler_command)),
            "i": In(stream.Signature(data.ArrayLayout(32, config.lanes))),
            "dump": Out(stream.Signature(copy_layout(config))),
            "o": Out(stream.Signature(data.StructLayout({"token": 32}))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        several, choices = self.config.slots > 1, list(self.sampling)
        m.submodules.noise = gumbel = GumbelNoise(self.config)
        m.submodules.walk = walk = Walk(self.config)
        pipe = Pipe(m, occupied=Signal(name="occupied"))
        m.submodules.logits = logits = StreamSlice(self.i.payload.shape())
        wiring.connect(m, wiring.flipped(self.i), logits.i)
        m.submodules.copy = copy = StreamSlice(self.dump.payload.shape())
        wiring.connect(m, copy.o, wiring.flipped(self.dump))

        # what is known of the pass; an entry of `sampling` is a seat, or the only one there is
        samples = walk.mask if several else Const(1, 1)
        entry = walk.seat if several else Const(0, 0)
        greedy, kept = Signal(len(choices), reset_less=True), Signal(len(choices), reset_less=True)
        m.d.sync += [greedy[number].eq(is_greedy(choice.invt[23:31])) for number, choice in enumerate(choices)]
        m.d.sync += [kept[number].eq(samples[number] & (choice.logits != 0)) for number, choice in enumerate(choices)]
        plain, copies = Signal(), Signal()  # no noise at all; logits go to memory
        m.d.comb += [plain.eq((greedy | ~samples).all()), copies.eq(kept.any())]

        logit = logits.o.payload[walk.seat[:self.config.lane_bits]]
        ready, offered, admit = Signal(), Signal(), Signal()
        m.d.comb += [
            ready.eq(walk.running & (plain | gumbel.o.valid)),
            offered.eq(ready & logits.o.valid),
            admit.eq(offered & (~copies | copy.i.ready)),
            logits.o.ready.eq(ready & walk.ends & (~copies | copy.i.ready)),
            gumbel.o.ready.eq(admit & ~plain),
            walk.next.eq(admit),
            copy.i.valid.eq(offered & copies),
            copy.i.payload.word.eq(logit),
            copy.i.payload.last.eq(walk.closes),
        ]
        if several:
            m.d.comb += [copy.i.payload.seat.eq(walk.seat), copy.i.payload.row.eq(walk.row),
                         copy.i.payload.kept.eq(kept.bit_select(entry, 1))]

        # scores; arg-max is the same path with times 1.0 and plus 0
        silent = greedy.bit_select(entry, 1)
        factor = Mux(silent, fp32.constant(1.0), Array(choice.invt for choice in choices)[entry])
        values = [pipe.input(value) for value in (logit, factor, Mux(silent, 0, gumbel.o.payload))]
        if several:  # chosen among the seats in a cycle of its own
            values = [pipe.input(pipe.delay(value, 1), 1) for value in values]
        scaled = fp32.mul(pipe, *values[:2])
        score = fp32.add(pipe, scaled, pipe.input(pipe.delay(values[2], scaled.at), scaled.at))
        valid = pipe.occupy(admit, score.at)[-1]
        index, last = (pipe.delay(pipe.input(value), score.at) for value in (walk.row, walk.last))
        seat = pipe.delay(pipe.input(entry), score.at) if several else entry
        tokens = Array(Signal(ROW_BITS, reset_less=True, name=f"token{number}") for number in range(len(choices)))
        for number, token in enumerate(tokens):
            best = Signal(32, reset_less=True, name=f"best{number}")
            with m.If(valid & (seat == number) & ((index == 0) | fp32.greater(score.value, best))):
                m.d.sync += [best.eq(score.value), token.eq(index)]

        busy, due = Signal(), Signal(len(choices))  # seats whose tokens are to leave
        last_row = Signal(ROW_BITS, reset_less=True)
        begins, rest = Signal(), Signal(len(choices))
        m.d.comb += [
            walk.state.eq(self.state), gumbel.state.eq(self.state), gumbel.sampling.eq(self.sampling),
            self.busy.eq(busy),
            begins.eq(self.command.valid & self.command.ready),
            gumbel.command.valid.eq(self.command.valid & ~busy & ~plain),
            gumbel.command.payload.eq(self.command.payload.rows),
            self.command.ready.eq(~busy & (gumbel.command.ready | plain)),
            walk.start.eq(begins), walk.last_row.eq(last_row),
            self.o.valid.eq(due.any()),
            self.o.payload.token.eq(tokens[first_of(due)]),
            rest.eq(due & (due - 1)),
        ]
        with m.If(valid & last):
            m.d.sync += due.eq(samples)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [due.eq(rest), busy.eq(rest.any())]
        with m.If(begins):
            m.d.sync += [last_row.eq(self.command.payload.rows - 1), busy.eq(1)]
        check(m, ~begins | ~walk.running & ~self.o.valid, "sampler: a command comes when the tokens before have left")
        check(m, ~(valid & last) | ~self.o.valid, "sampler: a token of a seat a command")
        check(m, ~valid | busy, "sampler: every row belongs to a command")
        check_stream(m, self.o, "sampler.o")
        return m


def model(logits, invt, seed, position):
    """The token, an int.

    Parameters
    ----------
    logits : float32[rows] of the chosen lane
    invt : float32 1 / (T ln 2), any bits; arg-max if `is_greedy`
    seed, position : as in `noise.model`
    """
    score = fp32.model.flush(logits)
    invt = np.float32(invt)
    if not is_greedy(invt.view(np.uint32) >> 23 & 255):
        score = fp32.model.add(fp32.model.mul(score, invt), noise.model(seed, position, len(score)))
    return int(np.argmax(score))
