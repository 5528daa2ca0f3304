"""Performance counters and the first fault."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from scoville.registers import STALLS, Status

__all__ = ["FaultLatch", "PerformanceCounters"]

COUNTER_BITS = 48


class PerformanceCounters(wiring.Component):
    """Counts cycles of a sequence; every cycle is either work or one of the stall reasons.

    The stalls and the work add up to the cycles.

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

    @staticmethod
    def model(events):
        """The counters after a run.

        Parameters
        ----------
        events : list of dicts, one a cycle: `run`, `work`, `beat`, `prefill`, `reason` as the ports are
        """
        counts = dict.fromkeys(["cycles", "prefill_cycles", "beats", "work_cycles"]
                               + [f"stall_{name}" for name in STALLS], 0)
        for event in events:
            if event["run"]:
                counts["cycles"] += 1
                counts["prefill_cycles"] += event["prefill"]
                counts["beats"] += event["beat"]
                charged = [name for index, name in enumerate(STALLS) if event["reason"] >> index & 1]
                counts["work_cycles" if event["work"] else f"stall_{(charged or STALLS[-1:])[0]}"] += 1
        return counts

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

    Of faults in one cycle the lowest code is kept. Latency: `fault` rises in the cycle after the fault, and
    ``limit + 1`` cycles after the last one with progress.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    raise_<status> : In(1); address_<status> : In(addr_bits), for every `Status` but OK and WATCHDOG
    progress, run : In(1), the watchdog counts cycles with `run` and without `progress`
    limit : In(32), the watchdog's, 0 for never
    fault : Out(1), sticky; code : Out(8); address : Out(addr_bits), 0 for the watchdog
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
