"""The attention plan: its steps for every GQA ratio, number of tokens and pages, at a step a cycle."""

from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction, random_runs, with_slots
from scoville.config import VALUES_BEHIND, get_config
from scoville.isa import POSITION_BITS, Opcode
from scoville.program.plan_attend import AttendPlan, step_layout
from scoville.program.spread import places, runs
from scoville.schedule.seats import PassState, of_run, of_runs


def one_run(config, tokens, position):
    """Tokens of one sequence."""
    return of_run([0] * tokens, position) if config.slots == 1 else of_runs([
        (position % config.slots, [0] * tokens, position, 0)])


async def begin(dut, tb, state, **given):
    """Give the plan an instruction: its fields."""
    config = with_slots(harness.parameters())
    fields = random_instruction(config, tb.rng, Opcode.ATTEND, **given)
    dut.op.value, dut.state.value = encoded(Opcode.ATTEND, fields), harness.pack(PassState(config), state)
    await RisingEdge(dut.clk)
    dut.start.value = 1
    await RisingEdge(dut.clk)
    dut.start.value = 0
    await RisingEdge(dut.clk)
    return fields


def same(got, expected, passes, config):
    """Whether a step is the model's."""
    if expected is None:
        return got["value"] == 1
    head, served, page = expected
    wanted = {"value": 0, "head": head, "page": page, "first": page == 0, "last": page == served.pages - 1,
              "last_pass": served is passes[-1]}
    if config.slots > 1:
        following = next(iter(passes[passes.index(served) + 1:]), None)
        wanted |= {"slot": served.slot, "first_seat": served.first, "last_seat": served.last,
                   "again": following is not None and following.turn == served.turn}
    return got == wanted


def cases(config, rng):
    """(state, group, KV heads): every GQA ratio and number of tokens; one run, and where there can be, more."""
    for tokens in range(1, config.seats + 1):
        for group in (1, 3, 4, 9):
            for heads in (1, 2):
                for pages in (1, 2, rng.randrange(3, 9)):
                    first = max(0, 32 * (pages - 1) + rng.randrange(32) - tokens + 1)
                    several = config.slots > 1 and rng.random() < 0.8
                    yield random_runs(config, rng, tokens) if several else one_run(config, tokens, first), group, heads
    yield one_run(config, config.seats, 32), 255, 1
    for group in (17, 33, 65, 129, 255) if config.slots > 1 else ():
        yield random_runs(config, rng, config.seats, last_position=40), group, 1
    yield one_run(config, 1, 0), 1, 255


async def walks(dut, seed, stalls):
    tb = harness.Bench(dut, seed)
    config, steps = with_slots(harness.parameters()), tb.sink("step", stalls)
    shape = step_layout(config)
    await tb.reset()
    assert harness.peek(dut.over)
    for state, group, heads in cases(config, tb.rng):
        mark = len(steps.received)
        fields = await begin(dut, tb, state, group=group, kv_heads=heads)
        while not harness.peek(dut.over):
            await RisingEdge(dut.clk)
        expected, passes = AttendPlan.model(config, fields, state)
        got = [harness.unpack(shape, packed) for packed in steps.received[mark:]]
        assert len(got) == len(expected)
        for item, wanted in zip(got, expected, strict=True):
            assert same(item, wanted, passes, config), (item, wanted, fields, state)
        found = 2 * heads * len(runs(state)) if config.slots > 1 else 0
        assert stalls or steps.cycles[-1] - steps.cycles[mark] == len(got) - 1 + found


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
    await begin(dut, tb, one_run(with_slots(harness.parameters()), 1, 32 * pages - 1), group=1, kv_heads=1)
    while not harness.peek(dut.over):
        step = harness.unpack(step_layout(with_slots(harness.parameters())), harness.peek(dut.step__payload))
        if harness.peek(dut.step__valid) and not step["value"]:
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
            await begin(dut, tb, one_run(with_slots(harness.parameters()), 1, position), group=1, kv_heads=1)
            await tb.wait(24)
            got = [harness.unpack(step_layout(with_slots(harness.parameters())), packed) for packed in steps.received]
            assert len(got) > 20 and not any(step["last"] for step in got if not step["value"])
            pages = [step["page"] for step in got if not step["value"]]
            assert pages == list(range((len(got) + VALUES_BEHIND + 1) // 2))


@pytest.mark.parametrize("config", ["duo"])
def test_plan_attend(sim, config):
    harness.run(AttendPlan(with_slots(config)), __name__, sim=sim, parameters=config)


@pytest.mark.parametrize("config", ["kria 16", "duo 4"])
def test_of_many(sim, config):
    harness.run(AttendPlan(with_slots(config)), __name__, sim=sim, parameters=config)


@pytest.mark.parametrize("lanes, phases", [(1, 1), (4, 1), (1, 4), (4, 2), (2, 8)])
def test_places(lanes, phases):
    """A token is in no more turns than it must; between two of its heads no phase is nobody's. One run is dense."""
    one = replace(get_config("nano"), lanes=lanes, phases=phases)
    config = replace(one, slots=2)
    seats = config.seats
    for group in range(1, 256):
        room = places(config, group)
        assert group <= room <= 256 and places(one, group) == places(config, group, 0) == group
        for token in range(seats):
            pairs = range(token * room, token * room + group)
            assert pairs[-1] // seats - pairs[0] // seats + 1 == -(-group // seats)
            phases_used = sorted({pair // lanes for pair in pairs})
            assert phases_used[-1] // phases != phases_used[0] // phases or len(phases_used) == 1 or \
                phases_used == list(range(phases_used[0], phases_used[-1] + 1))
        # Nor between two tokens of a turn.
        used = {(token * room + head) // lanes for token in range(seats) for head in range(group)}
        for turn in range(room):
            mine = sorted(phase % phases for phase in used if phase // phases == turn)
            assert mine == list(range(len(mine))) and mine


def test_runs():
    """Whole runs, in the order of their seats; one where there are no slots."""
    state = of_runs([(3, [0] * 2, 5, 1), (0, [0], 9, 0), (1, [0] * 3, 0, 0)])
    assert runs(state) == [(3, 0, 1), (0, 2, 2), (1, 3, 5)]
    assert runs(of_run([0] * 3, 7)) == [(0, 0, 2)]
