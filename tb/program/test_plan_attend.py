"""The attention plan: its steps for every GQA ratio, number of tokens and pages, at a step a cycle."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction
from scoville.config import VALUES_BEHIND, get_config
from scoville.isa import POSITION_BITS, Opcode
from scoville.program.plan_attend import AttendPlan, step_layout
from scoville.schedule.seats import PassState, of_run

CONFIG = get_config("duo")


async def begin(dut, rng, state, **given):
    """Give the plan an instruction: its fields."""
    fields = random_instruction(CONFIG, rng, Opcode.ATTEND, **given)
    dut.op.value, dut.state.value = encoded(Opcode.ATTEND, fields), harness.pack(PassState(CONFIG), state)
    await RisingEdge(dut.clk)
    dut.start.value = 1
    await RisingEdge(dut.clk)
    dut.start.value = 0
    await RisingEdge(dut.clk)
    return fields


def same(got, expected, pages, passes):
    """Whether a step is the model's."""
    if expected is None:
        return got["value"] == 1
    head, number, page = expected
    return got == {"value": 0, "head": head, "page": page, "first": page == 0, "last": page == pages - 1,
                   "last_pass": number == passes - 1}


async def walks(dut, seed, stalls):
    tb = harness.Bench(dut, seed)
    steps = tb.sink("step", stalls)
    await tb.reset()
    assert harness.peek(dut.over)
    cases = [(tokens, group, heads, pages) for tokens in range(1, CONFIG.seats + 1) for group in (1, 3, 4, 9)
             for heads in (1, 2) for pages in (1, 2, tb.rng.randrange(3, 9))]
    for tokens, group, heads, pages in [*cases, (CONFIG.seats, 255, 1, 2), (1, 1, 255, 1)]:
        first = max(0, 32 * (pages - 1) + tb.rng.randrange(32) - tokens + 1)
        state, mark = of_run([0] * tokens, first), len(steps.received)
        fields = await begin(dut, tb.rng, state, group=group, kv_heads=heads)
        while not harness.peek(dut.over):
            await RisingEdge(dut.clk)
        expected, *sizes = AttendPlan.model(CONFIG, fields, state)
        got = [harness.unpack(step_layout(), packed) for packed in steps.received[mark:]]
        assert len(got) == len(expected)
        assert all(same(*pair, *sizes) for pair in zip(got, expected, strict=True)), (fields, state)
        assert stalls or steps.cycles[-1] - steps.cycles[mark] == len(got) - 1


@cocotb.test()
async def random_stalls(dut):
    await walks(dut, 1, 0.4)


@cocotb.test()
async def full_speed(dut):
    await walks(dut, 2, 0.0)


@cocotb.test()
async def a_long_context(dut):
    """As many pages as are walked in a second: none is left out, and the last one is."""
    tb = harness.Bench(dut, 4)
    await tb.reset()
    pages, page, dut.step__ready.value = 9000, 0, 1
    await begin(dut, tb.rng, of_run([0], 32 * pages - 1), group=1, kv_heads=1)
    while not harness.peek(dut.over):
        step = harness.unpack(step_layout(), harness.peek(dut.step__payload))
        if not step["value"]:
            assert (step["page"], step["last"]) == (page, page == pages - 1)
            page += 1
        await RisingEdge(dut.clk)
    assert page == pages


@cocotb.test()
async def far_positions(dut):
    """Of contexts too long to be walked here, the first pages: none is the last."""
    tb = harness.Bench(dut, 3)
    steps = tb.sink("step", 0.0)
    for bit in range(9, POSITION_BITS):
        for position in (1 << bit, tb.rng.randrange(1 << bit, 2 << bit)):
            await tb.reset()
            await begin(dut, tb.rng, of_run([0], position), group=1, kv_heads=1)
            await tb.wait(24)
            got = [harness.unpack(step_layout(), packed) for packed in steps.received]
            assert len(got) > 20 and not any(step["last"] for step in got if not step["value"])
            pages = [step["page"] for step in got if not step["value"]]
            assert pages == list(range((len(got) + VALUES_BEHIND + 1) // 2))


@pytest.mark.parametrize("config", ["duo"])
def test_plan_attend(sim, config):
    harness.run(AttendPlan(get_config(config)), __name__, sim=sim, parameters=config)
