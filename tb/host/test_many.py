"""The driver of many sequences, on the golden chip: each has what it has alone, and what ends one ends no other."""

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scoville.golden import GoldenChip
from scoville.registers import Status
from scoville.schedule.records import NONE, Error, Event, Kind, Reason
from scoville_host.compiler.compiler import compile_model
from scoville_host.errors import ChipError, RequestError
from scoville_host.runtime.many.golden import GoldenMachine
from scoville_host.runtime.many.plan import plan_memory
from scoville_host.runtime.many.requests import Requests
from scoville_host.runtime.many.sequence import Refused
from scoville_host.runtime.many.serve import with_slots
from test_golden import ROOMY, random_model, same_bits

VOCAB, CONTEXT = 61, 128


@pytest.fixture(scope="module")
def images():
    """The image for a chip of so many slots."""
    model = random_model(7, context=CONTEXT, hidden=32, layers=2, heads=4, kv_heads=2, head_dim=16, ffn=64, vocab=VOCAB)
    return cache(lambda slots: compile_model(model, replace(ROOMY, slots=slots), context=CONTEXT))


@pytest.fixture
def start(images):
    """Requests on a chip of so many slots."""
    def make(slots=4, **options):
        plan = plan_memory(images(slots), **options)
        return Requests(GoldenMachine(plan), plan)
    return make


@pytest.fixture(scope="module")
def alone(images):
    """A sequence alone, on a chip of one slot: tokens and logits, by the arguments of `Requests.submit`."""
    image = images(1)
    chip = GoldenChip(image.config, image.allocate(), image.registers, base=image.base)

    def run(prompt, limit, *, stops=(), temperature=0.0, seed=0, **_):
        return chip.run(prompt, min(limit, CONTEXT + 1 - len(prompt)), stops, temperature, seed)
    return run


def tokens(rng, count):
    return [rng.randrange(VOCAB) for _ in range(count)]


def finish(requests):
    """Until all have ended; what holds between any two passes does."""
    ended, passes = [], 0
    while requests.open:
        ended, passes = ended + requests.go_on(), passes + 1
        assert passes < 1000
        requests.machine.chip.kv.check()
        assert len(requests._sent) <= requests.plan.config.slots
    return ended


@pytest.mark.one_is_enough
@pytest.mark.parametrize("options", [{"pages": 5, "entries": 2}, {"slots": 2, "running": 2}, {}, {"slots": 16}])
def test_each_as_alone(start, alone, run_seed, options):
    """Sequences that begin alike, of two tenants, more than slots; arriving meanwhile, a few cancelled."""
    rng = random.Random(run_seed)
    requests = start(**{"slots": 4, "rows": True} | options)
    stems = [tokens(rng, 40) for _ in range(2)]
    asked, coming = [], 12
    while coming or requests.open:
        first = len(asked) < 2  # two that are sure to share pages
        if coming and (first or rng.random() < 0.4):
            coming -= 1
            stem = stems[0] if first else rng.choice([*stems, []])
            fields = {"prompt": stem + tokens(rng, rng.randint(1, 8)), "limit": rng.randint(1, 12),
                      "stops": tokens(rng, rng.choice([0, 0, 1, 4])), "temperature": rng.choice([0.0, 1.0, 3.0]),
                      "seed": rng.getrandbits(64), "priority": rng.choice([0, 0, 7]), "park": rng.random() < 0.5,
                      "tenant": 0 if first else rng.choice([0, 0, 1])}
            asked.append((fields, requests.submit(**fields)))
        elif requests.open:
            requests.go_on()
            requests.machine.chip.kv.check()
        if rng.random() < 0.02 and asked:
            rng.choice(asked)[1].cancel()
    assert len(asked) == 12 and any(sequence.shared for _, sequence in asked)
    for fields, sequence in asked:
        expected = alone(**fields)
        count = len(sequence.tokens)
        assert sequence.tokens == expected.tokens[:count] and list(sequence) == sequence.tokens
        if count:
            assert same_bits(sequence.logits, expected.logits[:count])
        assert sequence.reason == Reason.CANCELLED if count < len(expected.tokens) else sequence.error is None
        assert len(sequence.times) == count and sequence.times == sorted(set(sequence.times))
    left = requests.heap.free
    assert left == requests.plan.heap[1], "a buffer is lost"
    for _, sequence in asked:
        sequence.cancel()  # parked slots
        requests.go_on()
    assert not len(requests.prefixes) and requests.machine.chip.kv.free == requests.plan.pages


