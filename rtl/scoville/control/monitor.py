"""Performance counters and the first fault."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from scoville.registers import STALLS, Status

__all__ = ["FaultLatch", "PerformanceCounters"]

COUNTER_BITS = 48


class PerformanceCounters(wiring.Component):
    """Counts cycles of a sequence; every cycle is either work or one of the stall reasons.

    Members
    -------
    clear : In(1), a sequence starts; run : In(1), count this cycle
    work, beat, prefill : In(1), the array does useful work; the reader receives a beat; no token yet
    reason : In(one bit for each of `registers.STALLS`), the first that is high is charged; the last catches the rest
    cycles, prefill_cycles, beats, work_cycles, stall_<reason> : Out(48)
    """

    def __init__(self):
        super().__init__({
            "clear": In(1), "run": In(1), "work": In(1), "beat": In(1), "prefill": In(1),
            "reason": In(len(STALLS)),
            "cycles": Out(COUNTER_BITS), "prefill_cycles": Out(COUNTER_BITS),
            "beats": Out(COUNTER_BITS), "work_cycles": Out(COUNTER_BITS),
        } | {f"stall_{name}": Out(COUNTER_BITS) for name in STALLS})

    def elaborate(self, platform):
        m = Module()
        events = {"cycles": 1, "prefill_cycles": self.prefill, "beats": self.beat, "work_cycles": self.work}
        free = ~self.work
        for index, name in enumerate(STALLS):
            mine = Signal(name=f"is_{name}")
            m.d.comb += mine.eq(free & self.reason[index] if index < len(STALLS) - 1 else free)
            events[f"stall_{name}"] = mine
            free = free & ~self.reason[index]
        for name, event in events.items():
            counter = getattr(self, name)
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.Elif(self.run & event):
                m.d.sync += counter.eq(counter + 1)
        return m


class FaultLatch(wiring.Component):
    """Keeps the first fault's code and address, and watches for a chip that makes no progress.

    Members
    -------
    faults : dict given at construction: Status -> width of its address (0 for none)
    raise_<status> : In(1); address_<status> : In(addr_bits)
    progress, run : In(1); limit : In(32), the watchdog's, 0 for never
    fault : Out(1), sticky; code : Out(8); address : Out(addr_bits)
    """

    def __init__(self, config):
        self.sources = [status for status in Status if status is not Status.OK and status is not Status.WATCHDOG]
        super().__init__({
            "progress": In(1), "run": In(1), "limit": In(32),
            "fault": Out(1), "code": Out(8), "address": Out(config.addr_bits),
        } | {f"raise_{s.name.lower()}": In(1) for s in self.sources}
          | {f"address_{s.name.lower()}": In(config.addr_bits) for s in self.sources})

    def elaborate(self, platform):
        m = Module()
        silence = Signal(32)
        m.d.sync += silence.eq(silence + 1)
        with m.If(self.progress | ~self.run):
            m.d.sync += silence.eq(0)
        with m.If(~self.fault):
            with m.If((self.limit != 0) & (silence >= self.limit)):
                m.d.sync += [self.fault.eq(1), self.code.eq(Status.WATCHDOG)]
            for status in reversed(self.sources):
                with m.If(getattr(self, f"raise_{status.name.lower()}")):
                    m.d.sync += [
                        self.fault.eq(1), self.code.eq(status),
                        self.address.eq(getattr(self, f"address_{status.name.lower()}")),
                    ]
        return m
