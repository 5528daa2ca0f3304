"""A register slice: cuts every combinational path of a stream."""

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamSlice"]


class StreamSlice(wiring.Component):
    """The same items, from registers, and taken by a register.

    A second register holds what comes in the cycle in which the consumer first waits, so `i.ready` need not see it.
    Throughput: an item a cycle. Latency: one cycle.

    Parameters
    ----------
    shape : ShapeLike of the items

    Members
    -------
    i : In(stream(shape)); o : Out(stream(shape))
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    @staticmethod
    def model(items):
        """The items."""
        return list(items)

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        came = Shape.cast(i.payload.shape()).width
        item, spare = Signal(came, reset_less=True), Signal(came, reset_less=True)
        full, valid = Signal(), Signal()
        m.d.comb += [i.ready.eq(~full), o.valid.eq(valid), o.payload.eq(item)]
        with m.If(~full):
            m.d.sync += spare.eq(i.payload)
        with m.If(o.ready | ~valid):
            m.d.sync += [item.eq(Mux(full, spare, i.payload)), valid.eq(full | i.valid), full.eq(0)]
        with m.Else():
            m.d.sync += full.eq(full | i.valid)
        return m
