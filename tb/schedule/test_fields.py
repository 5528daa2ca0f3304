"""The fields of slots' requests: what each slot took, whatever came and went since."""

from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.schedule.fields import RequestFields, fields_layout
from scoville.schedule.records import REQUEST, decode
from scoville.schedule.submission import WORDS, word_layout


async def requests(dut, seed, stalls):
    """Requests, of which some are taken; then the fields of any slot."""
    slots = int(harness.parameters())
    tb = harness.Bench(dut, seed)
    rng = tb.rng
    words, judge = tb.source("i", stalls), tb.sink("o", stalls)
    await tb.reset()
    held, sent = {}, []
    for _ in range(120):
        request = [rng.getrandbits(32) for _ in range(WORDS)]
        packed = [harness.pack(word_layout(), {"word": word, "index": n}) for n, word in enumerate(request)]
        sent += packed
        words.send(packed)
        await words.drain()
        await tb.wait(2)
        if rng.random() < 0.8:
            slot = rng.randrange(slots)
            dut.slot.value, dut.taken.value = slot, 1
            await RisingEdge(dut.clk)
            dut.taken.value = 0
            held[slot] = request
        if held:
            dut.read_slot.value = slot = rng.choice(list(held))
            await tb.wait(3)
            found = decode(REQUEST, b"".join(word.to_bytes(4, "little") for word in held[slot]))
            fields = harness.unpack(fields_layout(), harness.peek(dut.fields))
            assert len(fields) == 7 and fields == {name: found[name] for name in fields}
    assert judge.received == sent and len(held) == slots
    return judge.cycles


@cocotb.test()
async def random_stalls(dut):
    await requests(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; a word in every cycle."""
    cycles = await requests(dut, 2, 0.0)
    assert all(cycles[n + WORDS - 1] - cycles[n] == WORDS - 1 for n in range(0, len(cycles), WORDS))


@pytest.mark.parametrize("slots", [2, 8, 16])
def test_fields(sim, slots):
    harness.run(RequestFields(replace(get_config("nano"), slots=slots)), __name__, sim=sim, parameters=slots)
