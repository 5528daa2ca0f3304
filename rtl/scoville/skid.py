"""A place for one item between a sender and a receiver, so that readiness ends at a register."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skid"]


class Skid(wiring.Component):
    """Items in order; what the receiver does not take at once waits inside, and the sender moves on a register's word.

    Throughput: an item a cycle. Latency: none, `o` shows an item in the cycle in which it comes.

    Parameters
    ----------
    shape : payload

    Members
    -------
    i : In(stream), `ready` is a register's inverse
    o : Out(stream)
    full : Out(1), that register: an item waits inside
    """

    def __init__(self, shape):
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "full": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        coming = Value.cast(self.i.payload)
        spare = Signal(len(coming), reset_less=True)
        m.d.comb += [
            self.i.ready.eq(~self.full),
            self.o.valid.eq(self.full | self.i.valid),
            Value.cast(self.o.payload).eq(Mux(self.full, spare, coming)),
        ]
        with m.If(self.full):
            m.d.sync += self.full.eq(~self.o.ready)
        with m.Else():
            m.d.sync += [self.full.eq(self.i.valid & ~self.o.ready), spare.eq(coming)]
        return m
