"""What has gone wrong in other KV caches, a test a class, from the trackers of vLLM, SGLang and TensorRT-LLM."""

import cocotb
import harness
import pytest
from kv.operations import USUAL, configuration
from kv.system import System
from scoville.kv.controller import KvController
from scoville.kv.layouts import command_layout

PAGE = 32  # tokens


async def opened(dut, seed, *tenants, pages=None):
    """A system with a slot of each of these tenants."""
    system = System(dut, seed, pages=pages)
    await system.start()
    for slot, tenant in enumerate(tenants):
        await system.do("open", slot, tenant)
    return system


async def all_different(system):
    """All the pool to one slot after the other: no page comes twice; then everything comes back."""
    pages = []
    for slot in range(system.config.slots):
        await system.do("open", slot, 9)
        while system.model.free and await system.do("reserve", slot, PAGE * (system.model.slots[slot].length + 1)):
            pass
        pages += [page for page in await system.lookup("read", *system.places([slot])) if page is not None]
        await system.rest()
    assert sorted(pages) == list(range(system.pages))
    await system.all_released()


@cocotb.test()
async def page_freed_twice(dut):
    """vLLM #42571, #37076: a sequence that ends twice, one whose pages are shared, one that was never begun."""
    system = await opened(dut, 1, 7, 7)
    await system.written(0, 3 * PAGE)
    await system.do("fork", 1, 0, 3)
    assert await system.do("release", 0) and not await system.do("release", 0)
    assert system.model.free == system.pages - 6
    assert await system.do("release", 1) and not await system.do("release", 1) and not await system.do("release", 3)
    await all_different(system)


@cocotb.test()
async def window_pages_freed_twice(dut):
    """vLLM PR #45357 (gpt-oss): by the window again, by the end of the sequence behind it, by a fork's window."""
    system = await opened(dut, 2, 7, 7)
    await system.written(0, 4 * PAGE + 5)
    await system.do("fork", 1, 0, 3)
    for first in (2 * PAGE, 2 * PAGE, 2 * PAGE + 31, PAGE, 0):
        await system.do("leave", 0, 1, first)
    await system.do("leave", 1, 1, 3 * PAGE)
    assert system.model.free == system.pages - 10 + 2
    await system.do("leave", 0, 1, 4 * PAGE)
    await system.do("release", 0)
    await system.do("leave", 1, 1, 3 * PAGE)
    await system.do("release", 1)
    await all_different(system)


@cocotb.test()
@cocotb.parametrize(how=["release", "leave"])
async def page_freed_while_a_write_is_on_its_way(dut, how):
    """vLLM PR #47728: the page of an append is not given to anybody before the append has its response."""
    system = await opened(dut, 3, 7, 7, pages=6)
    await system.do("reserve", 0, 3 * PAGE)
    [page] = await system.lookup("append", (0, 0, 0))
    system.send("commit", 0, 3 * PAGE)
    system.send(how, 0, *((0, 3 * PAGE) if how == "leave" else ()))
    system.send("reserve", 1, PAGE)
    await system.tb.wait(100)
    assert len(system.answer.received) == 3, "no operation has gone on"
    await system.rest()
    await system.answered(waits=("commit", how))
    if how == "release":
        assert page in await system.lookup("append", (1, 0, 0), (1, 1, 0))
        await system.rest()
    await system.all_released()


@cocotb.test()
async def table_entry_overwritten(dut):
    """vllm-ascend PR #11334: entries are appended, whatever is reserved again, less or more, behind a window too."""
    system = await opened(dut, 4, 7)
    pages = []
    for tokens in (PAGE, 1, 3 * PAGE, 2 * PAGE + 1, 0, 3 * PAGE + 1):
        await system.do("reserve", 0, tokens)
        places = [(0, group, index) for group in range(2) for index in range(system.model.slots[0].length)]
        found = await system.lookup("read", *places)
        await system.rest()
        assert [page for place, page in pages if place in places] == [
            page for place, page in zip(places, found, strict=True) if place in dict(pages)]
        pages = list(zip(places, found, strict=True))
    await system.do("commit", 0, 3 * PAGE)
    await system.do("leave", 0, 0, 2 * PAGE)
    await system.do("reserve", 0, 5 * PAGE)
    await system.look_at(system.places([0]))
    await system.all_released()


