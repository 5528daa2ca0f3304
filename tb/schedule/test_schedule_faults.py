"""What goes wrong in schedulers elsewhere: a test for each class of fault that their trackers show."""

import pytest
from scoville.schedule.records import NONE, Error, Event, Flag, Kind
from scoville.schedule.slots import State
from test_schedule_model import VOCAB
from world import World, chip, nobody_left


def tokens(count, seed=0):
    return [(n * n + 7 * n + 13 * seed + 5) % VOCAB for n in range(count)]


def crowded(*, pages=5, running=4, **options):
    """Four sequences of a page each that grow: not all can stay."""
    world = World(chip(lanes=8, slots=4, slot_pages=4), pages, running=running)
    for name in range(4):
        world.request(name, tokens(20, name), limit=40, seed=name, **options)
    return world


def steps(world, count):
    return [done for _ in range(count) for done in world.step() or ()]


def until(world, condition):
    while not condition():
        assert world.step() is not None


# freed twice, or too early (vLLM 42571, 37076, 45357, 47728; SGLang 35270)

def test_a_page_is_freed_twice():
    """Parent and children end in every order, by themselves, by a cancel and by eviction; each page goes back once."""
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        world = World(chip(lanes=8), 16)
        world.request(0, tokens(70), limit=60, flags=Flag.PARK)
        steps(world, 12)
        for child in (1, 2):
            world.request(child, tokens(70), limit=60, parent=0, shared=70)
        steps(world, 3)
        assert world.shared and world.kv.owners[0] == 3
        for name in order:
            world.cancel(name)
            world.cancel(name)
            world.kv.check()
        assert world.kv.free == 16


def test_window_pages_are_freed_twice():
    """A window passes pages one by one; the rest goes back at the end, or at preemption and again at the end."""
    world = World(chip(lanes=8, slots=4, groups=2, slot_pages=4), 10, running=4, spans=(0, 20))
    for name in range(3):
        world.request(name, tokens(40, name), limit=60, seed=name)
    until(world, lambda: world.kv.read(0, 1, 0) is None and world.scheduler.turns)
    world.finish()
    assert world.preemptions


def test_a_page_is_freed_while_a_write_is_on_its_way():
    """A cancel that comes while a pass is computed is taken when all its writes have their responses."""
    world = World(chip(), 8)
    world.request(0, tokens(40), limit=9)
    plan = world.scheduler.plan()
    free = world.kv.free
    with pytest.raises(AssertionError, match="a pass is being computed"):
        world.scheduler.submit({"kind": Kind.CANCEL, "id": 0})
    assert world.kv.free == free
    world.scheduler.complete(plan, [])
    world.cancel(0)
    assert world.kv.free == 8 and world.told[0].final.event == Event.FINISHED


# tables and tokens after preemption (vllm-ascend 11334; vLLM 41190, 16832)

