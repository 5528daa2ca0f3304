"""Parked slots: who goes first, for whom, and who is kept."""

from scoville.schedule.records import Event, Flag
from scoville.schedule.slots import State
from world import World, chip


def parked(pages, lengths, *, slots=8, running=None):
    """A chip with parked slots 0, 1, … of so many tokens each, parked in this order."""
    world = World(chip(lanes=8, slots=slots), pages, running=running)
    for name, length in enumerate(lengths):
        world.request(name, [name + 3] * length, limit=1, flags=Flag.PARK)
        while world.told[name].final is None:
            world.step()
    assert names(world) == list(range(len(lengths)))
    return world


def names(world):
    """Ids of the parked slots, least recently used first."""
    return [slot.request.id for slot in world.scheduler.parked]


def evicted(world, count):
    """Step so often; the ids of parked slots that went, in order."""
    return [done.id for _ in range(count) for done in world.step() or () if done.event == Event.EVICTED]


def test_a_sequence_that_grows_takes_the_pages_of_parked_ones_first():
    world = parked(5, [40, 20])  # two pages and one
    world.request(2, [9] * 30, limit=70)
    world.request(3, [8] * 30, limit=70)
    assert evicted(world, 8) == [0] and world.preemptions == 0
    world.finish()
    assert world.told[1].state == "gone" and world.preemptions


def test_least_recently_used():
    """Naming a parent is a use, and so is sharing its pages."""
    world = parked(12, [64, 64, 64])
    world.request(9, [3] * 64, limit=1, parent=0, shared=64)
    assert names(world) == [1, 2, 0]
    world.request(8, [4] * 64, limit=1, parent=1, shared=64)
    world.request(7, [5] * 64, limit=1, parent=2, shared=64, priority=5)
    assert names(world) == [0, 1, 2]
    world.step()  # 7 is admitted first, then 9 and 8
    assert names(world) == [2, 0, 1]
    world.finish()


def test_admission_evicts_as_many_as_it_needs():
    world = parked(8, [40, 20, 20])  # four of eight pages
    world.request(9, [9] * 150, limit=9)  # five
    assert evicted(world, 1) == [0]
    world.finish()


def test_admission_without_hope_evicts_nobody():
    """Four pages are free or parked, five are wanted: what is parked stays, and who waits has no pages meanwhile."""
    world = parked(8, [40])
    world.request(8, [8] * 100, limit=12)  # four
    world.step()
    world.request(9, [9] * 130, limit=9)
    assert evicted(world, 5) == []
    assert world.scheduler.slots[2].state is State.WAITING
    world.finish()


def test_who_is_admitted_keeps_what_it_shares():
    """Its parent is evicted for its other pages; those that both have stay."""
    world = parked(6, [40, 20])  # two pages and one
    world.request(9, [3] * 40 + [7] * 140, limit=9, parent=0, shared=40)  # six pages, one of them shared
    assert evicted(world, 1) == [1, 0]
    assert world.scheduler.slots[2].computed == 32 + 8 and world.kv.free == 0
    world.finish()


def test_a_parked_slot_ends_with_a_cancel():
    world = parked(8, [40, 20])
    world.cancel(0)
    assert world.told[0].state == "gone" and world.kv.free == 7
    world.request(0, [1] * 9, limit=1)  # its id is free
    assert world.told[0].final is None
    world.finish()


def test_who_is_before_its_parent_does_not_wait_for_it():
    """A child of higher priority takes what the parent has, and goes on; else it waits until that has its prompt."""
    for priority, first in ((1, 32), (0, 96)):
        world = World(chip(lanes=8), 32)
        world.request(0, [3] * 100, limit=9)
        for _ in range(5):
            world.step()
        world.request(1, [3] * 100, limit=9, parent=0, shared=100, priority=priority)
        while world.scheduler.slots[1].state is State.WAITING:
            before = world.scheduler.slots[0].computed
            world.step()
        assert before // 32 * 32 == first
        world.finish()