def test_tokens_come_one_by_one(start, alone):
    """Iterating over one lets all go on; nobody waits for another's end."""
    requests = start()
    first, second = requests.submit([1, 2, 3], 9), requests.submit([4, 5], 4)
    seen = iter(first)
    assert next(seen) == first.tokens[0] and len(first.tokens) == 1 and not first.ended
    assert [next(seen), *seen] == alone([1, 2, 3], 9).tokens[1:]
    assert first.reason == second.reason == Reason.LENGTH and list(second) == second.tokens == alone([4, 5], 4).tokens


def test_queue_is_by_priority_then_order(start):
    requests = start(slots=1)
    kept = requests.submit([1], 2)
    waiting = [requests.submit([1], 2, priority=priority) for priority in (0, 3, 0, 3)]
    ended = finish(requests)
    assert ended == [kept, waiting[1], waiting[3], waiting[0], waiting[2]]


def test_pages_are_shared_with_who_runs_and_who_is_parked(start):
    """Pages that are computed once: a token more is computed for each after the first, and nothing of other tenants."""
    stem = [n % VOCAB for n in range(70)]
    requests = start(slots=4)
    requests.submit(stem, 1, park=True)
    finish(requests)
    before = requests.machine.seats
    later = requests.submit([*stem, 1], 1)
    other = requests.submit([*stem, 1], 1, tenant=1)
    assert (later.shared, other.shared) == (64, 0), "as sent: the chip would refuse what is wrong, and it be sent again"
    finish(requests)
    assert requests.machine.seats - before == 71 - 64 + 71
    burst = [requests.submit([*stem, n], 2) for n in range(3)]
    assert [each.shared for each in burst] == [64] * 3


def test_who_has_no_pages_is_nobodys_parent(start):
    """A preempted sequence is found again when it has computed its pages again; one that was cancelled, never."""
    requests = start(slots=4, pages=4)
    first, last = requests.submit([1] * 33, 40), requests.submit([2] * 33, 40)
    found = {}
    while not last.ended:
        requests.go_on()
        found.setdefault((last.preempted, len(last.tokens)), requests.prefixes.find(0, [2] * 33)[0])
    counts = [count for preempted, count in found if preempted]
    assert last.preempted == 1 and not first.preempted and counts[0] < counts[1] < 40
    assert [found[1, count] for count in counts[:2]] == [None, last.name] and found[0, 0] == last.name
    other = requests.submit([3] * 33, 9)
    next(iter(other))
    other.cancel()
    assert requests.prefixes.find(0, [3] * 34) == (None, 0)
    requests.go_on()
    assert requests.prefixes.find(0, [3] * 34) == (None, 0) and other.ended


def test_a_cancel_that_has_to_wait(start, monkeypatch):
    """The ring is full: tokens come meanwhile, and make no parent of it."""
    requests = start()
    it = requests.submit([3] * 33, 40)
    next(iter(it))
    monkeypatch.setattr(type(requests.rings), "full", True)
    it.cancel()
    later, count = requests.submit([3] * 40, 2), len(it.tokens)
    requests.go_on()
    assert len(it.tokens) == count + 1 and requests.prefixes.find(0, [3] * 40) == (None, 0)
    monkeypatch.undo()
    finish(requests)
    assert it.reason == Reason.CANCELLED and len(it.tokens) < 40 and len(later.tokens) == 2


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_parent_that_is_gone_costs_no_request(start, alone, cancelled):
    """It ended between the look-up and the taking: the chip says PARENT, and the request is sent again without one."""
    stem = [n % VOCAB for n in range(40)]
    requests = start()
    parent = requests.submit(stem, 1, park=False)
    while requests.machine.time < 40 // 2 - 1:
        requests.go_on()
    chip, refused = requests.machine.chip, []
    take, chip.submission.take = chip.submission.take, lambda: None  # too late for the pass that ends the parent
    child = requests.submit([*stem, 3], 4)
    refuse, requests._refuse = requests._refuse, lambda sequence, code: (refused.append(code), refuse(sequence, code))
    assert child.shared == 32
    requests.go_on()
    assert parent.ended
    if cancelled:
        child.cancel()
    chip.submission.take = take
    assert list(child) == ([] if cancelled else alone([*stem, 3], 4).tokens) and refused == [Error.PARENT]
    assert child.reason == (Reason.CANCELLED if cancelled else Reason.LENGTH)


