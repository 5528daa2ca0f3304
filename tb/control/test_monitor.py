"""Performance counters that sum to the cycles, and the fault latch: codes, addresses, first fault, watchdog."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.control import monitor
from scoville.control.monitor import FaultLatch, PerformanceCounters
from scoville.registers import STALLS, Status

LATE = 4  # cycles that are on their way to a count
COUNTERS = ["cycles", "prefill_cycles", "beats", "work_cycles"]
FAULTS = [status for status in Status if status not in (Status.OK, Status.WATCHDOG)]


async def counts(dut):
    """All counters, each reason's through the select port."""
    got = {name: harness.peek(getattr(dut, name)) for name in COUNTERS} | {"stalls": []}
    for index in range(len(STALLS)):
        dut.select.value = index
        for _ in range(3):
            await RisingEdge(dut.clk)
        got["stalls"].append(harness.peek(dut.stall))
    return got


@cocotb.test()
async def counters(dut):
    tb = harness.Bench(dut, 1)
    await tb.reset()
    for density in (0.02, 0.1, 0.5, 0.9):
        dut.run.value = 0
        dut.clear.value = 1
        await RisingEdge(dut.clk)
        dut.clear.value = 0
        if density != 0.1:  # at 0.1 the first cycle counts at once
            await tb.wait(2)
            assert not any((await counts(dut))["stalls"])
        events, reason = [], 0
        for _ in range(1500):  # reasons come in runs, as they do in the chip
            if tb.rng.random() < 0.4:
                reason = sum((tb.rng.random() < density) << bit for bit in range(len(STALLS)))
            events.append({name: int(tb.rng.random() < (0.9 if name == "run" else density))
                           for name in ("run", "work", "beat", "prefill")} | {"reason": reason})
        for event in events:
            for name, value in event.items():
                getattr(dut, name).value = value
            await RisingEdge(dut.clk)
        dut.run.value = 0
        await tb.wait(2)
        got = await counts(dut)
        assert got == PerformanceCounters.model(events)
        assert got["cycles"] == got["work_cycles"] + sum(got["stalls"])
        assert got == await counts(dut), "counts while it does not run"


@cocotb.test()
async def looked_at_while_running(dut):
    """A count that is read while it runs is the reason's own, but for the last cycles: never another's, or less."""
    tb = harness.Bench(dut, 3)
    await tb.reset()
    for change in (1.0, 0.5, 0.1):  # chance that the reason is another than in the cycle before
        dut.run.value, dut.clear.value = 0, 1
        await RisingEdge(dut.clk)
        dut.clear.value, dut.run.value, dut.work.value = 0, 1, 0
        counts, index, select, since, right = dict.fromkeys(range(len(STALLS)), 0), 0, 0, 0, 0
        least = {3: 0, 5: 700, 8: 1400, 20: 2100}  # no reason reaches the next one's first count
        for index, count in least.items():
            dut.reason.value = 1 << index
            await tb.wait(count)
            counts[index] = count
        for _ in range(1200):
            if tb.rng.random() < change:
                index = tb.rng.choice(list(least))
            if since > 4 and tb.rng.random() < 0.2:
                select, since = tb.rng.choice([*least, 11]), 0
            dut.reason.value, dut.select.value = 1 << index, select
            await RisingEdge(dut.clk)
            counts[index] += 1
            since += 1
            if since > 3:  # always right, but for the cycles that are on their way
                shown = harness.peek(dut.stall)
                assert counts[select] - LATE <= shown <= counts[select], (shown, counts, select)
                right += shown > 0
        assert right > 100 and max(counts[index] - count for index, count in least.items()) < 700


@cocotb.test()
async def long_counts(dut):
    """Every counter, and one reason's, up to its upper bit, or 2^14; another reason comes between."""
    tb = harness.Bench(dut, 4)
    await tb.reset()
    many = 1 << min(harness.parameters() - 1, 14)
    for work in (0, 1):
        dut.clear.value, dut.run.value = 1, 0
        await tb.wait(1)
        dut.clear.value, dut.run.value, dut.work.value = 0, 1, work
        dut.beat.value = dut.prefill.value = 1
        for cycles, reason in ((many - 3, 3), (77, 20), (500, 3)):
            dut.reason.value = 1 << reason
            await tb.wait(cycles)
        dut.run.value = 0
        await tb.wait(3)
        total = many + 574
        stalls = [0] * len(STALLS)
        if not work:
            stalls[3], stalls[20] = many + 497, 77
        assert await counts(dut) == {"cycles": total, "prefill_cycles": total, "beats": total,
                                     "work_cycles": total if work else 0, "stalls": stalls}


@cocotb.test()
async def charged(dut):
    """What each cycle is charged to, one cycle later."""
    tb = harness.Bench(dut, 2)
    await tb.reset()
    for run, work, reason, expected in ((0, 1, 0, 31), (1, 1, 3, 0), (1, 0, 1, 1), (1, 0, 6, 2), (1, 0, 0, len(STALLS)),
                                        (1, 0, 1 << len(STALLS) - 2, len(STALLS) - 1)):
        dut.run.value, dut.work.value, dut.reason.value = run, work, reason
        await tb.wait(2)
        assert harness.peek(dut.charged) == expected


