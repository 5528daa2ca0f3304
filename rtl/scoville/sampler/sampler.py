"""The sampler: chooses a token while the logits pass, and stores none of them."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.numerics import fp32
from scoville.numerics.pipe import Pipe
from scoville.slices import StreamSlice

from . import noise
from .noise import GumbelNoise

__all__ = ["Sampler", "is_greedy", "model", "sampler_command"]


def is_greedy(field):
    """Whether an `invt` of this exponent field means arg-max: zero, a subnormal value, infinity or NaN."""
    return (field == 0) | (field == 255)


def sampler_command(config):
    """Layout of a command: whose logits, and how to choose."""
    return data.StructLayout({
        "lane": range(max(2, config.lanes)),
        "invt": 32,  # FP32 1 / (T ln 2); see `is_greedy`
        "seed": 64,
        "position": 32,
        "rows": 24,  # logits to come; not 0
    })


class Sampler(wiring.Component):
    """token = the first row of the largest ``add(mul(logit, invt), noise(row))``, if `is_greedy` of the largest logit.

    One row a cycle, as soon as the noise has come (43 cycles after the command). The token follows its last row by
    9 cycles.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream(sampler_command)), taken when the token before has left
    i : In(stream(FP32[T])), logits
    dump_enable : In(1), copy the chosen lane's logits to `dump`; constant during a command
    dump : Out(stream(32)); if it waits, so do the logits
    o : Out(stream({token}))
    busy : a command runs or its token waits
    """

    def __init__(self, config):
        super().__init__({
            "command": In(stream.Signature(sampler_command(config))),
            "i": In(stream.Signature(data.ArrayLayout(32, config.lanes))),
            "dump_enable": In(1),
            "dump": Out(stream.Signature(32)),
            "o": Out(stream.Signature(data.StructLayout({"token": 32}))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.noise = gumbel = GumbelNoise()
        pipe = Pipe(m, occupied=Signal(name="occupied"))
        new = self.command.payload
        command = Signal(new.shape(), reset_less=True, name="new")
        m.submodules.logits = logits = StreamSlice(self.i.payload.shape())
        wiring.connect(m, wiring.flipped(self.i), logits.i)
        m.submodules.copy = copy = StreamSlice(self.dump.payload.shape())
        wiring.connect(m, copy.o, wiring.flipped(self.dump))
        running, row = Signal(), Signal(24)
        greedy = Signal(reset_less=True)  # no noise
        logit = logits.o.payload[command.lane]
        offered, admit = Signal(), Signal()
        m.d.comb += [
            offered.eq(running & logits.o.valid & (greedy | gumbel.o.valid)),
            admit.eq(offered & (~self.dump_enable | copy.i.ready)),
            logits.o.ready.eq(running & (greedy | gumbel.o.valid) & (~self.dump_enable | copy.i.ready)),
            gumbel.o.ready.eq(admit & ~greedy),
            copy.i.valid.eq(offered & self.dump_enable),
            copy.i.payload.eq(logit),
        ]

        # scores; arg-max is the same path with times 1.0 and plus 0
        scaled = fp32.mul(pipe, pipe.input(logit), pipe.input(Mux(greedy, fp32.constant(1.0), command.invt)))
        bump = pipe.delay(pipe.input(Mux(greedy, 0, gumbel.o.payload)), scaled.at)
        score = fp32.add(pipe, scaled, pipe.input(bump, scaled.at))
        valid = pipe.occupy(admit, score.at)[-1]
        index = pipe.delay(pipe.input(row), score.at)
        last = pipe.delay(pipe.input(row == command.rows - 1), score.at)
        best = Signal(32, reset_less=True)
        with m.If(valid & ((index == 0) | fp32.greater(score.value, best))):
            m.d.sync += [best.eq(score.value), self.o.payload.token.eq(index)]

        busy, plain = Signal(), Signal()
        m.d.comb += [
            plain.eq(is_greedy(new.invt[23:31])),
            self.busy.eq(busy),
            gumbel.command.valid.eq(self.command.valid & ~busy & ~plain),
            gumbel.command.payload.eq(Cat(new.seed, new.position, new.rows)),
            self.command.ready.eq(~busy & (gumbel.command.ready | plain)),
        ]
        with m.If(admit):
            m.d.sync += row.eq(row + 1)
            with m.If(row == command.rows - 1):
                m.d.sync += running.eq(0)
        with m.If(valid & last):
            m.d.sync += self.o.valid.eq(1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [self.o.valid.eq(0), busy.eq(0)]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += [command.eq(new), greedy.eq(plain), row.eq(0), running.eq(1), busy.eq(1)]
        check(m, ~(self.command.valid & self.command.ready) | ~running & ~self.o.valid,
              "sampler: a command comes when the token before has left")
        check(m, ~(valid & last) | ~self.o.valid, "sampler: one token a command")
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