@cocotb.test()
async def prefix_hit_over_a_page_that_is_not_full(dut):
    """SGLang #38319: shared up to the last page that is full, and that page is not appended to by anybody."""
    system = await opened(dut, 5, 7, 7)
    await system.written(0, 2 * PAGE + 31)
    assert not await system.do("fork", 1, 0, 3)
    assert await system.do("fork", 1, 0, 2)
    await system.do("reserve", 1, 3 * PAGE)
    assert (await system.lookup("append", (0, 0, 1), (1, 0, 1))) == [None, None]
    own, other = await system.lookup("append", (0, 0, 2), (1, 0, 2))
    assert None not in (own, other) and own != other
    await system.rest()
    await system.do("commit", 0, 3 * PAGE)
    await system.do("open", 2, 7)
    assert await system.do("fork", 2, 0, 3)
    assert await system.lookup("append", (0, 0, 2)) == [None]
    await system.all_released()


@cocotb.test()
async def prefix_hit_over_a_page_that_is_not_written(dut):
    """SGLang #38319: its appends have their page, but no response: the commit waits, and so does the fork."""
    system = await opened(dut, 6, 7, 7)
    await system.do("reserve", 0, PAGE)
    assert not await system.do("fork", 1, 0, 1)
    await system.lookup("append", (0, 0, 0))
    before = len(system.answer.received)
    system.send("commit", 0, PAGE)
    system.send("fork", 1, 0, 1)
    await system.tb.wait(100)
    assert len(system.answer.received) == before
    await system.rest()
    await system.answered(waits=("commit",))
    await system.all_released()


@cocotb.test()
async def pool_at_100_percent(dut):
    """vLLM #50702, TensorRT-LLM #13318: the last is given; one too few gives none; what is freed counts."""
    system = await opened(dut, 7, 7, 7, 7, pages=11)
    assert await system.do("reserve", 0, 4 * PAGE)
    assert not await system.do("reserve", 1, 2 * PAGE) and await system.do("missing", 1, 2 * PAGE)
    await system.look_at(system.places([1]))
    await system.rest()
    assert await system.do("reserve", 1, PAGE)
    assert not await system.do("reserve", 2, 1) and not await system.do("reserve", 0, 4 * PAGE + 1)
    assert await system.do("reserve", 0, 4 * PAGE)  # it has them
    await system.written(0, 2 * PAGE)
    system.send("leave", 0, 0, PAGE)
    system.send("reserve", 2, 1)  # two are free now, one of which came back in the operation before
    await system.answered()
    assert system.model.free == 0
    await system.do("commit", 0, 4 * PAGE)
    assert await system.do("release", 0) and await system.do("reserve", 1, 4 * PAGE)
    await system.all_released()


@cocotb.test()
async def prefix_shared_between_tenants(dut):
    """GHSA-rm76-4mrf-v9r8: refused, in as many cycles as if the parent did not have the pages (CVE-2025-46570)."""
    system = await opened(dut, 8, 7, 8)
    await system.written(0, 3 * PAGE)
    assert not await system.do("fork", 1, 0, 3) and not await system.do("fork", 1, 0, 0)
    assert not await system.do("fork", 1, 2, 3)  # closed
    await system.do("release", 0)
    await system.do("open", 0, 8)  # the same slot, now with nothing: what was there is not found
    assert not await system.do("fork", 1, 0, 1)
    await system.look_at(system.places([0, 1]))
    await system.rest()
    await system.written(0, PAGE)
    assert await system.do("fork", 1, 0, 1)
    for tenant in (0, 0xFF):  # any bit makes another tenant
        await system.do("open", 3, tenant)
        await system.written(3, PAGE)
        for bit in range(8):
            await system.do("open", 2, tenant ^ 1 << bit)
            assert not await system.do("fork", 2, 3, 1)
            await system.do("release", 2)
        await system.do("release", 3)
    await system.all_released()


@cocotb.test()
async def no_operation(dut):
    """What is none is refused, and nothing happens."""
    system = await opened(dut, 9, 7)
    await system.written(0, 3 * PAGE)
    for amount in (0, PAGE, 5 * PAGE):
        system.command.send([harness.pack(command_layout(system.config), {"op": 7, "slot": 0, "amount": amount})])
        [answer] = await system.answer.receive(1)
        assert answer & 1 == 0
    await system.look_at(system.places([0]))
    await system.all_released()


@pytest.mark.parametrize("sizes", [USUAL], ids=str)
def test_known_faults(sim, sizes):
    harness.run(KvController(configuration(**sizes)), __name__, sim=sim, parameters=sizes)
