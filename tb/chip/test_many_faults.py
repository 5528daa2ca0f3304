"""What goes wrong in serving elsewhere, a test a class, on the whole chip: as test_schedule_faults.py and
kv/test_known_faults.py have it of the schedule and of the pages alone.

Where nothing else is said, a story is told to the golden machine and then to the chip: the same completions in the same
passes, the same bytes in every page, and tokens and logits as alone.
"""

import dataclasses
from functools import cache

import numpy as np
import pytest
from llamas import same_bits
from machine import FAST
from many_machine import NANO, Alone, Host, image_of, planned, rtl, tokens_for
from scoville.schedule.records import NONE, Error, Event, Flag, Reason
from stories import Story

CONTEXT = 64  # two pages: a sequence that fills them is short
LONG = 96  # where pages of the parent are full that are not shared
SEATS = NANO.seats
ALL = 4  # pages
LATE = dataclasses.replace(FAST, write_latency=300, stall_aw=0.98, stall_w=0.9, stall_b=0.3)
EDGES = ((31, 2), (32, 1), (33, 33), (31, 1), (31, 3), (32, 2), (33, 1))  # a prompt, and an output or the context's end


@pytest.fixture(scope="module")
def alone():
    return Alone(NANO, context=CONTEXT)


def story(pages=ALL, running=4, settings=None, context=CONTEXT):
    return Story(planned(image_of(context=context), pages=pages, running=running, settings=settings))


def prompt(count, seed=0):
    """Tokens; of one seed the shorter prompts are how the longer ones begin."""
    return tokens_for(np.random.default_rng(seed), LONG)[:count]


def fill(story, first):
    """Two sequences that have every page at a time, beside nobody."""
    for name in (first, first + 1):
        story.request(name, prompt(33, name), 2, seed=name)
    story.step(17)
    assert story.free[-1] == story.plan.pages - ALL
    story.finish()


def as_alone(host, alone):
    return all(map(alone.same, (told for told in host.told.values() if told.error is None)))


# freed twice, or too early (vLLM 42571, 37076, 45357, 47728; SGLang 35270)

@pytest.mark.one_is_enough
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)], ids=str)
def test_a_page_is_freed_twice(alone, order):
    """Parent and children end in every order, by a cancel that comes twice, or by eviction: each page goes back once.
    """
    told = story()
    told.request(0, prompt(33), 1, flags=Flag.PARK)
    told.finish()
    for child in (1, 2):
        told.request(child, [*prompt(32), child, 1], 30, parent=0, shared=32)
    told.step(3)
    assert told.kv.owners[0] == 3 and told.free[-1] == 0
    for name in order:
        told.cancel(name)
        told.cancel(name)
        told.step(2)
    fill(told, 3)
    host = told.on_chip()
    assert as_alone(host, alone)
    assert [host.told[name].reason for name in range(3)] == [Reason.LENGTH, *[Reason.CANCELLED] * 2]
    assert sum(done.event == Event.EVICTED for done in host.done) == 1


def test_window_pages_are_freed_twice(alone):
    """A window passes a page in the last pass of a sequence, and what is left goes back behind it: at its end, or when
    it was parked. Who names it as parent computes all, as the page is gone.
    """
    told = story(settings={"SPAN0": 2})
    for name, options in enumerate(({}, {"flags": Flag.PARK}, {"parent": 1, "shared": 32})):
        told.request(name, prompt(33), 1, **options)
        told.finish()
        assert told.free[-1] == ALL - (name > 0), "one is parked, without the page that its window has passed"
    told.cancel(1)
    for name in (3, 4):
        told.request(name, prompt(33, name), 1)
    told.finish()
    assert told.kv.free == ALL and min(told.free) == 0
    assert as_alone(told.on_chip(), alone)


def test_a_page_is_freed_while_a_write_is_on_its_way(alone, run_seed):
    """Cancels at any cycle, while appends have no response for long; who waits gets the pages at once."""
    plan = planned(image_of(context=CONTEXT), pages=ALL, running=4)
    host = Host(rtl(plan, LATE, run_seed), plan)
    rng = np.random.default_rng(run_seed)
    for name in range(0, 12, 2):
        host.request(name, tokens_for(rng, 33), 20)
        host.request(name + 1, tokens_for(rng, rng.integers(1, 33)), 2, seed=name)
        host.ring()
        host.machine.chip.step(int(rng.integers(500, 8000)))
        host.cancel(name)
        host.request(name + 100, tokens_for(rng, rng.integers(1, 5)), 2, seed=name, temperature=1.0)
        host.ring()
        host.serve()
        assert as_alone(host, alone) and host.told[name].reason == Reason.CANCELLED
        host.forget()
    host.machine.close()


# tables and tokens after preemption (vllm-ascend 11334; vLLM 41190, 16832), full pools (vLLM 50702)

