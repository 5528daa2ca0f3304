"""A chip that makes no progress stops: the watchdog fires in time, never early, and the first fault stays."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Mux, Signal
from scoville.control.monitor import FaultLatch
from scoville.registers import Status

from formal.around import Around
from formal.axi import SMALL
from formal.planted import planted
from formal.proof import Proof

__all__ = ["PROOFS"]


class WatchdogFires(Around):
    def elaborate(self, platform):
        m, seen = self.begin()
        latch = self.unit
        raised = Cat(getattr(latch, f"raise_{status.name.lower()}") for status in latch.sources)
        # The limit is set once: a smaller one in the middle of a silence counts from there.
        limit, started, quiet, any_raised = Signal(32), Signal(), Signal(32), Signal()
        m.d.sync += [limit.eq(latch.limit), started.eq(1)]
        m.d.comb += Assume(~started | (latch.limit == limit))
        m.d.sync += quiet.eq(Mux(latch.run & ~latch.progress, quiet + 1, 0))
        m.d.sync += any_raised.eq(any_raised | raised.any())
        fault, code = Signal(), Signal(8)
        m.d.sync += [fault.eq(latch.fault), code.eq(latch.code)]
        watchdog = latch.fault & (latch.code == Status.WATCHDOG)
        early = Signal(init=1)  # it has not been silent for so long yet
        with m.If((quiet >= limit) & started):
            m.d.sync += early.eq(0)
        m.d.comb += [
            Assert(latch.fault | (limit == 0) | ~started | (quiet <= limit)),  # in time
            Assert(~watchdog | ((limit != 0) & ~early)),  # not early
            Assert(~fault | latch.fault & (latch.code == code)),  # the first stays
            Assert(~any_raised | latch.fault),
            Assert(latch.fault | (seen["silence"] == quiet)),
            Assert(started | (quiet == 0) & ~latch.fault & ~any_raised),
            Cover(watchdog & (limit == 5)), Cover(latch.fault & ~watchdog & any_raised),
        ]
        return m


PROOFS = [
    Proof(name="control.watchdog", quick=True, reach=16, fails=14,
          says="no progress for WATCHDOG cycles: a fault, in the next cycle and not before; the first stays",
          claim=lambda: WatchdogFires(FaultLatch(SMALL)), fault="the silence of a stopped chip counts as well",
          broken=lambda: WatchdogFires(planted(FaultLatch, "with m.If(self.progress | ~self.run):",
                                               "with m.If(self.progress):")(SMALL))),
]
