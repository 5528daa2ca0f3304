"""The KV-cache controller against its model: answers, translations, pages in their order, and cycles."""

import cocotb
import harness
import pytest
from kv.operations import USUAL, configuration
from kv.system import System
from scoville.kv.controller import KvController

SIZES = [USUAL, {"slots": 2, "groups": 2, "pool": 16}, {"slots": 1, "groups": 1, "pool": 8},
         {"slots": 16, "groups": 1, "pool": 32}, {"slots": 4, "groups": 4, "pool": 64, "entries": 16},
         {"slots": 1, "groups": 2, "pool": 4, "entries": 1}]


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3], less=[0, 1])
async def random_operations(dut, stalls, less):
    """Of pools that run out, one behind the other while pages are looked up; without stalls every cycle is right."""
    system = System(dut, less + int(10 * stalls), stalls)
    system.pages -= less * (system.pages // 3)
    await system.start()
    for _ in range(25):
        await system.random_burst(12)
        places = system.places()
        await system.look_at(system.tb.rng.sample(places, min(len(places), 24)))
        await system.rest()
    await system.look_at(system.places())
    await system.all_released()


@cocotb.test()
async def every_page_in_order(dut):
    """All pages to one slot, as far as its table goes, and back, twice: the second time in the order of release."""
    system = System(dut, 20)
    await system.start()
    entries = min(system.config.slot_pages, system.pages // system.config.cache_groups)
    for _ in range(2):
        for slot in range(system.config.slots):
            await system.do("open", slot, slot)
            await system.do("reserve", slot, 32 * entries)
        await system.look_at(system.places())
        await system.all_released()


@cocotb.test()
async def a_whole_table(dut):
    """Every entry full, seen, left by the windows and released: each length goes to its end."""
    system = System(dut, 22)
    for slot in range(system.config.slots):
        await system.start()
        await system.do("open", slot, 1)
        entries = min(system.config.slot_pages, system.pages // system.config.cache_groups)
        await system.written(slot, 32 * entries)
        for group in range(system.config.cache_groups):
            await system.look_at(system.places([slot]))
            await system.rest()
            for first in (entries - 1, entries):
                await system.do("leave", slot, group, 32 * first)
        await system.look_at(system.places([slot]))
        await system.rest()
        assert system.model.free == system.pages
        await system.do("reserve", slot, 32 * entries)
        await system.all_released()


@cocotb.test()
async def pages_stand_still_while_a_slot_is_open(dut):
    """Their number is looked at before the first slot is opened, and not while one is open."""
    system = System(dut, 23)
    for slot in range(system.config.slots):
        await system.start()
        await system.do("open", slot, 1)
        dut.pages.value = 0
        await system.tb.wait(3)
        assert harness.peek(dut.free) == system.pages
        await system.do("reserve", slot, 1)
        await system.all_released()


@cocotb.test()
async def reset_walks_no_memory(dut):
    """After a reset at any cycle of an operation every slot is closed and, a cycle later, every page is free."""
    system = System(dut, 21)
    for cycles in range(14):
        await system.start()
        await system.tb.wait(1)
        assert harness.peek(dut.free) == system.pages
        await system.look_at([place for place in system.places() if place[2] == 0])
        await system.rest()
        for slot in range(system.config.slots):
            await system.do("open", slot, 1)
            await system.do("reserve", slot, 1)
        await system.written(0, 32 * (system.config.slot_pages // 2))
        system.send("leave", 0, 0, 32)
        system.send("release", 0)
        await system.tb.wait(cycles + 1)
        system.log.clear()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_controller(sim, sizes):
    harness.run(KvController(configuration(**sizes)), __name__, sim=sim, parameters=sizes)
