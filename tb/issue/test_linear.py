"""LINEAR where runs of several slots have the seats: the phases of the seats that sample."""

from dataclasses import replace

import cocotb
import harness
import pytest
from programs import encoded, random_instruction
from scoville.config import get_config
from scoville.isa import Dest, Opcode
from scoville.issue.commands import layouts
from scoville.issue.linear import COMMANDS, LinearIssuer
from scoville.schedule.seats import PassState, of_runs
from test_attend import subset

PHASES = {"nano": 1, "duo": 2, "kria": 4, "slim": 4}


def configuration(name):
    return replace(get_config(name), slots=4, phases=PHASES[name])


def random_runs(config, rng):
    """A pass of runs of which at least one samples."""
    runs, left = [], config.seats
    while left and (not runs or rng.random() < 0.8):
        tokens = rng.randint(1, left)
        runs.append((rng.randrange(config.slots), [0] * tokens, rng.randrange(1000), rng.random() < 0.4))
        left -= tokens
    sampling = rng.randrange(len(runs))
    runs[sampling] = (*runs[sampling][:3], True)
    return of_runs(runs)


@cocotb.test()
@cocotb.parametrize(stalls=[0.3, 0.0])
async def of_many(dut, stalls):
    tb, config = harness.Bench(dut, 1), configuration(harness.parameters())
    found = {name: layouts(config)[name] for name in (*COMMANDS, "task")}
    sinks = {name: tb.sink(name, stalls) for name in found}
    await tb.reset()
    phases = set()
    for turn in range(60):
        state = random_runs(config, tb.rng)
        state["seats"] += [{"samples": tb.rng.getrandbits(1)} for _ in range(state["tokens"], config.seats)]  # nobody's
        fields = random_instruction(config, tb.rng, Opcode.LINEAR, dest=Dest.LOGITS if turn % 4 else Dest.QUERY)
        dut.state.value = harness.pack(PassState(config), state)
        dut.op.value = encoded(Opcode.LINEAR, fields)
        dut.start.value = 1
        await tb.wait(1)
        dut.start.value = 0
        expected = LinearIssuer.model(config, fields, state)
        tasks = await sinks["task"].receive(len(expected["task"]))
        for name, sink in sinks.items():
            got = tasks if name == "task" else await sink.receive(len(expected[name]))
            for packed, wanted in zip(got, expected[name], strict=True):
                item = harness.unpack(found[name], packed)
                assert subset(item, wanted, wanted.get("mask", (1 << config.seats) - 1)), (name, item, wanted)
        await tb.wait(2)
        if fields["dest"] == Dest.LOGITS:
            phases.add((expected["chain"][0]["first_phase"], expected["chain"][0]["last_phase"]))
    for seen in zip(*phases, strict=True):  # as the first, and as the last
        assert set(seen) == set(range(config.phases))
    assert all(len(sink.received) == sink._taken for sink in sinks.values())


@pytest.mark.parametrize("config", PHASES)
def test_linear(sim, config):
    harness.run(LinearIssuer(configuration(config)), __name__, sim=sim, parameters=config)