@pytest.mark.parametrize("when", ["waiting here", "waiting there", "prompt", "decoding", "ended", "parked"])
def test_cancel(start, when):
    requests = start(slots=1 if when == "waiting here" else 2, running=1)
    other = requests.submit([9] * 5, 12, park=True)
    it = requests.submit([1] * 40, 8, park=when == "parked")
    passes = {"waiting here": 0, "waiting there": 1, "prompt": 18, "decoding": 42}.get(when, 90)
    for _ in range(passes):
        if requests.open:
            requests.go_on()
    had = it.tokens
    assert bool(had) == (when in ("decoding", "ended", "parked"))
    it.cancel()
    it.cancel()
    finish(requests)
    assert it.reason == (Reason.LENGTH if len(had) == 8 else Reason.CANCELLED) and it.tokens == had
    assert len(other.tokens) == 12
    requests.submit([2], 3, park=False)
    finish(requests)
    assert len(requests._parked) == (when != "waiting here") and requests.heap.free == requests.plan.heap[1]


WRONG = {  # of each code what a driver at fault, or its memory, would say
    Error.KIND: {"kind": 7}, Error.LENGTH: {"prompt": 0}, Error.CONTEXT: {"context": 1 << 20},
    Error.POOL: {"room": 160, "limit": 150}, Error.VALUE: {"temperature": 1 << 31}, Error.STOPS: {"stop_count": 257},
    Error.WINDOW: {"tokens": 6}, Error.PARENT: {"parent": 77}, Error.FULL: {}, Error.TOKEN: {}, Error.READ: {}}


@pytest.mark.parametrize("code", WRONG)
def test_what_the_chip_refuses_is_one_exception_on_one_sequence(start, alone, code, monkeypatch):
    requests = start(slots=4)
    scheduler = requests.machine.chip.scheduler
    good = [requests.submit([n], 6) for n in (1, 2)]
    requests.go_on()
    fields = WRONG[code]
    if code == Error.FULL:  # the chip has fewer slots than the driver was told
        good += [requests.submit([n], 6) for n in (3, 4)]
        requests.plan = replace(requests.plan, config=replace(requests.plan.config, slots=8))
    if code == Error.POOL:
        scheduler.setup = type(scheduler.setup)(**vars(scheduler.setup) | {"kv_pages": 3})
    if code == Error.TOKEN:
        scheduler.setup = type(scheduler.setup)(**vars(scheduler.setup) | {"vocab": VOCAB - 1})
    put = requests.rings.put
    monkeypatch.setattr(requests.rings, "put", lambda **given: put(**given | fields))
    bad = requests.submit([VOCAB - 1, 3, 1], 100)
    monkeypatch.setattr(requests.rings, "put", put)
    if code == Error.READ:
        read, place = scheduler.memory.read, requests._places(bad)[1]
        monkeypatch.setattr(scheduler.memory, "read",
                            lambda address, count: None if place <= address < place + 400 else read(address, count))
    with pytest.raises(Refused, match=f"^the chip refuses request {bad.name}, {code.name}: \\w+") as refused:
        list(bad)
    assert refused.value.code == code and bad.reason is None
    finish(requests)
    assert [each.tokens for each in good] == [alone([n + 1], 6).tokens for n in range(len(good))]
    assert requests.heap.free == requests.plan.heap[1]


def ends_all(requests, message):
    sequences = [requests.submit([1, 2], 50) for _ in range(6)]
    with pytest.raises(ChipError, match=message):
        for _ in range(20):
            requests.go_on()
    for each in sequences:
        with pytest.raises(ChipError, match=message):
            list(each)
    assert not requests.open
    with pytest.raises(ChipError, match=message):
        requests.submit([1], 1)
    with pytest.raises(ChipError, match=message):
        requests.go_on()


