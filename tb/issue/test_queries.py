"""LINEAR to the seats that attend: what the router is told of a pass of one run, and of several."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction, random_runs, with_slots
from scoville.isa import Dest, Opcode
from scoville.issue.commands import layouts
from scoville.issue.linear import COMMANDS, LinearIssuer
from scoville.schedule.seats import PassState, of_runs


@cocotb.test()
async def queries(dut):
    config = with_slots(harness.parameters())
    tb = harness.Bench(dut, 1)
    sinks = {name: tb.sink(name, 0.2) for name in (*COMMANDS, "task")}
    quantiser = sinks["quantiser"]
    await tb.reset()
    for number in range(60):
        tokens = tb.rng.randint(1, config.seats)
        state = of_runs([(number % config.slots, [0] * tokens, 9, 0)]) if number % 3 == 0 else random_runs(
            config, tb.rng, tokens)
        fields = random_instruction(config, tb.rng, Opcode.LINEAR, dest=Dest.QUERY, group=tb.rng.randint(1, 255))
        expected = LinearIssuer.model(config, fields, state)["quantiser"][0]["info"]
        dut.state.value = harness.pack(PassState(config), state)
        await RisingEdge(dut.clk)
        dut.op.value, dut.start.value = encoded(Opcode.LINEAR, fields), 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        packed = (await quantiser.receive(1))[0]
        got = harness.unpack(layouts(config)["quantiser"], packed)["info"]
        assert {name: got[name] for name in expected} == expected, (fields, state)
        while not harness.peek(dut.over):
            await RisingEdge(dut.clk)


@pytest.mark.parametrize("config", ["duo 4", "kria 16", "slim 2"])
def test_queries(sim, config):
    harness.run(LinearIssuer(with_slots(config)), __name__, sim=sim, parameters=config)
