"""Requests that cannot be served get one error completion, the first that applies, and disturb nobody."""

import pytest
from scoville.schedule.records import MAX_STOPS, NO_SLOT, NONE, Error, Event, Flag, Kind
from scoville.schedule.slots import State
from world import STEP, VOCAB, World, chip

LIMIT = 1 << 24
GOOD = {"id": 50, "kind": Kind.REQUEST, "flags": 0, "priority": 0, "tenant": 0, "prompt": 4, "room": 8, "limit": 3,
        "context": 256, "temperature": 0, "tokens": STEP, "seed": 0, "stops": 0, "stop_count": 0, "parent": NONE,
        "logits": 0, "logits_stride": 0, "shared": 0, "rest": False}
LOGITS = LIMIT - 4 * VOCAB  # of the last row
# Of each error what is wrong, and beside it what is just right.
CASES = [
    (Error.KIND, {"kind": 0}, {}),
    (Error.KIND, {"kind": 3}, {}),
    (Error.KIND, {"flags": 2}, {"flags": 1}),
    (Error.KIND, {"rest": True}, {}),
    (Error.ID, {"id": NONE}, {"id": NONE - 1}),
    (Error.ID, {"id": 1}, {"id": 5}),
    (Error.ID, {"id": 3}, {"id": 51}),  # parked
    (Error.LENGTH, {"prompt": 0}, {"prompt": 1}),
    (Error.LENGTH, {"limit": 0}, {"limit": 1}),
    (Error.LENGTH, {"room": 4}, {"room": 5}),
    (Error.CONTEXT, {"context": 0}, {"context": 4}),
    (Error.CONTEXT, {"context": 3}, {"context": 4}),
    (Error.CONTEXT, {"context": 257}, {"context": 256}),
    (Error.POOL, {"room": 500, "limit": 190, "context": 193}, {"room": 500, "limit": NONE, "context": 192}),
    (Error.POOL, {"room": 500, "limit": 190}, {"room": 500, "limit": 189}),
    (Error.POOL, {"room": 194, "limit": NONE}, {"room": 193, "limit": NONE}),
    (Error.VALUE, {"temperature": 0x80000000}, {"temperature": 0x7FFFFFFF}),
    (Error.STOPS, {"stop_count": MAX_STOPS + 1, "stops": STEP}, {"stop_count": MAX_STOPS, "stops": STEP}),
    (Error.WINDOW, {"tokens": STEP + 2}, {"tokens": STEP + 4}),
    (Error.WINDOW, {"tokens": STEP - 4}, {"tokens": STEP}),
    (Error.WINDOW, {"tokens": LIMIT - 28}, {"tokens": LIMIT - 32}),
    (Error.WINDOW, {"stop_count": 1, "stops": LIMIT}, {"stop_count": 1, "stops": LIMIT - 4}),
    (Error.WINDOW, {"stop_count": 1, "stops": STEP + 1}, {"stops": STEP + 1}),
    (Error.WINDOW, {"logits": STEP + 8}, {"logits": STEP + 16}),
    (Error.WINDOW, {"logits": STEP, "logits_stride": 8}, {"logits": STEP, "logits_stride": 16}),
    (Error.WINDOW, {"logits": LOGITS - 1008, "logits_stride": 512}, {"logits": LOGITS - 1024, "logits_stride": 512}),
    (Error.PARENT, {"parent": 51, "shared": 4}, {"parent": 1, "shared": 4}),
    (Error.PARENT, {"parent": 2, "shared": 4}, {"parent": 2, "shared": 4, "tenant": 1}),  # another tenant's
    (Error.PARENT, {"parent": 1, "shared": 5}, {"parent": 1, "shared": 0}),
    (Error.PARENT, {"shared": 1}, {"parent": 3, "shared": 1}),
]


def busy():
    """A chip at work: one that decodes, one of another tenant with a prompt, one that is parked."""
    world = World(chip(lanes=4, slots=4), 6, running=4, window=(STEP, LIMIT))
    world.request(3, [3] * 9, limit=1, flags=Flag.PARK)
    world.request(1, [1] * 5, limit=30)
    world.request(2, [2] * 90, limit=3, tenant=1)
    for _ in range(4):
        world.step()
    assert [slot.state for slot in world.scheduler.slots] == [State.PARKED, State.RUNNING, State.RUNNING, State.FREE]
    return world


def answer(world, fields):
    """The completions of an entry."""
    world.scheduler.submit(GOOD | fields)
    found = list(world.scheduler.completions)
    world.scheduler.completions.clear()
    return found


