"""DRAM models: each time of the data sheet against an independent checker, rates, order, and writes in time."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from dram_checker import broken_rules
from scoville_sim import MEMORIES, SimError
from scoville_sim.chip.dram import DRAMS, TIMES, Span
from scoville_sim.chip.plain_stream import COMMANDS, Request, measured_limit, run
from simulators import run_seed

# Bytes that a plain stream gets of a cycle, on the bus that the memory is meant for.
LIMITS = {"ddr4": (64, 60.86), "hbm": (64, 58.85), "sdram": (8, 1.969), "sdram32": (8, 3.965), "ideal": (64, 64.0),
          "lpddr4": (64, 45.81)}
BUS = {name: bus for name, (bus, _) in LIMITS.items()}
MORE = 7  # clocks by which a time is raised


def traffic(name, count):
    """Reads of two IDs and writes, short and long, near and far, in bursts and with pauses."""
    rng = np.random.default_rng(run_seed())
    bus, requests, cycle = BUS[name], [], 0
    near = rng.integers(0, 1 << 22, 4) // 4096 * 4096
    for n in range(count):
        cycle += int(rng.choice([0, 0, 0, 3, 40]))
        long = rng.random() < 0.1
        base = int(rng.choice(near)) if n % 3 else int(rng.integers(0, 1 << 24) // 4096 * 4096)
        at = base + int(rng.integers(0, 4096 // bus)) * bus
        requests.append(Request(at, int(rng.integers(1, 80 if long else 4)), cycle, bool(rng.random() < 0.4),
                                int(rng.integers(2))))
    return requests


@cache
def played(name, count=500, **clocks):
    return run(MEMORIES[name], BUS[name], traffic(name, count), record=1 << 18, limit=1 << 20, **clocks)


@pytest.mark.parametrize("name", DRAMS)
def test_no_rule_is_broken(name):
    clocks = DRAMS[name].clocks(MEMORIES[name].chip_mhz)
    found = played(name)
    kinds = {COMMANDS[kind] for kind in found.commands["command"]}
    assert kinds >= {"ACT", "PRE", "RD", "WR", "PREA", "REF"}
    assert broken_rules(found.commands, clocks) == {}


@pytest.mark.parametrize("time", [*TIMES, "rtw"])
@pytest.mark.parametrize("name", ["ddr4", "hbm"])
def test_each_time_is_kept_and_used_up(name, time):
    """A time that is longer is kept; and the traffic is such that the data sheet's own would break it."""
    clocks = DRAMS[name].clocks(MEMORIES[name].chip_mhz)
    longer = clocks | {time: clocks[time] + (MORE if time != "faw" else 30)}
    assert broken_rules(played(name, **{time: longer[time]}).commands, longer) == {}
    assert broken_rules(played(name).commands, longer)[time]


@pytest.mark.parametrize("name", ["ddr4", "hbm"])
def test_refresh_is_due(name):
    clocks = DRAMS[name].clocks(MEMORIES[name].chip_mhz)
    assert broken_rules(played(name, 1200, refi=2 * clocks["refi"]).commands, clocks)["refi"]


@pytest.mark.parametrize("time", ["cl", "cwl"])
def test_latencies_are_those_of_the_data(time):
    """A lone read takes so many clocks more; the data bus is checked with them."""
    memory = MEMORIES["ddr4"]
    clocks = memory.dram.clocks(memory.chip_mhz)
    assert broken_rules(played("ddr4", **{time: clocks[time] + 4}).commands, clocks | {time: clocks[time] + 4}) == {}
    lone = [Request(0, 1, 100)]
    slower = run(memory, 64, lone, **{time: clocks[time] + 4}).ends[0] - run(memory, 64, lone).ends[0]
    assert slower == (0 if time == "cwl" else 1)


@pytest.mark.parametrize("name", LIMITS)
def test_limit(name):
    bus, expected = LIMITS[name]
    timing = MEMORIES[name]
    found = measured_limit(timing, bus)
    assert found * bus == pytest.approx(expected, rel=1e-3)
    assert found <= timing.peak(bus)
    if not timing.dram:
        refresh = timing.refresh_cycles / timing.refresh_interval if timing.refresh_interval else 0
        assert found == pytest.approx(timing.beats / max(timing.period, timing.beats) * (1 - refresh), rel=1e-3)


