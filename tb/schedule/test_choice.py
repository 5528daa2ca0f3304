"""The choice by rank: against sorting, for every number of slots, priorities that are equal, and both ends."""

from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.schedule.choice import PRIORITY_BITS, Choice


@cocotb.test()
async def choices(dut):
    """The slot that is chosen, and in how many cycles."""
    count = int(harness.parameters())
    unit = Choice(replace(get_config("nano"), slots=count))
    bits = len(unit.slot)
    tb = harness.Bench(dut, 1)
    rng = tb.rng
    await tb.reset()
    outcomes = set()
    for _ in range(600):
        slots = rng.sample(range(count), rng.randint(0, count))
        few = rng.random() < 0.5
        priority = [rng.choice([3, 4, 200]) if few else rng.getrandbits(PRIORITY_BITS) for _ in range(count)]
        among = {slot for slot in range(count) if rng.random() < rng.choice([0.2, 0.8])}
        last = rng.getrandbits(1)
        if bits:
            garbage = rng.sample(range(count), count)[len(slots):]  # behind the list
            dut.slots.value = sum(slot << bits * n for n, slot in enumerate(slots + garbage))
        dut.count.value, dut.last.value = len(slots), last
        dut.priority.value = sum(each << PRIORITY_BITS * n for n, each in enumerate(priority))
        dut.among.value = sum(1 << slot for slot in among)
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        cycles = 0
        while True:
            await RisingEdge(dut.clk)
            cycles += 1
            if harness.peek(dut.done):
                break
        assert cycles == len(slots) + 1
        for _ in range(rng.randrange(3)):  # it stays
            await RisingEdge(dut.clk)
        wanted = Choice.model(slots, priority, among, last)
        assert harness.peek(dut.found) == (wanted is not None)
        if wanted is not None and bits:
            assert harness.peek(dut.slot) == wanted
        outcomes.add((wanted is None, last))
    assert len(outcomes) == 4


@pytest.mark.parametrize("slots", [1, 2, 8, 16])
def test_choice(sim, slots):
    harness.run(Choice(replace(get_config("nano"), slots=slots)), __name__, sim=sim, parameters=slots)