@pytest.mark.parametrize("error, wrong, right", CASES)
def test_each_error_and_its_limit(error, wrong, right):
    world = busy()
    done, = answer(world, wrong)
    assert (done["event"], done["code"], done["slot"], done["token"]) == (Event.ERROR, error, NO_SLOT, NONE)
    assert done["id"] == (GOOD | wrong)["id"]
    assert not answer(world, right)
    assert world.scheduler.slots[3].state is State.WAITING


def test_the_first_error_is_told():
    """Mistakes are added from the last to the first: each hides those behind it."""
    world, fields = busy(), {}
    for error, wrong in (
            (Error.PARENT, {"shared": 9}), (Error.WINDOW, {"tokens": 1}), (Error.STOPS, {"stop_count": 999}),
            (Error.VALUE, {"temperature": NONE}), (Error.POOL, {"room": 400, "limit": 390}),
            (Error.CONTEXT, {"context": 999}), (Error.LENGTH, {"prompt": 0}), (Error.ID, {"id": 1}),
            (Error.KIND, {"kind": 9})):
        fields |= wrong
        assert [done["code"] for done in answer(world, fields)] == [error]


def test_no_slot():
    """Parked slots are no obstacle, least recently used first; sequences are, whether they run or wait."""
    world = busy()
    assert not answer(world, {"id": 50})
    assert [(done["event"], done["id"]) for done in answer(world, {"id": 51})] == [(Event.EVICTED, 3)]
    done, = answer(world, {"id": 52})
    assert (done["event"], done["code"], done["id"]) == (Event.ERROR, Error.FULL, 52)
    world.cancel(50)
    assert not answer(world, {"id": 52})


def test_a_parent_that_makes_room_for_its_child():
    """Where only the parent's slot is to be had, the child has it, and computes all itself."""
    world = World(chip(lanes=4, slots=2), 8)
    world.request(0, [7] * 40, limit=1, flags=Flag.PARK)
    world.request(1, [8] * 9, limit=100)
    while world.told[0].final is None:
        world.step()
    world.request(2, [7] * 40, limit=3, parent=0, shared=40)
    assert world.told[0].state == "gone" and world.told[2].final is None
    world.finish()
    assert world.told[2].got == world.told[2].expected


@pytest.mark.parametrize("what", ["token", "tokens", "stops"])
def test_what_memory_holds(what):
    """A token that is no token, a bus error: the sequence ends alone, after what it had."""
    world = busy()
    told = world.request(9, [5] * 9, limit=9, stops=(63,))
    if what == "token":
        world.buffers.words[told.request.tokens][6] = VOCAB
    else:
        world.buffers.broken.add(told.request.tokens + 24 if what == "tokens" else told.request.stops)
    world.finish()
    assert (told.final.event, told.final.code) == (Event.ERROR, Error.TOKEN if what == "token" else Error.READ)
    assert told.final.slot == 3 and told.got == [] and told.final.token == NONE


def test_bad_requests_disturb_nobody():
    """The passes of the others are the same, run by run, with all of them and without."""
    plans = []
    for bad in (False, True):
        world, plans_now = busy(), []
        for _, wrong, _ in CASES:
            if bad:
                assert answer(world, wrong)[-1]["event"] == Event.ERROR
                world.scheduler.overrun(77)
                world.cancel(1234)
            plan = world.scheduler.plan()
            world.scheduler.completions.clear()
            if plan is not None:
                plans_now.append(plan)
                world.scheduler.complete(plan, [3] * len(plan.runs))
        plans.append(plans_now)
    assert plans[0] == plans[1] and len(plans[0]) > 20


def test_overrun():
    world = busy()
    world.scheduler.overrun(77)
    done = world.scheduler.completions.pop()
    assert (done["event"], done["code"], done["id"], done["token"]) == (Event.ERROR, Error.OVERRUN, NONE, 77)


@pytest.mark.parametrize("name, event", [(1, Event.FINISHED), (2, Event.FINISHED), (3, Event.EVICTED), (4, None)])
def test_cancel_in_every_state(name, event):
    world = busy()
    world.cancel(name)
    if name == 4:
        world.request(4, [4] * 9, limit=1)
        world.cancel(4)
        assert world.told[4].final.event == Event.FINISHED and world.told[4].got == []
    world.finish()
    assert all(told.final for told in world.told.values())
    if event == Event.FINISHED:
        assert world.told[name].final.event == event and world.told[name].final.token == NONE