def test_a_fault_ends_all(start):
    requests = start()
    requests.machine.chip.status = Status.WRITE_ERROR
    ends_all(requests, "the chip stopped: WRITE_ERROR at 0x0")


def test_a_setting_that_does_not_fit(images):
    plan = plan_memory(images(2))
    plan.registers["PROGRAM"] = 3
    with pytest.raises(ChipError, match="the chip stopped: SETTING"):
        Requests(GoldenMachine(plan), plan)


def test_an_overrun_ends_all(start):
    requests = start()
    requests.machine.write("SUBMIT_TAIL", 99)
    ends_all(requests, "OVERRUN: a doorbell was rung with an impossible count.*; token 0x63")


def test_a_name_that_is_there_twice_ends_all(start, monkeypatch):
    """Whose tokens would come?"""
    requests = start()
    requests.submit([7], 50)
    put = requests.rings.put
    monkeypatch.setattr(requests.rings, "put", lambda **given: put(**given | {"id": 0}))
    ends_all(requests, "refuses request 0, ID: id is 0xFFFFFFFF, or that of a sequence")
    assert set(WRONG) | {Error.OVERRUN, Error.ID} == set(Error)


def test_a_chip_that_forgets_a_request_is_not_waited_for(start):
    requests = start()
    requests.machine.chip.submission.take = lambda: None
    ends_all(requests, "the chip has nothing to do, and 6 sequences have not ended")


@pytest.mark.parametrize("fields, message", [
    ({"position": 9}, "has position 9; it is token 3 of request 0"),
    ({"id": 5}, "is of 5, which is no open request")])
def test_a_completion_that_cannot_be_ends_all(start, fields, message):
    requests = start()
    put = requests.machine.chip.completion.put
    requests.machine.chip.completion.put = lambda given: put({**given, **fields})
    ends_all(requests, message)


@pytest.mark.parametrize("fields, message", [
    ({"prompt": []}, "the prompt is empty"), ({"prompt": [VOCAB]}, "is outside the vocabulary"),
    ({"prompt": [1] * 129}, "the context is 128"), ({"limit": 0}, "it must be at least 1"),
    ({"temperature": -1.0}, "temperature is -1"), ({"priority": 256}, "priority is 256; it must be 0 to 255"),
    ({"priority": -1}, "priority is -1"), ({"tenant": 1 << 32}, "tenant is 4294967296"),
    ({"seed": 1 << 64}, "seed is 18446744073709551616"), ({"seed": -1}, "seed is -1"),
    ({"stops": range(257)}, "the number of stop tokens is 257; it must be 0 to 256"),
    ({"stops": [NONE]}, "stop token 4294967295 is no token id")])
def test_wrong_requests_never_reach_the_chip(start, fields, message):
    requests = start()
    with pytest.raises(RequestError, match=message):
        requests.submit(**{"prompt": [1], "limit": 3} | fields)
    assert not requests.open and not requests.rings._put


def test_names_run_round(start):
    """After 2^32 names, those of open sequences and of parked slots are left out."""
    requests = start(slots=4)
    parked = requests.submit([1] * 33, 1, park=True)
    finish(requests)
    running = requests.submit([1, 2], 9)
    requests._name = NONE - 1
    later = [requests.submit([1], 1) for _ in range(2)]
    assert [each.name for each in (parked, running, *later)] == [0, 1, NONE - 1, 2]
    assert len(finish(requests)) == 3


def test_counts_run_round(start, alone):
    """Both rings across 2^32: numbers, doorbells and places go on."""
    requests = start(slots=2, entries=4)
    chip, near = requests.machine.chip, (1 << 32) - 4
    chip.submission.head = chip.submission.tail = chip.completion.head = chip.completion.tail = near
    chip.scheduler._posted = near
    requests.rings._put = requests.rings._free = requests.rings._taken = near
    sequences = [requests.submit([n], 3, park=False) for n in range(8)]
    finish(requests)
    assert [each.tokens for each in sequences] == [alone([n], 3).tokens for n in range(8)]
    assert requests.rings._put == 4 and requests.rings._taken == 20


