"""Lookups of pages: two cycles, whatever else is done; ports that do not hold each other up; who waits for whom."""

import cocotb
import harness
import pytest
from kv.operations import USUAL, configuration
from kv.system import System
from scoville.kv.controller import KvController

SIZES = [USUAL, {"slots": 1, "groups": 2, "pool": 16}]
LATENCY, EVERY = 2, 3  # cycles from a request to its answer, and between two requests of a port


async def two_slots(dut, seed):
    """The last slot has pages, of which the first two of each group are full."""
    system = System(dut, seed)
    await system.start()
    slot = system.config.slots - 1
    await system.do("open", slot, 1)
    await system.written(slot, 70)
    return system, slot


@cocotb.test()
async def latency_and_throughput(dut):
    """The same with one port and both, with faults and without, and while operations of other slots are carried out."""
    system, slot = await two_slots(dut, 1)
    places = [place for place in system.places() if place[0] == slot]
    for ports in (("read",), ("append",), ("read", "append")):
        if slot:
            system.send("open", 0, 1)
            for _ in range(3):
                system.send("reserve", 0, 32 * system.config.slot_pages)
            system.send("release", 0)
        starts = {port: len(system.finds[port].cycles) for port in ports}
        lookups = [cocotb.start_soon(system.lookup(port, *places)) for port in ports]
        for each in lookups:
            await each
        if slot:
            await system.answered()
        for port in ports:
            asked, found = system.asks[port].cycles[starts[port]:], system.finds[port].cycles[starts[port]:]
            assert [b - a for a, b in zip(asked, found, strict=True)] == [LATENCY] * len(places)
            assert asked[-1] - asked[0] == EVERY * (len(places) - 1)
        await system.rest()


@cocotb.test()
@cocotb.parametrize(port=["read", "append"])
async def a_full_port_does_not_block(dut, port):
    system, slot = await two_slots(dut, 2)
    other = {"read": "append", "append": "read"}[port]
    system.finds[port].stalls = 1.0
    waiting = cocotb.start_soon(system.lookup(port, (slot, 0, 2), (slot, 0, 1)))
    await system.tb.wait(10)
    await system.lookup(other, *system.places())
    assert not system.finds[port].received and len(system.asks[port].accepted) == 1
    system.finds[port].stalls = 0.0
    await waiting


@cocotb.test()
@cocotb.parametrize(port=["read", "append"], operation=["commit", "leave", "release"])
async def what_is_used_is_not_given_back(dut, port, operation):
    """The operation waits for the slot's users, and for no other slot's; meanwhile its pages are hidden."""
    system, slot = await two_slots(dut, 3)
    arguments = {"commit": (96,), "leave": (0, 64), "release": ()}[operation]
    place = (slot, 0, 2 if port == "append" else 1)
    assert await system.lookup(port, place) != [None]
    free = harness.peek(dut.free)
    system.send(operation, slot, *arguments)
    await system.tb.wait(40)
    assert len(system.answer.received) == 3 and harness.peek(dut.free) == free
    hidden = await system.lookup(port, place)  # as the model says: that is behind the operation
    assert (hidden == [None]) == ((port, operation) not in (("read", "commit"), ("append", "leave")))
    await system.tb.wait(10)
    assert len(system.answer.received) == 3 and harness.peek(dut.free) == free
    await system.rest()
    await system.answered(waits=(operation,))
    if operation != "release":
        await system.do("release", slot)
    if slot:  # users of another slot hold nothing up
        await system.do("open", slot, 2)
        await system.written(slot, 70)
        await system.do("open", 0, 2)
        await system.lookup(port, (0, 0, 0), (slot, 0, 2), (0, 0, 0))
        await system.rest()
        await system.lookup(port, (0, 0, 0))
        await system.do(operation, slot, *arguments)


@cocotb.test()
@cocotb.parametrize(port=["read", "append"])
async def a_lookup_at_any_cycle_of_a_release(dut, port):
    """It faults, or the release waits for it: no page that was given is free while it is used."""
    system, slot = await two_slots(dut, 4)
    outcomes = set()
    for cycle in range(14):
        await system.start()
        await system.do("open", slot, 1)
        await system.written(slot, 70)
        before = system.model.read(slot, 0, 2)
        system.send("release", slot)
        await system.tb.wait(cycle + 1)
        dut.rest.value = 0
        system.ask(port, (slot, 0, 2))
        [packed] = await system.finds[port].receive(1)
        page = system.page(packed)
        await system.tb.wait(30)
        outcomes.add((page is None, bool(system.answer.received[3:])))
        assert page in (None, before) and (page is None or not system.answer.received[3:])
        assert page is None or harness.peek(dut.free) == system.pages - 3 * system.config.cache_groups
        await system.rest()
        await system.answered(waits=("release",))
    assert {(False, False), (True, True)} <= outcomes


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_translation(sim, sizes):
    harness.run(KvController(configuration(**sizes)), __name__, sim=sim, parameters=sizes)
