"""Places for an item between a sender and a receiver of a stream, where combinational paths end."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

__all__ = ["Skid", "StreamSlice"]


class Skid(wiring.Component):
    """The same items; what the receiver does not take at once waits, and the sender moves on a register's word.

    Throughput: an item a cycle. Latency: none, `o` shows an item in the cycle in which it comes.

    Parameters
    ----------
    shape : ShapeLike of the items

    Members
    -------
    i : In(stream(shape)), `ready` is a register; o : Out(stream(shape))
    full : Out(1), an item waits
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "full": Out(1)})

    @staticmethod
    def model(items):
        """The items."""
        return list(items)

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


class StreamSlice(wiring.Component):
    """The same items, from registers, and taken by a register: a `Skid`, and a register behind it.

    Throughput: an item a cycle. Latency: one cycle.

    Parameters
    ----------
    shape : ShapeLike of the items

    Members
    -------
    i : In(stream(shape)); o : Out(stream(shape)), `valid` while an item is inside
    """

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    model = staticmethod(Skid.model)

    def elaborate(self, platform):
        m = Module()
        m.submodules.skid = skid = Skid(self.shape)
        connect(m, flipped(self.i), skid.i)
        item, valid = Signal(len(Value.cast(self.o.payload)), reset_less=True), Signal()
        m.d.comb += [
            skid.o.ready.eq(self.o.ready | ~valid),
            self.o.valid.eq(valid),
            Value.cast(self.o.payload).eq(item),
        ]
        with m.If(skid.o.ready):
            m.d.sync += [item.eq(Value.cast(skid.o.payload)), valid.eq(skid.o.valid)]
        return m
