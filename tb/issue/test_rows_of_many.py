"""LOAD, ROPE and EMBED alone: their commands against the model, and those of an EMBED's rows that go together."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction, random_runs, random_state, with_slots
from scoville.isa import Opcode, decode
from scoville.issue.commands import layouts
from scoville.issue.rows import COMMANDS, RowIssuer
from scoville.schedule.seats import PassState
from test_attend import subset


class System:
    """The issuer, and units that take its commands when they like."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.config = dut, with_slots(harness.parameters())
        self.tb = harness.Bench(dut, seed)
        self.sinks = {name: self.tb.sink(name, stalls) for name in COMMANDS}

    async def run(self, opcode):
        """One instruction; how many cycles it took."""
        dut, config, rng = self.dut, self.config, self.tb.rng
        word = encoded(opcode, random_instruction(config, rng, opcode))
        tokens = rng.randint(1, config.seats)
        state = random_state(config, rng) if config.slots == 1 else random_runs(config, rng, tokens)
        dut.op.value, dut.state.value = word, harness.pack(PassState(config), state)
        promised = cycles = 0
        marks = {name: len(sink.received) for name, sink in self.sinks.items()}
        dut.start.value = 1
        while True:
            await RisingEdge(dut.clk)
            cycles += 1
            promised += harness.peek(dut.promise)
            if harness.peek(dut.over):
                break
            dut.start.value = 0
        await self.tb.wait(2)
        expected = RowIssuer.model(config, decode(word.to_bytes(32, "little")), state)
        for name, sink in self.sinks.items():
            got = [harness.unpack(layouts(config)[name], packed) for packed in sink.received[marks[name]:]]
            assert len(got) == len(expected[name]), (name, got, expected[name])
            for item, wanted in zip(got, expected[name], strict=True):
                assert subset(item, wanted, wanted.get("mask", 0)), (name, item, wanted)
        assert promised == len(expected["quantiser"])
        rows = 1 if opcode is Opcode.LOAD else state["tokens"]
        assert len(expected["decoder"]) == rows
        if opcode is Opcode.EMBED and config.slots > 1:  # a command a phase, that has all of its seats
            assert sum(item["mask"] for item in expected["chain"]) == (1 << rows) - 1
            assert len(expected["chain"]) == -(-rows // config.lanes)
        return cycles, rows


@cocotb.test()
async def under_stalls(dut):
    system = System(dut, 1, 0.4)
    await system.tb.reset()
    for _ in range(60):
        await system.run(system.tb.rng.choice([Opcode.LOAD, Opcode.ROPE, Opcode.EMBED]))


@cocotb.test()
async def full_speed(dut):
    """Two cycles, of ROPE and EMBED a token, behind the start."""
    system = System(dut, 2, 0.0)
    await system.tb.reset()
    for _ in range(30):
        cycles, rows = await system.run(system.tb.rng.choice([Opcode.LOAD, Opcode.ROPE, Opcode.EMBED]))
        assert cycles == 2 * rows + 1, (cycles, rows)


@pytest.mark.parametrize("config", ["duo", "kria 16", "slim 4"])
def test_rows_of_many(sim, config):
    harness.run(RowIssuer(with_slots(config)), __name__, sim=sim, parameters=config)
