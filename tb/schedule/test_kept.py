"""What slots' last tokens leave: each slot's own, whatever comes for the others, in every cycle."""

from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.schedule.kept import Kept, kept_layout


@cocotb.test()
async def every_cycle(dut):
    """A token or a request in most cycles, then in each; a read in each."""
    slots = int(harness.parameters())
    tb = harness.Bench(dut, 1)
    rng = tb.rng
    bits = kept_layout(get_config("nano")).size
    await tb.reset()
    held, wanted = [0] * slots, None  # what the read of the cycle before gives, if no write met it
    for cycle in range(3000):
        event = rng.choice(["keep", "taken", None] if cycle < 1000 else ["keep", "taken"])
        slot, read, kept = rng.randrange(slots), rng.randrange(slots), rng.getrandbits(bits)
        dut.keep.value, dut.taken.value = int(event == "keep"), int(event == "taken")
        dut.kept_slot.value = slot if event == "keep" else rng.randrange(slots)
        dut.taken_slot.value = slot if event == "taken" else rng.randrange(slots)
        dut.kept.value, dut.read_slot.value = kept, read
        await RisingEdge(dut.clk)
        assert wanted is None or harness.peek(dut.o) == wanted
        wanted = None if event and slot == read else held[read]
        if event:
            held[slot] = kept if event == "keep" else 0


@pytest.mark.parametrize("slots", [2, 8])
def test_kept(sim, slots):
    harness.run(Kept(replace(get_config("nano"), slots=slots)), __name__, sim=sim, parameters=slots)