def test_plan(images):
    """Nothing lies over anything else, all in the window; the image's own bytes stay."""
    image = images(4)
    plan = plan_memory(image, pages=9, rows=True, entries=8)
    r = plan.registers
    pieces = sorted([(image.base, len(image.memory)), (r["KV_BASE"], 9 * r["KV_PAGE_BYTES"]),
                     (r["SUBMIT_BASE"], 8 * 128), (r["COMPLETE_BASE"], 8 * 32), plan.heap])
    assert all(one + size <= other for (one, size), (other, _) in zip(pieces, pieces[1:], strict=False))
    assert sum(pieces[-1]) <= r["WINDOW_LIMIT"] == image.base + plan.size and r["WINDOW_BASE"] == image.base
    assert r["SUBMIT_BASE"] % 128 == r["COMPLETE_BASE"] % 32 == plan.row_bytes % 256 == 0
    assert plan.allocate()[:len(image.memory)].tolist() == image.memory.tolist()
    assert plan.config is image.config and r["KV_PAGES"] == 9
    assert r["KV_PAGE_BYTES"] == 2 * 2 * 2 * (32 + 1024)  # layers, heads, K and V, exponents and codes


def test_a_pool_of_all_the_pages_that_a_chip_has(images):
    chip = replace(images(16), config=replace(images(16).config, pool_pages=32))
    plan = plan_memory(chip)
    assert plan.registers["KV_PAGES"] == 32 and plan.registers["RUNNING"] == 2
    assert plan_memory(chip, pages=9).registers["KV_PAGES"] == 9
    with pytest.raises(RequestError, match="the pool has 33 pages; it must be 4, for a sequence of 128 tokens, to 32"):
        plan_memory(chip, pages=33)


@pytest.mark.parametrize("options, message", [
    ({"slots": 3}, "--slots is 3; it must be a power of two, 1 to 32768"), ({"slots": 0}, "--slots is 0"),
    ({"slots": 1 << 16}, "--slots is 65536"), ({"slots": -2}, "--slots is -2"),
    ({"slots": 2, "pages": (1 << 24) + 1}, "a pool of 16777217 pages; at most 16777216 pages have numbers"),
    ({"slots": 1 << 15, "pages": 9}, None), ({"slots": 2, "pages": 1 << 24}, None)])
def test_configurations_with_slots(options, message):
    if message is None:
        made = with_slots(ROOMY, 2, **options)
        assert made.slots == options["slots"] and made.pool_pages >= max(options["pages"], 128 * made.slots)
        return
    with pytest.raises(RequestError, match=message):
        with_slots(ROOMY, 2, **options)


def test_slots_that_nobody_asked_for():
    assert [with_slots(ROOMY, count).slots for count in (1, 2, 3, 16, 99)] == [1, 2, 4, 16, 16]
    several = replace(ROOMY, slots=8)
    assert with_slots(several, 99) is several and with_slots(several, 99, 2).slots == 2


def test_full_requests_have_room_in_every_slot(start):
    requests = start(slots=4, rows=True)
    for _ in range(5):
        requests.submit([1] * 27, 102, stops=[VOCAB + n for n in range(256)])
    assert len(requests._sent) == 4


def test_without_room_for_buffers_requests_wait(images, alone):
    """Nothing behind overtakes; each is served in the end."""
    plan = plan_memory(images(8))
    plan = replace(plan, heap=(plan.heap[0], 1024))
    requests = Requests(GoldenMachine(plan), plan)
    sequences = [requests.submit([n], 3 if n % 2 else 127) for n in range(4)]
    assert len(requests._sent) == 2
    sequences[2].cancel()  # it waits here, in front of one that would have room
    sequences[0].cancel()
    finish(requests)
    assert [len(each.tokens) for each in sequences] == [0, 3, 0, 3] and sequences[3].tokens == alone([3], 3).tokens
    assert requests.heap.free == 1024


def test_event_and_kind_are_the_records():
    """What the driver does not know it would take for a token."""
    assert set(Event) == {Event.TOKEN, Event.FINISHED, Event.PREEMPTED, Event.EVICTED, Event.ERROR}
    assert set(Kind) == {Kind.REQUEST, Kind.CANCEL} and np.uint32(NONE) == NONE
