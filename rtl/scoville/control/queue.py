"""A small command queue between the sequencer and a unit."""

from amaranth.hdl import Module, Shape
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream

__all__ = ["Queue"]


class Queue(wiring.Component):
    """`depth` payloads in order; one a cycle in, one a cycle out, two cycles from input to output.

    Parameters
    ----------
    shape : payload
    depth : payloads it holds, at least 3 (with fewer it cannot take one and give one in the same cycle)

    Members
    -------
    i : In(stream)
    o : Out(stream)
    empty : Out(1), high when nothing is inside
    """

    def __init__(self, shape, depth=4):
        if depth < 3:
            raise ValueError(f"depth is {depth}; it must be at least 3")
        self.shape = shape
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=Shape.cast(self.shape).width, depth=self.depth)
        m.d.comb += [
            fifo.w_data.eq(self.i.payload),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy),
            self.o.payload.eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
            self.empty.eq(fifo.level == 0),
        ]
        check(m, ~self.empty | ~self.o.valid, "queue: an item that is offered is inside")
        check_stream(m, self.o, "queue: o")
        return m
