"""The list of slots: every change of every list against a Python list, a change a cycle."""

from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.schedule.order import Change, Order


def configured():
    return replace(get_config("nano"), slots=int(harness.parameters()))


@cocotb.test()
async def changes(dut):
    config = configured()
    tb = harness.Bench(dut, 1)
    unit = Order(config)
    bits = len(unit.slot)
    await tb.reset()
    slots, rng, seen = [], tb.rng, set()
    for turn in range(3000):
        missing = [slot for slot in range(config.slots) if slot not in slots]
        change = rng.choice([Change.NONE, *[Change.ADD] * bool(missing) * (2 + turn // 500 % 2 * 3),
                             *[Change.DROP, Change.RENEW] * bool(slots)])
        slot = rng.choice(missing if change is Change.ADD else slots or [0])
        clear = rng.random() < 0.005
        dut.change.value, dut.slot.value, dut.clear.value = change.value, slot, clear
        await RisingEdge(dut.clk)
        slots = [] if clear else Order.model(slots, change, slot)
        dut.change.value = Change.NONE.value
        dut.clear.value = 0
        if rng.random() < 0.3:  # else a change in the next cycle
            await RisingEdge(dut.clk)
            packed = harness.peek(dut.slots) if bits else 0
            assert harness.peek(dut.count) == len(slots)
            assert [packed >> bits * n & (1 << bits) - 1 for n in range(len(slots))] == slots
            assert harness.peek(dut.member) == sum(1 << slot for slot in slots)
            seen.add(len(slots))
    assert seen == set(range(config.slots + 1))


@pytest.mark.parametrize("slots", [1, 2, 8, 16])
def test_order(sim, slots):
    harness.run(Order(replace(get_config("nano"), slots=slots)), __name__, sim=sim, parameters=slots)
