"""How long sequences wait on the whole chip, by the passes of its completions: the bounds of docs/schedule.md."""

from collections import Counter

import numpy as np
import pytest
from many_machine import NANO, Host, image_of, planned, rtl, tokens_for
from pages import PATHS, Pages
from scoville.schedule.records import NONE, Event, Reason
from traffic import Traffic

FEW, MANY = 1, 100
STEMS = 0, 8, 33  # shorter than usual: a pass has two tokens
PROMPT = 5  # tokens of those that come while others decode


def passes(done):
    """How many were completed when this happened."""
    return vars(done)["pass"]


def turns(running):
    """A sequence that decodes has a seat once in so many passes."""
    return -(-running // NANO.seats)


def between_tokens(completions):
    """Passes from each token of a sequence to its next, by id; where it was preempted in between there is none."""
    last, found = {}, {}
    for done in completions:
        if done.event == Event.PREEMPTED:
            last.pop(done.id, None)
        elif done.event in (Event.TOKEN, Event.FINISHED) and done.token != NONE:
            if done.id in last:
                found.setdefault(done.id, []).append(passes(done) - last[done.id])
            last[done.id] = passes(done)
    return found


def to_the_end(host, traffic, running):
    """(passes, bound) from putting each request to its end.

    A request is taken after it is put, and what is heard of it happened before: so this is no less than it waited.
    """
    put = {name: passes(host.done[count - 1]) if count else 0 for name, count in traffic.heard.items()}
    ends = {done.id: (number, passes(done)) for number, done in enumerate(host.done)
            if done.event in (Event.FINISHED, Event.ERROR)}
    longest = max(len(told.prompt) + told.limit - 1 for told in host.told.values())
    ranks = {name: (-told.priority, name) for name, told in host.told.items()}
    for name in host.told:
        before = sum(ranks[other] < ranks[name] and traffic.heard[other] <= ends[name][0]
                     and ends[other][0] >= traffic.heard[name] for other in host.told)
        yield ends[name][1] - put[name], (2 * before + 1) * (running + turns(running)) * longest


def schedule(seed, running=None, stems=STEMS):
    """A random schedule: (its turns, passes between tokens, the largest part of the bound to the end, events)."""
    rng = np.random.default_rng(seed)
    running = running or int(rng.integers(1, NANO.slots + 1))
    plan = planned(image_of(), pages=int(rng.integers(4, 6)), running=running)
    host = Host(rtl(plan, watched=PATHS), plan)
    pages = Pages(host.machine.chip, plan.pages)
    traffic = Traffic(host, rng, float(rng.choice([0.1, 0.4, 1.0])), float(rng.choice([0, 0.02, 0.1])), stems)
    traffic.go(int(rng.integers(4, 8)))
    pages.check()
    waits = [wait for each in between_tokens(host.done).values() for wait in each]
    assert max(waits, default=0) <= turns(running), (seed, running, waits)
    part = 0
    for wait, bound in to_the_end(host, traffic, running):
        assert wait <= bound, (seed, running, wait, bound)
        part = max(part, wait / bound)
    host.machine.close()
    return turns(running), waits, part, [(done.event, done.code) for done in host.done]


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_random_schedules(count, run_seed):
    waits, events, part = {}, Counter(), 0
    for number in range(count):
        bound, found, most, heard = schedule(1000 * run_seed + number)
        waits.setdefault(bound, Counter()).update(found)
        events.update(heard)
        part = max(part, most)
    counts = {event.name: sum(n for (it, _), n in events.items() if it == event) for event in Event}
    cancelled = events[Event.FINISHED, Reason.CANCELLED]
    print(f"{count} schedules, {counts}, {cancelled} cancelled; passes between two tokens, by the bound: "
          f"{ {bound: dict(found) for bound, found in waits.items()} }; to the end at most {part:.3f} of the bound")
    if count > FEW:
        assert counts["EVICTED"] > count / 10 and cancelled > count / 10
        assert all(found[bound] for bound, found in waits.items()), "no bound is met exactly"


def test_preempted(run_seed):
    """The same of schedules in which sequences outgrow their first page together: some are preempted."""
    heard = [event for number in range(2) for event, _ in schedule(run_seed + number, NANO.slots, (25,))[3]]
    assert heard.count(Event.PREEMPTED)


@pytest.mark.parametrize("running", [NANO.seats, NANO.slots])
def test_prompts_beside_decoding(running, run_seed):
    """While prompts keep coming, whoever decodes has its next token in the next pass, or when its turn comes; and so
    has the first prompt.
    """
    plan = planned(image_of(), running=running)
    host, rng = Host(rtl(plan, watched=PATHS), plan), np.random.default_rng(run_seed)
    for name in range(running - 1):
        host.request(name, tokens_for(rng, 1), 20)
    decoding, begins = list(host.told), {}
    host.ring()
    while any(host.told[name] in host.open for name in decoding):
        assert host.machine.wait()
        host.hear()
        if len(host.open) < NANO.slots and host.told[0].tokens:
            begins[len(host.told)] = passes(host.done[-1])
            host.request(len(host.told), tokens_for(rng, PROMPT), 1, priority=9)
            host.ring()
    waits = between_tokens(host.done)
    assert all(len(waits[name]) == 19 and max(waits[name]) <= turns(running) for name in decoding), waits
    ends = {done.id: passes(done) for done in host.done if done.id in begins}
    before = 0
    for name, end in ends.items():  # it is rung in the pass behind, and taken at the end of that
        assert end - max(begins[name], before) <= PROMPT * turns(running) + 2, "prompts are starved"
        before = end
    assert len(ends) >= 3, "no prompt was computed beside"
    host.machine.close()
