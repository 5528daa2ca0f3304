"""The deferred RMSNorm factor: one scalar a token, computed in the shadow of the next matrix."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check
from scoville.numerics import fp32, table
from scoville.numerics.pipe import Pipe

__all__ = ["RmsUnit", "model", "rms_layout"]


def rms_layout(config):
    """What the unit needs: the seats' sums of squares, the seats that count, and the constants of the norm."""
    return data.StructLayout({"total": data.ArrayLayout(32, config.seats), "mask": config.seats, "inv_n": 32,
                              "epsilon": 32})


class RmsUnit(wiring.Component):
    """``scale = rsqrt(add(mul(total, inv_n), epsilon))`` for every seat of the mask; the others keep theirs.

    FP32, one rounding a step. The seats take turns in one pipeline: latency 14 cycles and one a seat.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream(rms_layout)), taken while the unit is idle
    scale : Out(FP32[seats]), holds until the seat is computed again
    busy : Out(1), `scale` is not final
    """

    def __init__(self, config):
        self.seats = config.seats
        super().__init__({
            "i": In(stream.Signature(rms_layout(config))),
            "scale": Out(data.ArrayLayout(32, config.seats)),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        pipe = Pipe(m, self.busy)
        job = Signal(self.i.payload.shape(), reset_less=True)
        issued = Signal(self.seats)  # one hot: the seat that enters the pipeline
        m.d.sync += issued.eq(issued << 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [job.eq(self.i.payload), issued.eq(1)]

        total = Signal(32)
        for seat in range(self.seats):
            with m.If(issued[seat]):
                m.d.comb += total.eq(job.total[seat])
        mean = fp32.mul(pipe, pipe.input(total), pipe.input(job.inv_n))
        result = table.rsqrt(pipe, fp32.add(pipe, mean, job.epsilon))

        done = [pipe.valid(issued[seat], result.at) for seat in range(self.seats)]
        for seat in range(self.seats):
            with m.If(done[seat] & job.mask[seat]):
                m.d.sync += self.scale[seat].eq(result.value)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self.busy.eq(1)
        with m.Elif(done[-1]):
            m.d.sync += self.busy.eq(0)
        m.d.comb += self.i.ready.eq(~self.busy)
        check(m, self.busy | ~(issued.any() | Cat(done).any()), "rms: seats are in the pipeline while it is busy")
        return m


def model(total, inv_n, epsilon):
    """1/rms, float32, of sums of squares."""
    return table.model.rsqrt(fp32.model.add(fp32.model.mul(total, inv_n), epsilon))
