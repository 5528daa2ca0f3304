"""Many sequences when something goes wrong: what is one request's ends that one, and all else stops the chip; after a
soft reset all works again, and no page is lost.
"""

import dataclasses

import numpy as np
import pytest
from machine import FAST
from many_machine import NANO, Alone, Host, image_of, planned, rtl, tokens_for
from scoville.registers import Status
from scoville.schedule.records import COMPLETION_BYTES, NONE, Error, Event, Reason
from scoville_host.runtime.driver import ERROR, RUNNING
from scoville_host.runtime.many.requests import Requests

DEAD = 1 - 1e-10  # a channel with this chance of a stall never answers
WATCHDOG = 3000
PAGES = 4  # what one sequence of the whole context needs: one that is lost is missed


@pytest.fixture(scope="module")
def alone():
    return Alone(NANO)


@pytest.fixture
def make():
    """Hosts of started chips."""
    hosts = []

    def made(*, watchdog=0, **options):
        plan = planned(image_of(), **({"pages": PAGES, "running": 4} | options), settings={"WATCHDOG": watchdog})
        hosts.append(Host(rtl(plan), plan))
        return hosts[-1]

    yield made
    for host in hosts:
        host.machine.close()


def ask(host, rng, count=3, first=0, limit=8):
    for name in range(first, first + count):
        host.request(name, tokens_for(rng, rng.integers(2, 30)), limit, temperature=float(name % 2), seed=name)
    host.ring()