async def fault_bench(dut, seed):
    tb = harness.Bench(dut, seed)
    await tb.reset()
    return tb


async def raised(dut, tb, statuses):
    """Raise some faults for one cycle; returns their addresses."""
    addresses = {status: tb.rng.getrandbits(40) for status in FAULTS}
    for status in FAULTS:
        getattr(dut, f"raise_{status.name.lower()}").value = int(status in statuses)
        getattr(dut, f"address_{status.name.lower()}").value = addresses[status]
    await RisingEdge(dut.clk)
    for status in statuses:
        getattr(dut, f"raise_{status.name.lower()}").value = 0
    await RisingEdge(dut.clk)
    return addresses


def shown(dut):
    return harness.peek(dut.fault), harness.peek(dut.code), harness.peek(dut.address)


@cocotb.test()
async def first_fault(dut):
    """Each fault alone, then pairs in one cycle (the lower code wins), then later ones, which change nothing."""
    tb = await fault_bench(dut, 1)
    cases = [[status] for status in FAULTS] + [tb.rng.sample(FAULTS, 2) for _ in range(20)]
    for case in cases:
        await tb.reset()
        assert shown(dut) == (0, 0, 0)
        addresses = await raised(dut, tb, case)
        first = min(case)
        expected = (1, first, addresses[first])
        assert shown(dut) == expected
        for _ in range(3):
            await raised(dut, tb, tb.rng.sample(FAULTS, 2))
            assert shown(dut) == expected


@cocotb.test()
async def watchdog(dut):
    tb = await fault_bench(dut, 2)
    for limit in (1, 2, 7, 40):
        await tb.reset()
        dut.limit.value = limit
        dut.run.value = dut.progress.value = 0
        await tb.wait(limit + 5)
        assert shown(dut)[0] == 0, "it watches only while running"
        dut.run.value = 1
        for _ in range(5):  # progress comes just in time
            dut.progress.value = 0
            await tb.wait(limit - 1)
            dut.progress.value = 1
            await tb.wait(1)
        dut.progress.value = 0
        await tb.wait(limit)
        dut.run.value = 0  # a sequence that ends in time
        await tb.wait(3)
        assert shown(dut)[0] == 0
        dut.run.value = 1
        await tb.wait(limit + 1)
        assert shown(dut)[0] == 0
        await tb.wait(1)
        assert shown(dut) == (1, Status.WATCHDOG, 0)
        await raised(dut, tb, [Status.PAGE_FAULT])
        assert shown(dut) == (1, Status.WATCHDOG, 0)


@cocotb.test()
async def long_limits(dut):
    """Each bit of a limit counts, and every limit of the lower ones is kept to the cycle."""
    tb = await fault_bench(dut, 5)
    bits = harness.parameters()
    for bit in range(bits):
        for limit in {1 << bit, (1 << bit) + 1, (1 << bits) - (1 << bit)}:
            await tb.reset()
            dut.limit.value, dut.run.value, dut.progress.value = limit, 1, 1
            await tb.wait(3)
            dut.progress.value = 0
            if limit > 5000:
                await tb.wait(80)
                assert shown(dut)[0] == 0, limit
            else:
                await tb.wait(limit + 1)
                assert shown(dut)[0] == 0, limit
                await tb.wait(1)
                assert shown(dut) == (1, Status.WATCHDOG, 0), limit


@cocotb.test()
async def watchdog_among_others(dut):
    """In the cycle of another fault the lower code is kept, and its address."""
    tb = await fault_bench(dut, 4)
    for other in FAULTS:
        await tb.reset()
        dut.run.value, dut.progress.value, dut.limit.value = 1, 1, 3
        await tb.wait(2)
        dut.progress.value = 0
        await tb.wait(3)
        addresses = await raised(dut, tb, [other])
        expected = (1, other, addresses[other]) if other < Status.WATCHDOG else (1, Status.WATCHDOG, 0)
        assert shown(dut) == expected, other


@cocotb.test()
async def watchdog_off(dut):
    tb = await fault_bench(dut, 3)
    dut.run.value = 1
    await tb.wait(300)
    assert shown(dut) == (0, 0, 0)


@pytest.mark.parametrize("bits", [13, monitor.COUNTER_BITS])
def test_counters(sim, bits, monkeypatch):
    """As they are, and with fewer bits, so that all of these are reached."""
    monkeypatch.setattr(monitor, "COUNTER_BITS", bits)
    harness.run(PerformanceCounters(), __name__, sim=sim, parameters=bits,
                testcase=["counters", "charged", "looked_at_while_running", "long_counts"])


@pytest.mark.parametrize("bits", [12, monitor.LIMIT_BITS])
def test_faults(sim, bits, monkeypatch):
    """As they are, and with fewer bits of the watchdog, so that all of these are reached."""
    monkeypatch.setattr(monitor, "LIMIT_BITS", bits)
    harness.run(FaultLatch(get_config("nano")), __name__, sim=sim, parameters=bits,
                testcase=["first_fault", "watchdog", "watchdog_among_others", "watchdog_off", "long_limits"])
