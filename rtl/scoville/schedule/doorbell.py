"""A count that the host writes to a live register: heard if it is possible, remembered as an overrun if not."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check_stream

__all__ = ["COUNT_BITS", "ENTRIES_BITS", "Doorbell", "ring_members"]

COUNT_BITS = 32
ENTRIES_BITS = 17  # of SUBMIT_ENTRIES and COMPLETE_ENTRIES: up to 2^16


def ring_members(config, first=0):
    """What both rings have: where it lies, the host's doorbell, and their counts, from `first` on."""
    return {
        "start": In(1),
        "base": In(config.addr_bits), "entries": In(ENTRIES_BITS),
        "strobe": In(1), "count": In(COUNT_BITS),
        "head": Out(COUNT_BITS, init=first), "tail": Out(COUNT_BITS, init=first),
        "overrun": Out(stream.Signature(COUNT_BITS)),
    }


class Doorbell(wiring.Component):
    """Judges the counts that are written to it, one a cycle.

    Members
    -------
    strobe, count : In, what the host writes
    origin, most : In, ``origin`` to ``origin + most`` are possible, modulo 2^32
    rung : Out(1), in the cycle of `strobe`: the count is possible
    overrun : Out(stream(32)), the first impossible count since the last one was taken from here
    """

    strobe: In(1)
    count: In(COUNT_BITS)
    origin: In(COUNT_BITS)
    most: In(COUNT_BITS)
    rung: Out(1)
    overrun: Out(stream.Signature(COUNT_BITS))

    @staticmethod
    def model(origin, most, count):
        """Whether a count is possible."""
        return (count - origin) % (1 << COUNT_BITS) <= most

    def elaborate(self, platform):
        m = Module()
        ahead, possible = Signal(COUNT_BITS), Signal()
        m.d.comb += [
            ahead.eq(self.count - self.origin),
            possible.eq(ahead <= self.most),
            self.rung.eq(self.strobe & possible),
        ]
        with m.If(self.overrun.ready):
            m.d.sync += self.overrun.valid.eq(0)
        with m.If(self.strobe & ~possible & ~self.overrun.valid):
            m.d.sync += [self.overrun.valid.eq(1), self.overrun.payload.eq(self.count)]
        check_stream(m, self.overrun, "doorbell: overrun")
        return m