def test_what_costs_a_stream():
    """Refresh, and rows that cannot be opened ahead."""
    ddr4 = MEMORIES["ddr4"]
    assert measured_limit(ddr4, 64) < 1 - 350 / 7800
    calm = replace(ddr4, dram=replace(ddr4.dram, refi=Span(1e6)))
    assert measured_limit(calm, 64) > 0.999
    short = replace(calm, dram=replace(calm.dram, window=2))
    assert measured_limit(short, 64) < 0.98
    # without a turn of the bank groups every access waits for tCCD_L
    alone = replace(calm, dram=replace(calm.dram, groups=1, banks=8))
    assert measured_limit(alone, 64) == pytest.approx(4 / 6, rel=0.01)


@pytest.mark.parametrize("name", ["ddr4", "sdram", "lpddr4"])
def test_writes_are_not_put_off_for_ever(name):
    """Beside a stream of reads without a gap."""
    bus = BUS[name]
    beats = 20_000
    writes = [Request(1 << 22, 4, 500 * n, True) for n in range(1, 11)]
    found = run(MEMORIES[name], bus, [Request(0, beats), *writes])
    waited = found.ends[1:] - [write.cycle for write in writes]
    assert found.ends[0] > 5000 and waited.max() < 400
    many = [Request(0, beats), Request(1 << 22, beats, 0, True)]
    ends = run(MEMORIES[name], bus, many).ends
    assert max(ends) / min(ends) < 2  # neither waits for the other's end


@pytest.mark.parametrize("name", ["ddr4", "hbm"])
def test_a_lone_write_reaches_the_dram(name):
    """Beside a stream of reads without a gap: when it is as old as the controller lets it become."""
    timing = MEMORIES[name]
    found = run(timing, 64, [Request(0, 10_000), Request(1 << 22, 1, 100, True)], record=1 << 18)
    clocks = [int(each["clock"]) for each in found.commands if COMMANDS[each["command"]] == "WR"]
    asked = 100 * timing.dram.mhz / timing.chip_mhz
    age = timing.dram.write_age
    assert len(clocks) == 64 // timing.dram.access_bytes and asked + age < clocks[-1] < asked + age + 600


def test_reads_of_another_id_may_pass():
    """In order of each ID (the reader compares each beat with its address); another ID's may come first."""
    ddr4 = MEMORIES["ddr4"]
    step = 8192 * 2 * 4  # the same bank, the next row
    found = run(ddr4, 64, [*(Request(step * n, 1, 0, id=0) for n in range(8)), Request(64, 1, 0, id=1)])
    assert (np.diff(found.ends[:8]) > 0).all()
    assert found.ends[8] < found.ends[7]


def test_what_does_not_come_is_an_error():
    with pytest.raises(SimError, match="within 50 cycles"):
        run(MEMORIES["ddr4"], 64, [Request(0, 1)], limit=50)


@pytest.mark.parametrize("change, message", [({"groups": 3}, "groups is 3"), ({"banks": 64}, "at most 64"),
                                             ({"interleave": 32}, "interleave")])
def test_parts_that_are_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        replace(DRAMS["ddr4"], **change)


def test_times_in_clocks():
    """DDR4-2400 at CL 16: 16-16-16, and the data sheet's nanoseconds rounded up."""
    clocks = DRAMS["ddr4"].clocks(300)
    names = ("rcd", "rp", "ras", "rc", "rrd_s", "rrd_l", "ccd_s", "ccd_l", "faw", "wr", "wtr_s", "wtr_l", "rtp", "rfc")
    assert [clocks[name] for name in names] == [16, 16, 39, 55, 7, 8, 4, 6, 36, 18, 3, 9, 9, 420]
    assert clocks["refi"] == 9360 and clocks["dram_khz"] == 4 * clocks["chip_khz"]
    assert DRAMS["ddr4"].peak == 19.2e9 and DRAMS["hbm"].peak == 64e9