def test_a_table_entry_is_overwritten():
    """A table grows at its end: what it named it names, while pages come and go around it."""
    world, before = crowded(), {}
    while world.step() is not None:
        for slot in world.scheduler.turns:
            table = [world.kv.read(slot.index, 0, index) for index in range(-(-slot.computed // 32))]
            name = slot.request.id, world.told[slot.request.id].preempted
            assert table[:len(before.get(name, []))] == before.get(name, [])
            before[name] = table
    world.finish()
    assert world.preemptions


def test_only_the_prompt_is_computed_again():
    """Prompt and outputs are, and admission asks for the pages of both."""
    world = World(chip(lanes=8, slots=4, slot_pages=4), 4, running=4)
    for name in range(2):
        world.request(name, tokens(30), limit=60, seed=name)
    until(world, lambda: world.told[1].preempted)
    slot = world.scheduler.slots[1]
    assert slot.known == 30 + len(world.told[1].got) > 60 and slot.computed == 0
    free = []
    while slot.state is State.WAITING:
        free.append(world.kv.free)
        world.step()
    assert 1 in free, "a page was free, enough for the prompt and too little for all"
    world.finish()


def test_a_stale_token_is_taken_after_preemption():
    """The token that a victim sampled in its last pass is in its buffer, once; the next is one position further."""
    world = crowded()
    world.finish()
    assert world.preemptions
    assert all(told.got == told.expected and len(told.got) == 40 for told in world.told.values())


# prefix hits, full pools (SGLang 38319, vLLM 50702)

@pytest.mark.parametrize("computed", [8, 31, 32, 40, 64, 71])
def test_a_prefix_hit_on_a_page_that_is_not_full(computed):
    """A parent that decodes has 64 and some positions; a child takes its full pages, and computes a token at least."""
    world = World(chip(lanes=8, slots=2), 16)
    world.request(0, tokens(computed), limit=40)
    until(world, lambda: world.scheduler.slots[0].computed >= computed)
    world.request(1, tokens(computed), limit=9, parent=0, shared=computed)
    plan = world.scheduler.plan()
    run = next(run for run in plan.runs if run.slot == 1)
    assert run.first == (computed - 1) // 32 * 32 < computed


def test_a_prefix_hit_on_a_page_that_is_not_written():
    """Who comes with its parent waits until that has the pages, and then begins behind them."""
    world = World(chip(lanes=4, slots=8), 32, running=8)
    for name in range(6):
        world.request(name, [*tokens(70), name], limit=9, seed=name, **({"parent": 0, "shared": 70} if name else {}))
    until(world, lambda: len(world.scheduler.turns) == 6)
    world.finish()
    assert world.seats == 71 + 5 * (71 - 64) + 6 * 8


def test_a_full_pool_corrupts():
    """Every page is in use in most passes, and each holds what its sequence wrote."""
    world = crowded(pages=4)
    free = []
    while world.step() is not None:
        free.append(world.kv.free)
    world.finish()
    assert free.count(0) > len(free) / 4


# tenants (CVE-2025-46570, GHSA-rm76-4mrf-v9r8)

def test_a_prefix_is_shared_between_tenants():
    """Another tenant's sequence is no parent; that it is there is not said."""
    world = World(chip(lanes=8), 16)
    world.request(0, tokens(70), limit=1, tenant=1, flags=Flag.PARK)
    steps(world, 20)
    errors = []
    for name, parent in ((1, 0), (2, 99)):
        world.request(name, tokens(70), tenant=2, limit=9, parent=parent, shared=70)
        errors.append(vars(world.told[name].final) | {"id": 0, "number": 0})
        assert world.told[name].final.code == Error.PARENT
    assert errors[0] == errors[1]


def test_a_prefix_is_found_by_timing():
    """A prompt takes as many passes whether or not another tenant's parked slot has the same tokens."""
    passes = []
    for other in (tokens(70), tokens(70, 3)):
        world = World(chip(lanes=8), 16)
        world.request(0, other, limit=1, tenant=1, flags=Flag.PARK)
        steps(world, 20)
        world.request(1, tokens(70), limit=5, tenant=2)
        steps(world, 20)
        passes.append(world.told[1].passes)
    assert passes[0] == passes[1]


# progress (vllm-ascend 16315, TensorRT-LLM 13318)

def test_everything_is_preempted_and_nothing_runs():
    """The first by rank keeps its pages whatever the others do, so every pass computes; the pool is for one alone."""
    world = crowded(pages=2)
    while world.scheduler.turns or world.scheduler.waiting:
        assert world.step() is not None
        assert not world.told[0].preempted
    world.finish()


def test_a_token_over_budget_ends_the_loop():
    """Prompts and outputs that end at, before and behind the edge of a page, of the context and of the pool."""
    for prompt in (31, 32, 33, 63, 64, 65):
        for limit in (1, 2, 31, 32, 33, NONE):
            world = World(chip(lanes=8, slots=2, slot_pages=4), 4, running=2)
            told = [world.request(name, tokens(prompt), limit=limit, room=128, context=context)
                    for name, context in enumerate((96, 128 - prompt % 32))]
            world.finish()
            assert [len(it.words) + len(it.got) for it in told] == [
                min(prompt + limit, 128, it.request.context + 1) for it in told]


# starving (vLLM 41951, 25538)

def test_long_prompts_starve_decode():
    """While prompts come, all of them longer than a pass, a sequence that decodes has its token in every pass."""
    world = World(chip(lanes=8, slots=8), 64)
    world.request(0, tokens(9), limit=100)
    steps(world, 2)
    for name in range(1, 30):
        if len(world.open) < 8:
            world.request(name, tokens(200, name), limit=1)
        before = len(world.told[0].got)
        steps(world, 3)
        assert len(world.told[0].got) == before + 3


@pytest.mark.parametrize("running", [4, 8])
def test_decode_starves_long_prompts(running):
    """With decoding sequences for every seat, a prompt still has its turn: in every pass, or every second one."""
    world = World(chip(lanes=4, slots=8, slot_pages=8), 64, running=running)
    for name in range(running - 1):
        world.request(name, tokens(1), limit=200, seed=name)
    steps(world, 8)
    world.request(99, tokens(60), limit=1)
    steps(world, 60 * running // 4 + 2)
    assert world.told[99].final


# bits (vLLM `deterministic_prefix_caching`, SGLang, Thinking Machines)

@pytest.mark.parametrize("lanes", [1, 2, 8])
@pytest.mark.parametrize("pages", [4, 16])
def test_a_hit_a_batch_or_a_chunk_changes_the_tokens(lanes, pages):
    """The same requests on few and many seats, with and without a parent and pressure. Bits: test_golden_many.py."""
    found = []
    for parent in (NONE, 0):
        world = World(chip(lanes=lanes, slots=4, slot_pages=4), pages, running=4)
        world.request(0, tokens(50), limit=30, flags=Flag.PARK)
        steps(world, 50)
        for name in range(1, 4):
            world.request(name, [*tokens(40), name], limit=50, parent=parent, seed=name,
                          shared=40 if parent != NONE else 0)
        steps(world, 400)
        world.finish()
        found.append([told.got for told in world.told.values()])
    assert found[0] == found[1]


def test_who_gave_way_goes_on_where_all_others_failed():
    for lanes in (2, 4, 8):
        nobody_left(chip(lanes=lanes, slots=2))
