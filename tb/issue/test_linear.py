"""LINEAR: commands and tasks of every destination, of one slot's seats or of several slots', what holds it, speed."""

from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer, with_timeout
from cocotb.utils import get_sim_time
from programs import encoded, random_instruction, random_state
from scoville.array.operand import credit_bits
from scoville.config import get_config
from scoville.isa import Dest, Opcode
from scoville.issue.commands import layouts
from scoville.issue.linear import COMMANDS, LinearIssuer
from scoville.schedule.seats import PassState, of_runs
from test_attend import subset

PHASES = {"nano": 1, "duo": 2, "kria": 4, "slim": 4}
DESTS = list(Dest)
LONG = (1 << 17) - 1  # tiles
TILES_BITS = 19  # fewer than 2^24 rows


def configuration(name):
    """Of a name and a number of slots: "duo 4"."""
    name, slots = name.split()
    return replace(get_config(name), slots=int(slots), phases=PHASES[name])


def random_runs(config, rng):
    """A pass of runs of which at least one samples."""
    runs, left, slots = [], config.seats, rng.sample(range(config.slots), config.slots)
    while left and slots and (not runs or rng.random() < 0.8):
        tokens = rng.randint(1, left)
        runs.append((slots.pop(), [0] * tokens, rng.randrange(1000), rng.random() < 0.4))
        left -= tokens
    sampling = rng.randrange(len(runs))
    runs[sampling] = (*runs[sampling][:3], True)
    state = of_runs(runs)
    state["seats"] += [{"samples": rng.getrandbits(1)} for _ in range(state["tokens"], config.seats)]  # nobody's
    return state


class System:
    """The issuer between queues."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.config = dut, configuration(harness.parameters())
        self.tb = harness.Bench(dut, seed)
        self.found = {name: layouts(self.config)[name] for name in (*COMMANDS, "task")}
        self.sinks = {name: self.tb.sink(name, stalls) for name in self.found}

    async def begin(self, dest, **given):
        """Start an instruction of a random pass: what the model expects, as lists of dicts by port name."""
        dut, config, rng = self.dut, self.config, self.tb.rng
        state = random_state(config, rng) if config.slots == 1 else random_runs(config, rng)
        group = {"group": rng.randint(1, 255)} if dest == Dest.QUERY else {}
        fields = random_instruction(config, rng, Opcode.LINEAR, dest=dest, **group, **given)
        guard = rng.choice([None, rng.getrandbits(credit_bits(config))])
        dut.state.value = harness.pack(PassState(config), state)
        dut.op.value, dut.start.value = encoded(Opcode.LINEAR, fields), 1
        dut.guard.value, dut.need.value = guard is not None, guard or 0
        for sink in self.sinks.values():
            sink.received.clear()
        await self.tb.wait(1)
        dut.start.value = 0
        return LinearIssuer.model(config, fields, state, guard)

    async def over(self):
        await self.tb.wait(1)
        cycles = 1
        while not harness.peek(self.dut.over):
            await self.tb.wait(1)
            cycles += 1
        return cycles

    def check(self, expected, tasks=None):
        """All that came is what was expected, of the tasks as many."""
        for name, sink in self.sinks.items():
            wanted = expected[name][:tasks if name == "task" else None]
            assert len(sink.received) == len(wanted), (name, len(sink.received), len(wanted))
            for packed, want in zip(sink.received, wanted, strict=True):
                item = harness.unpack(self.found[name], packed)
                assert subset(item, want, want.get("mask", (1 << self.config.seats) - 1)), (name, item, want)


@cocotb.test()
@cocotb.parametrize(stalls=[0.3, 0.0])
async def random_matrices(dut, stalls):
    system = System(dut, 1, stalls)
    await system.tb.reset()
    phases = set()
    for turn in range(120):
        dest = Dest.LOGITS if turn % 2 else DESTS[turn // 2 % len(DESTS)]
        expected = await system.begin(dest)
        cycles = await system.over()
        assert stalls or cycles == 2 + len(expected["task"])
        await system.tb.wait(1)
        system.check(expected)
        if dest == Dest.LOGITS:
            phases.add((expected["chain"][0]["first_phase"], expected["chain"][0]["last_phase"]))
    for seen in zip(*phases, strict=True):  # as the first, and as the last
        assert set(seen) == set(range(system.config.phases))


@cocotb.test()
async def wide_fields(dut):
    """Of matrices too large to be run here, the first tiles."""
    system = System(dut, 2, 0.0)
    rng = system.tb.rng
    for turn in range(10 * TILES_BITS):
        await system.tb.reset()
        tiles = max(12, 1 << turn % TILES_BITS | rng.getrandbits(1 + rng.randrange(TILES_BITS)))
        expected = await system.begin(DESTS[turn % len(DESTS)], tiles=min(tiles, (1 << TILES_BITS) - 1))
        await system.tb.wait(12)
        assert len(system.sinks["task"].received) == 9
        system.check(expected, tasks=9)
    await system.tb.reset()


@cocotb.test()
async def a_long_matrix(dut):
    """None of its tiles is left out, and the last one is the last. Nobody looks in between, so that it is quick."""
    tb, config = harness.Bench(dut, 3), configuration(harness.parameters())
    dut.rst.value = 1
    await Timer(1, "ns")
    Clock(dut.clk, harness.PERIOD, "ns").start()
    await tb.wait(3)
    dut.rst.value = 0
    for name in (*COMMANDS, "task"):
        getattr(dut, f"{name}__ready").value = 1
    fields = random_instruction(config, tb.rng, Opcode.LINEAR, tiles=LONG, dest=Dest.LOGITS)
    dut.op.value, dut.start.value = encoded(Opcode.LINEAR, fields), 1
    await tb.wait(1)
    dut.start.value = 0
    begun = get_sim_time("ns")
    await with_timeout(RisingEdge(dut.over), 2 * harness.PERIOD * LONG, "ns")
    assert round((get_sim_time("ns") - begun) / harness.PERIOD) == 1 + LONG
    await tb.wait(2)


@cocotb.test()
async def held(dut):
    """While one unit does not take its command, no task comes and nothing is over; a reset drops it all."""
    system = System(dut, 4, 0.0)
    tb = system.tb
    await tb.reset()
    for dest in DESTS:
        for name, sink in system.sinks.items():
            for resets in (False, True):
                sink.stalls = 1.0
                await tb.wait(2)
                expected = await system.begin(dest)
                if expected[name]:
                    for _ in range(tb.rng.randrange(4, 20)):
                        await tb.wait(1)
                        assert not harness.peek(dut.over)
                    system.check(expected | {name: []}, tasks=0)
                sink.stalls = 0.0
                if resets:
                    await tb.reset()
                    assert not any(harness.peek(getattr(dut, f"{unit}__valid")) for unit in system.sinks)
                else:
                    await system.over()
                    await tb.wait(1)
                    system.check(expected)


@pytest.mark.parametrize("config", ["duo 4", "slim 4", "nano 4", "kria 4", "duo 1", "kria 1"])
def test_linear(sim, config):
    harness.run(LinearIssuer(configuration(config)), __name__, sim=sim, parameters=config)