def fails(host, cycles=400_000):
    """Run until the chip stops: (`Status`, ERROR_ADDRESS). Completions from before it are heard, and none comes after.
    """
    for _ in range(cycles // 1000):
        host.machine.chip.step(1000)
        if host.machine.read("STATUS") & ERROR:
            break
    else:
        raise AssertionError("no error")
    host.hear()
    host.machine.chip.step(2000)
    assert not host.hear() and not host.machine.read("STATUS") & RUNNING
    code, address = host.fault()
    return Status(code), address


def recovers(host, alone, whole=True):
    """A soft reset, and requests as if nothing had been; one of them needs every page."""
    machine, image = host.machine, host.plan.image
    machine.chip.clear_injected_errors()
    machine.chip.set_timing(FAST)
    machine.driver.reset()
    machine.driver.acknowledge()
    machine.chip.load(image.base, image.memory)
    host.start()
    rng = np.random.default_rng(9)
    ask(host, rng, 2, limit=3)
    if whole:
        host.request(2, tokens_for(rng, 127), 1)
        host.ring()
    host.serve()
    return len(host.told) == 2 + whole and all(map(alone.same, host.told.values()))


@pytest.mark.one_is_enough
@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("what", ["tokens", "stops"])
def test_memory_of_a_request(make, alone, what, decode):
    """Its prompt or its stop list cannot be read: it has ended, and nobody else hears of it."""
    host, rng = make(), np.random.default_rng(4)
    ask(host, rng, 2)
    told = host.request(7, tokens_for(rng, 20), 6, stops=[39, 41])
    place = told.at if what == "tokens" else told.at + 4 * (20 + 6)
    host.machine.chip.inject_error(place, 8, decode=decode)
    host.ring()
    host.serve()
    assert told.error == Error.READ and told.reason is None
    assert all(alone.same(other) for name, other in host.told.items() if name != 7)
    assert recovers(host, alone)


FATAL = {
    "weight": (Status.READ_ERROR, lambda host: host.plan.image.regions["0.down.weight"].address + 64),
    "program": (Status.READ_ERROR, lambda host: host.plan.image.registers["PROGRAM"]),
    "page": (Status.WRITE_ERROR, lambda host: host.plan.registers["KV_BASE"]),
    "ring": (Status.READ_ERROR, lambda host: host.plan.registers["SUBMIT_BASE"] + 128),
    "completion": (Status.WRITE_ERROR, lambda host: host.plan.registers["COMPLETE_BASE"] + 32),
    "logits": (Status.WRITE_ERROR, lambda host: host.told[1].rows + host.plan.row_bytes),
    "output": (Status.WRITE_ERROR, lambda host: host.told[0].at + 4 * len(host.told[0].prompt)),
}


@pytest.mark.one_is_enough
@pytest.mark.parametrize("what", FATAL)
def test_what_stops_the_chip(make, alone, what):
    host, rng = make(), np.random.default_rng(5)
    ask(host, rng, 0)
    for name in range(3):
        host.request(name, tokens_for(rng, 8), 8, seed=name)
    status, where = FATAL[what]
    bus, address = NANO.bus_bytes, where(host)
    host.machine.chip.inject_error(address // bus * bus, COMPLETION_BYTES if what == "completion" else bus)
    host.ring()
    found, at = fails(host)
    assert found is status
    assert address - 64 * bus <= at <= address or what == "program"
    assert recovers(host, alone)


def test_read_of_a_page(make, alone):
    """A page that was written, and cannot be read any more."""
    host, rng = make(), np.random.default_rng(6)
    host.request(0, tokens_for(rng, 40), 20)
    host.ring()
    while not host.told[0].tokens:
        host.machine.wait()
        host.hear()
    base, size = host.plan.registers["KV_BASE"], host.plan.registers["KV_PAGE_BYTES"]
    host.machine.chip.inject_error(base, size)  # its first page, which is full
    status, address = fails(host)
    assert status is Status.READ_ERROR and base <= address < base + size
    assert recovers(host, alone)


def test_soft_resets(make, alone, run_seed):
    """At any time, with whatever is under way."""
    host, rng = make(), np.random.default_rng(run_seed)
    for turn in range(6):
        ask(host, rng, int(rng.integers(1, 5)), limit=40)
        host.machine.chip.set_timing(dataclasses.replace(FAST, read_latency=int(rng.integers(2, 90)), stall_b=0.5))
        host.machine.chip.step(int(rng.integers(1, 20_000 if turn % 3 else 300)))
        assert recovers(host, alone, whole=turn == 5)
        host.machine.driver.reset()
        host.start()


def test_doorbells_that_cannot_be(make, alone):
    """They change nothing, and are told; who computes is not disturbed."""
    host, rng = make(), np.random.default_rng(7)
    ask(host, rng, 3, limit=12)
    machine, entries = host.machine, host.plan.registers["SUBMIT_ENTRIES"]
    counts = []
    for register, count in (("SUBMIT_TAIL", 3 + entries + 1), ("COMPLETE_HEAD", 40), ("SUBMIT_TAIL", 2),
                            ("COMPLETE_HEAD", NONE), ("SUBMIT_TAIL", NONE)):
        machine.wait()
        host.hear()
        machine.write(register, count)
        counts.append(count)
        machine.chip.step(4000)
    host.serve()
    overruns = [done for done in host.done if done.event == Event.ERROR]
    assert [done.token for done in overruns] == counts
    assert all((done.id, done.code, done.slot) == (NONE, Error.OVERRUN, 0xFFFF) for done in overruns)
    assert machine.read("SUBMIT_HEAD") == 3 and all(map(alone.same, host.told.values()))
    ask(host, rng, 1, first=3)
    host.serve()
    assert alone.same(host.told[3])


def test_a_full_completion_ring(make, alone):
    """It holds the chip back for as long as the host likes: nothing is dropped, and the watchdog is silent."""
    host, rng = make(entries=2, watchdog=WATCHDOG), np.random.default_rng(8)
    for first in (0, 2):  # the submission ring has two entries as well
        ask(host, rng, 2, first=first, limit=12)
        host.machine.chip.step(3000)
    host.machine.chip.step(60_000)  # as long as all of them would have taken
    before = host.machine.read("CYCLES"), host.machine.chip.counters["read_beats"]
    host.machine.chip.step(20 * WATCHDOG)
    assert host.machine.chip.counters["read_beats"] == before[1], "it is not held back"
    assert host.machine.read("STATUS") & (RUNNING | ERROR) == RUNNING and host.machine.read("COMPLETE_TAIL") == 2
    while host.open:
        host.machine.chip.step(2 * WATCHDOG)
        assert host.hear()
    host.serve()
    assert [done.number for done in host.done] == list(range(1, len(host.done) + 1))
    assert all(alone.same(told) and told.reason == Reason.LENGTH for told in host.told.values())


def test_rings_of_two_entries(alone, run_seed):
    """With the driver: more requests than the ring has room for, and as many cancels."""
    plan = planned(image_of(), pages=5, running=4, entries=2)
    requests = Requests(rtl(plan), plan)
    rng = np.random.default_rng(run_seed)
    sequences = [requests.submit(tokens_for(rng, rng.integers(1, 40)), 9, seed=n, temperature=1.0) for n in range(8)]
    for _ in range(12):
        requests.go_on()
    for sequence in sequences[1::3]:
        sequence.cancel()
    while requests.open:
        requests.go_on()
    assert all(map(alone.same, sequences))
    requests.machine.close()


def test_watchdog_with_nothing_to_do(make, alone):
    """It is silent before the first request, between two, and when all have ended."""
    host, rng = make(watchdog=WATCHDOG), np.random.default_rng(3)
    for name in range(2):
        host.machine.chip.step(10 * WATCHDOG)
        ask(host, rng, 1, first=name, limit=3)
        host.serve()
    host.machine.chip.step(10 * WATCHDOG)
    assert host.machine.read("STATUS") & (RUNNING | ERROR) == RUNNING
    assert all(map(alone.same, host.told.values()))


@pytest.mark.one_is_enough
@pytest.mark.parametrize("busy", [0, 1500, 9000])
@pytest.mark.parametrize("channel", ["ar", "r", "aw", "w", "b"])
def test_watchdog_of_a_dead_memory(make, alone, channel, busy):
    """When sequences run, and when the first request is rung: a dead memory is told."""
    host, rng = make(watchdog=WATCHDOG), np.random.default_rng(2)
    if busy:
        ask(host, rng, 3, limit=20)
        host.machine.chip.step(busy)
    host.machine.chip.set_timing(dataclasses.replace(FAST, **{f"stall_{channel}": DEAD}))
    if not busy:
        ask(host, rng, 1, limit=1)
    assert fails(host) == (Status.WATCHDOG, 0)
    assert recovers(host, alone, whole=False)
