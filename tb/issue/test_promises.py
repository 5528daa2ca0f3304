"""Promises beside their model, in every cycle: what may be waited for block by block, and what it needs."""

from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction
from scoville.config import get_config
from scoville.isa import Opcode
from scoville.issue.promises import PLACE_BITS, Promises

WRITERS = (Opcode.LINEAR, Opcode.ATTEND, Opcode.EMBED)
READERS = (Opcode.LINEAR, Opcode.ATTEND)


def configuration(name):
    """With as large an operand buffer as instructions can address, so that every bit of a place counts."""
    return replace(get_config(name), operand_blocks=(1 << PLACE_BITS) - 1)


def near(rng, number, bits):
    """The number itself, or one that differs in a bit."""
    return number ^ rng.getrandbits(1) << rng.randrange(bits)


@cocotb.test()
async def random_instructions(dut):
    tb = harness.Bench(dut, 1)
    rng, config = tb.rng, configuration(harness.parameters())
    guards = {True: 0, False: 0}
    for _ in range(40):
        dut.promise.value = 0
        await tb.reset()
        model = Promises.Model(config)
        for _ in range(60):
            promise = rng.random() < 0.3
            opcode = rng.choice(WRITERS if promise else list(Opcode))
            given = {"wait": 1}
            if opcode in READERS:
                given |= {"src": near(rng, model.dst or 0, PLACE_BITS), "dst": rng.randrange(config.operand_blocks)}
            if opcode is Opcode.LINEAR:
                given["kblocks"] = near(rng, model.blocks + rng.choice([-1, 0, 1]) & (1 << PLACE_BITS) - 1, PLACE_BITS)
            fields = random_instruction(config, rng, opcode, **given)
            blocks = 1 << rng.randrange(PLACE_BITS) | rng.getrandbits(4)
            dut.op.value, dut.promise.value, dut.blocks.value = encoded(opcode, fields), promise, blocks
            await RisingEdge(dut.clk)
            needed = model.guard(fields) if opcode in READERS else None
            assert harness.peek(dut.guard) == (needed is not None)
            assert harness.peek(dut.need) == model.need
            guards[needed is not None] += 1
            if promise:
                model.promise(None if opcode is Opcode.EMBED else fields["dst"], blocks)
    assert all(count > 100 for count in guards.values())


@pytest.mark.parametrize("config", ["nano", "duo"])
def test_promises(sim, config):
    harness.run(Promises(configuration(config)), __name__, sim=sim, parameters=config)
