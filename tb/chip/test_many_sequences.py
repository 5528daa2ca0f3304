"""Many sequences on the chip: each has the bits that it has alone, and what it reports is what its model reports."""

import dataclasses

import numpy as np
import pytest
from machine import FAST
from many_machine import NANO, Alone, Host, image_of, planned, rtl, tokens_for
from scoville.control.activity import unpack
from scoville.schedule.records import Error, Event, Flag, Reason
from scoville_host.runtime.driver import ERROR
from scoville_host.runtime.many.golden import GoldenMachine
from scoville_host.runtime.many.requests import Requests

BEGIN = 1 << 5  # of `Chip.activity`
STALLS = dataclasses.replace(FAST, stall_ar=0.2, stall_r=0.2, stall_aw=0.2, stall_w=0.2, stall_b=0.2)


@pytest.fixture(scope="module")
def alone():
    return Alone(NANO)


def family(host, rng):
    """Rounds of requests with a doorbell each, when the chip has nothing to do: what comes of it is one story."""
    stem = tokens_for(rng, 40)
    host.request(0, stem, 30, flags=Flag.PARK)
    host.request(1, stem[:34] + tokens_for(rng, 5), 12, temperature=1.0, seed=5, parent=0, shared=34)
    host.request(2, tokens_for(rng, 20), 40, temperature=2.0, seed=6, priority=3, stops=[7, 39])
    host.request(3, tokens_for(rng, 3), 50)
    host.request(4, tokens_for(rng, 3), 5)  # there is no slot
    host.cancel(3)
    host.request(5, tokens_for(rng, 33), 34, priority=1)
    yield
    host.request(6, stem[:35] + tokens_for(rng, 2), 3, temperature=1.0, seed=8, parent=0, shared=35, flags=Flag.PARK)
    host.request(7, tokens_for(rng, 2), 4, parent=99, shared=1)  # of nobody
    yield
    host.request(8, tokens_for(rng, 90), 2)  # there is room for it if those that are parked go
    host.request(9, tokens_for(rng, 3), 4, tenant=1, parent=6, shared=3)  # another's
    yield
    host.cancel(6)
    host.request(10, tokens_for(rng, 1), 1)
    yield


def story(host, seed):
    for _ in family(host, np.random.default_rng(seed)):
        host.ring()
        host.serve()
    return [{name: value for name, value in vars(done).items() if name != "cycles"} for done in host.done]


def test_same_story(alone, run_seed):
    """Completions entry by entry, with their passes, are those of the golden model of many; and each is as alone."""
    plan = planned(image_of(), pages=5, running=4)
    model = Host(GoldenMachine(plan), plan)
    wanted = story(model, run_seed)
    host = Host(rtl(plan), plan)
    found = story(host, run_seed)
    assert found == wanted
    events = [done.event for done in host.done]
    assert events.count(Event.PREEMPTED) and events.count(Event.EVICTED)
    assert {name: told.error for name, told in host.told.items() if told.error} == {
        4: Error.FULL, 7: Error.PARENT, 9: Error.PARENT}
    assert host.told[3].reason == Reason.CANCELLED and not host.told[3].tokens
    assert all(alone.same(told) for told in host.told.values() if not told.error)
    host.machine.close()


def test_arrivals_and_cancels(alone, run_seed):
    """With the driver, while the memory stalls: sequences come and go when they will."""
    rng = np.random.default_rng(run_seed)
    plan = planned(image_of(), pages=5, running=4)
    machine = rtl(plan, STALLS, run_seed)
    requests = Requests(machine, plan)
    stem, sequences = tokens_for(rng, 38), []
    for number in range(7):
        prompt = (stem[:rng.integers(33, 38)] if number % 3 else []) + tokens_for(rng, rng.integers(1, 20))
        sequences.append(requests.submit(
            prompt, int(rng.integers(5, 25)), temperature=float(rng.choice([0.0, 1.0])), seed=number,
            stops=tokens_for(rng, 1), priority=int(rng.integers(0, 2)), park=bool(number % 2)))
        for _ in range(rng.integers(0, 8)):
            if requests.open:
                requests.go_on()
        if number == 4:
            sequences[2].cancel()
            sequences[4].cancel()
    while requests.open:
        requests.go_on()
    assert all(map(alone.same, sequences))
    machine.close()


def test_completions_at_the_end_of_a_pass(alone):
    """The ring is full, the host makes room when a pass is about to end, and a completion goes to memory: at any cycle.
    """
    plan = planned(image_of(), entries=2)
    host = Host(rtl(plan), plan)
    chip = host.machine.chip
    chip.record(1 << 12)
    host.request(0, [1, 2], 36)
    host.ring()
    moments = []  # at which a write began: cycles before the end of the pass, which waits for those that began earlier
    for turn in range(30):
        while not chip.activity & BEGIN:
            chip.step()
        cycles, words, _ = chip.recorded
        found = {name: cycles[1:][np.diff(unpack(words)[name].astype(int)) == 1].astype(int)
                 for name in ("begin", "done", "writer")}
        if turn < 5:  # the first of a token each
            chip.step()
            continue
        chip.step(int(found["done"][-1] - found["begin"][-2]) - turn)
        host.machine.write("COMPLETE_HEAD", turn - 4)
        moments += [int(found["done"][-1] - cycle) for cycle in found["writer"]]
    assert set(range(-5, 1)) <= set(moments), sorted(moments)
    assert not host.machine.read("STATUS") & ERROR
    host.machine.close()