@cache
def crowd(pages, prompts, limit):
    """Sequences that come to two pages each, and have one at first: golden, and on the chip."""
    told = story(pages)
    for name, count in enumerate(prompts):
        told.request(name, prompt(count, name), limit, seed=name, temperature=float(name % 2))
    return told, told.on_chip()


def three():
    """One gives way with tokens of its own, and is computed again beside one that decodes."""
    return crowd(3, (8, 8, 8), 27)


def gave_way(host):
    """Completions of preempted sequences: (that it gave way, the next one)."""
    pairs = []
    for number, done in enumerate(host.done):
        if done.event == Event.PREEMPTED:
            pairs.append((done, next(each for each in host.done[number + 1:] if each.id == done.id)))
    return pairs


def test_a_table_entry_is_overwritten(alone):
    """Tables grow while pages come and go: each row of logits is read through them, and each page has its bytes."""
    _, host = three()
    assert gave_way(host) and as_alone(host, alone)
    assert all(len(told.prompt + told.tokens) > 33 for told in host.told.values()), "a second page each"


def test_only_the_prompt_is_computed_again(alone):
    """Who gave way with tokens of its own goes on behind them, with the logits that it would have had."""
    _, host = three()
    assert gave_way(host) and as_alone(host, alone)
    for gave, then in gave_way(host):
        assert gave.position > 8, "it has tokens of its own"
        assert getattr(then, "pass") - getattr(gave, "pass") >= -(-gave.position // SEATS), "all are computed again"


def test_a_stale_token_is_taken_after_preemption(alone):
    """The token that a victim sampled last is told once; the next one is one position further."""
    _, host = three()
    assert gave_way(host)
    assert all(then.position == gave.position + (then.event != Event.PREEMPTED) for gave, then in gave_way(host))
    for name in host.told:
        assert [done.position for done in host.done if done.id == name and done.token != NONE] == list(range(9, 36))
    assert as_alone(host, alone)


def test_a_full_pool_corrupts(alone):
    """Every page is in use in most passes, and each holds what its sequence wrote."""
    told, host = three()
    assert told.free.count(0) > len(told.free) / 2 and as_alone(host, alone)


# prefix hits (SGLang 38319, vLLM 50702)

@pytest.mark.one_is_enough
@pytest.mark.parametrize("computed", [40, 31, 32, 33, 62])
def test_a_prefix_hit_on_a_page_that_is_not_full(alone, computed):
    """Of a parent that decodes, at the edge of a page: its full pages are shared, and one token at least is computed.
    """
    told = story()
    parent = told.request(0, prompt(computed), 3)
    told.until(lambda: parent.tokens)
    before = told.host.machine.seats
    told.request(1, prompt(computed), 1, parent=0, shared=computed)
    told.finish()
    assert told.host.machine.seats - before == 2 + computed - (computed - 1) // 32 * 32
    host = told.on_chip()
    assert as_alone(host, alone)


@pytest.mark.one_is_enough
@pytest.mark.parametrize(("shared", "pages"), [(40, 1), (31, 0), (32, 1), (63, 1), (64, 2), (65, 2)])
def test_a_prefix_that_ends_in_a_page_that_is_full(shared, pages):
    """The parent's page in which the common prefix ends is full, of the parent's tokens: it is not shared."""
    told = story(8, context=LONG)
    told.request(0, prompt(70), 1, flags=Flag.PARK)
    told.finish()
    before = told.host.machine.seats
    told.request(1, prompt(shared) + prompt(70 - shared, 1), 1, parent=0, shared=shared)
    told.finish()
    assert told.host.machine.seats - before == 70 - 32 * pages
    assert as_alone(told.on_chip(), Alone(NANO, context=LONG))


@pytest.mark.one_is_enough
@pytest.mark.parametrize("passes", [20, 10, 36])
def test_a_prefix_of_which_a_part_is_written(passes):
    """Who goes before its parent shares the pages that this has by now, of those that it will have."""
    told = story(8, context=LONG)
    told.request(0, prompt(80), 1)
    told.step(passes)
    before, computed = told.host.machine.seats, 2 * passes
    told.request(1, prompt(80), 1, parent=0, shared=80, priority=1)
    told.finish()
    assert told.host.machine.seats - before == 80 - computed + 80 - computed // 32 * 32
    assert as_alone(told.on_chip(), Alone(NANO, context=LONG))


def test_a_prefix_hit_on_a_page_that_is_not_written(alone):
    """Who comes with its parent waits until that has the pages, and then begins behind them; who comes later and goes
    before it by priority does not wait, and computes all itself.
    """
    told = story(6)
    for name in range(3):
        told.request(name, [*prompt(34), name], 2, seed=name, **({"parent": 0, "shared": 34} if name else {}))
    told.step(5)
    told.request(3, [*prompt(34), 3], 2, priority=1, parent=0, shared=34)
    told.finish()
    assert told.host.machine.seats == 2 * 35 + 2 * 3 + 4
    assert as_alone(told.on_chip(), alone)


# tenants (CVE-2025-46570, GHSA-rm76-4mrf-v9r8)

def beside(parent, tenant, other=0):
    """Tenant 1 has a parked sequence and one that decodes; then a request comes. Its completions, and the others',
    with the cycles since then.
    """
    plan = planned(image_of(context=CONTEXT), pages=ALL + 1, running=4)
    host = Host(rtl(plan), plan)
    host.request(0, prompt(33, other), 1, tenant=1, flags=Flag.PARK)
    host.request(1, prompt(2), 24, tenant=1)
    host.ring()
    while len(host.told[1].tokens) < 18:
        host.machine.wait()
        host.hear()
    assert host.told[0].reason
    host.request(2, prompt(33), 2, tenant=tenant, parent=parent, shared=32 if parent != NONE else 0)
    host.ring()
    host.serve()
    host.machine.close()
    return host, [vars(done) for done in host.done if done.id or done.event == Event.EVICTED]


def test_a_prefix_is_shared_between_tenants(alone):
    """Another tenant's sequence is no parent; neither the error nor any cycle says that it is there."""
    host, found = beside(parent=0, tenant=2)
    assert host.told[2].error == Error.PARENT and not host.told[2].tokens
    assert beside(parent=99, tenant=2)[1] == found
    assert as_alone(host, alone)
    host, found = beside(parent=0, tenant=1)
    assert host.told[2].error is None and as_alone(host, alone)


def test_a_prefix_is_found_by_timing(alone):
    """A prompt takes as many cycles whether or not another tenant's parked slot has the same tokens."""
    host, found = beside(parent=NONE, tenant=2)
    assert beside(parent=NONE, tenant=2, other=5)[1] == found
    assert as_alone(host, alone)


# progress (vllm-ascend 16315, TensorRT-LLM 13318)

def test_everything_is_preempted_and_nothing_runs(alone):
    """A pool for one alone: the first by rank keeps its pages, and all come to their ends."""
    _, host = crowd(2, (20, 10, 2), 20)
    assert gave_way(host) and not host.told[0].preempted
    assert [done.id for done in host.done if done.event == Event.FINISHED] == [0, 1, 2]
    assert as_alone(host, alone)


@pytest.mark.one_is_enough
@pytest.mark.parametrize("edges", [EDGES[:3], EDGES], ids=len)
def test_a_token_over_budget_ends_the_loop(alone, edges):
    """Prompts and outputs that end at, before and behind the edge of a page, and of the context."""
    told = story(pages=2)
    for name, (count, limit) in enumerate(edges):
        told.request(name, prompt(count, name), limit, seed=name, **({"context": limit} if limit == count else {}))
        while len(told.host.open) == NANO.slots:
            told.step()
    host = told.on_chip()
    for (count, limit), it in zip(edges, host.told.values(), strict=True):
        if limit == count:
            assert it.reason == Reason.CONTEXT and len(it.tokens) == 1
            it.reason, it.limit = Reason.LENGTH, 1
    assert as_alone(host, alone)


# starving (vLLM 41951, 25538)

def test_long_prompts_starve_decode(alone):
    """While prompts come, all of them longer than a pass, a sequence that decodes has its token in every pass."""
    told = story(8, running=SEATS)
    told.request(0, prompt(2), 20)
    told.step(2)
    for name in (1, 2):
        told.request(name, prompt(12, name), 1)
    host = told.on_chip()
    passes = [getattr(done, "pass") for done in host.done if done.id == 0]
    assert passes == list(range(1, 21)) and as_alone(host, alone)


def test_decode_starves_long_prompts(alone):
    """With decoding sequences for more than every seat, a prompt still has a token in every second pass."""
    told = story(8)
    for name in range(3):
        told.request(name, prompt(1, name), 14, seed=name)
    told.step(5)
    told.request(3, prompt(9), 1)
    host = told.on_chip()
    [done] = [done for done in host.done if done.id == 3]
    assert getattr(done, "pass") <= 5 + 9 * 4 // SEATS + 2 and as_alone(host, alone)


# bits (vLLM `deterministic_prefix_caching`, SGLang, Thinking Machines)

def test_a_hit_a_batch_or_a_chunk_changes_the_bits(alone):
    """The same request in chunks of all seats, in company token by token, and with a page that another computed."""
    told = story(8)
    told.request(0, prompt(35), 4, flags=Flag.PARK)
    told.finish()
    told.request(1, prompt(1), 20)
    told.step(1)
    told.request(2, prompt(35), 4)
    told.request(3, prompt(35), 4, parent=0, shared=35)
    host = told.on_chip()
    first = {done.id: getattr(done, "pass") for done in reversed(host.done)}  # tokens
    assert first[2] - first[1] > 35 // SEATS + 2, "a token a pass, for as long as the other decodes"
    for name in (2, 3):
        assert host.told[name].tokens == host.told[0].tokens
        assert same_bits(host.told[name].logits, host.told[0].logits)
    assert as_alone(host, alone)
