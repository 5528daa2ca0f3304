"""Performance counters and the first fault."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from scoville.checks import check
from scoville.registers import STALLS, Status

__all__ = ["REASON_BITS", "STOPPED", "FaultLatch", "PerformanceCounters"]

COUNTER_BITS, LIMIT_BITS = 48, 32
REASON_BITS = 5
STOPPED = 31  # `charged` in a cycle that is not counted


class PerformanceCounters(wiring.Component):
    """Counts cycles of a sequence; every cycle is either work or one of the stall reasons.

    The stalls and the work add up to the cycles. One reason a cycle is charged, so that all of them share one adder:
    the count of the reason in progress is in a register, the others are in a memory. Counts are complete 3 cycles after
    the cycle that they count.

    Members
    -------
    clear : In(1), a sequence starts; run : In(1), count this cycle
    work, beat, prefill : In(1), the array does useful work; the reader receives a beat; no token yet
    reason : In(one bit for each of `registers.STALLS`), the first that is high is charged; the last catches the rest
    charged : Out(5), one cycle later: 0 for work, else 1 + the place of the reason; 31 if the cycle is not counted
    cycles, prefill_cycles, beats, work_cycles : Out(48)
    select : In(5), a place in `registers.STALLS`; stall : Out(48), that reason's cycles, a cycle after `select`; while
        it runs, too, it never goes back
    """

    def __init__(self):
        super().__init__({
            "clear": In(1), "run": In(1), "work": In(1), "beat": In(1), "prefill": In(1),
            "reason": In(len(STALLS)), "charged": Out(REASON_BITS),
            "cycles": Out(COUNTER_BITS), "prefill_cycles": Out(COUNTER_BITS),
            "beats": Out(COUNTER_BITS), "work_cycles": Out(COUNTER_BITS),
            "select": In(REASON_BITS), "stall": Out(COUNTER_BITS),
        })

    @staticmethod
    def model(events):
        """The counters after a run; ``stalls`` is a list in the order of `registers.STALLS`.

        Parameters
        ----------
        events : list of dicts, one a cycle: `run`, `work`, `beat`, `prefill`, `reason` as the ports are
        """
        counts = dict.fromkeys(["cycles", "prefill_cycles", "beats", "work_cycles"], 0)
        stalls = [0] * len(STALLS)
        for event in events:
            if event["run"]:
                counts["cycles"] += 1
                counts["prefill_cycles"] += event["prefill"]
                counts["beats"] += event["beat"]
                if event["work"]:
                    counts["work_cycles"] += 1
                else:
                    reasons = event["reason"] | 1 << len(STALLS) - 1
                    stalls[(reasons & -reasons).bit_length() - 1] += 1
        return counts | {"stalls": stalls}

    def elaborate(self, platform):
        m = Module()
        assert len(STALLS) < STOPPED
        clear, beat, prefill = Signal(), Signal(), Signal()
        place, reason = Signal(REASON_BITS), Signal(REASON_BITS)
        m.d.comb += place.eq(len(STALLS) - 1)
        for index in reversed(range(len(STALLS) - 1)):
            with m.If(self.reason[index]):
                m.d.comb += place.eq(index)
        m.d.sync += [clear.eq(self.clear), beat.eq(self.beat), prefill.eq(self.prefill), reason.eq(place),
                     self.charged.eq(Mux(self.run, Mux(self.work, 0, place + 1), STOPPED))]

        run = self.charged != STOPPED
        work = self.charged == 0
        for counter, event in ((self.cycles, 1), (self.prefill_cycles, prefill), (self.beats, beat),
                               (self.work_cycles, work)):
            with m.If(clear):
                m.d.sync += counter.eq(0)
            with m.Elif(run & event):
                m.d.sync += counter.eq(counter + 1)
        self._stalls(m, clear, run & ~work, reason)
        self._checks(m, clear, run & ~work, reason)
        return m

    def _checks(self, m, clear, stalled, reason):
        """Every cycle that is counted is counted once; `lost` is there for the assertion alone."""
        lost = Signal(COUNTER_BITS)
        with m.If(clear):
            m.d.sync += lost.eq(0)
        with m.Elif(stalled):
            m.d.sync += lost.eq(lost + 1)
        check(m, self.cycles == self.work_cycles + lost, "counters: every cycle is work or one stall")
        check(m, ~stalled | (self.charged == reason + 1) & (reason < len(STALLS)), "counters: one reason a cycle")
        check(m, ~self.cycles.all(), "counters: they do not overflow")

    def _stalls(self, m, clear, stalled, reason):
        """One counter a reason: `count` + `one` is that of `current`, the memory has the others."""
        m.submodules.counts = counts = Memory(shape=COUNTER_BITS, depth=len(STALLS), init=[])
        write, read, look = counts.write_port(), *(counts.read_port(domain="comb") for _ in range(2))
        # Whether the reason changes is known a cycle before the counts are exchanged.
        last, change, cleared, counted, new = (Signal(REASON_BITS), Signal(), Signal(), Signal(),
                                               Signal(REASON_BITS, reset_less=True))
        with m.If(clear):
            m.d.sync += last.eq(0)
        with m.Elif(stalled):
            m.d.sync += last.eq(reason)
        m.d.sync += [change.eq(stalled & ~clear & (reason != last)), cleared.eq(clear), counted.eq(stalled),
                     new.eq(reason)]
        current, count, one = Signal(REASON_BITS), Signal(COUNTER_BITS), Signal()
        used = Signal(1 << REASON_BITS)  # the memory holds a count of this sequence
        total, kept = Signal(COUNTER_BITS), Signal(COUNTER_BITS)
        m.d.comb += [
            total.eq(count + one),
            read.addr.eq(new),
            kept.eq(Mux(used.bit_select(new, 1), read.data, 0)),
            write.addr.eq(current), write.data.eq(total), write.en.eq(change),
        ]
        m.d.comb += look.addr.eq(self.select)
        m.d.sync += self.stall.eq(Mux(self.select == current, total,
                                      Mux(used.bit_select(self.select, 1), look.data, 0)))
        with m.If(cleared):
            m.d.sync += [current.eq(0), count.eq(0), one.eq(0), used.eq(0)]
        with m.Elif(counted):
            m.d.sync += [count.eq(total), one.eq(1)]
            with m.If(change):
                m.d.sync += [current.eq(new), count.eq(kept), used.bit_select(current, 1).eq(1)]


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
    limit : In(LIMIT_BITS), the watchdog's, 0 for never
    fault : Out(1), sticky; code : Out(8); address : Out(addr_bits), 0 for the watchdog
    """

    def __init__(self, config):
        self.sources = [status for status in Status if status is not Status.OK and status is not Status.WATCHDOG]
        super().__init__({
            "progress": In(1), "run": In(1), "limit": In(LIMIT_BITS),
            "fault": Out(1), "code": Out(8), "address": Out(config.addr_bits),
        } | {f"raise_{s.name.lower()}": In(1) for s in self.sources}
          | {f"address_{s.name.lower()}": In(config.addr_bits) for s in self.sources})

    def elaborate(self, platform):
        m = Module()
        silence = Signal(LIMIT_BITS)
        m.d.sync += silence.eq(silence + 1)
        with m.If(self.progress | ~self.run):
            m.d.sync += silence.eq(0)
        silent = self.run & (self.limit != 0) & (silence >= self.limit)
        with m.If(~self.fault):
            for status in sorted(Status, reverse=True):  # the last assignment counts: the lowest code
                if status in self.sources:
                    raised, address = (getattr(self, f"{what}_{status.name.lower()}") for what in ("raise", "address"))
                else:
                    raised, address = silent if status is Status.WATCHDOG else 0, 0
                with m.If(raised):
                    m.d.sync += [self.fault.eq(1), self.code.eq(status), self.address.eq(address)]
        return m
