"""LOAD, ROPE and EMBED alone: their commands, promises, and speed; nothing goes on before a unit has its command."""

from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction, random_state
from scoville.config import get_config
from scoville.isa import LoadDest, Opcode
from scoville.issue.commands import layouts
from scoville.issue.rows import COMMANDS, RowIssuer
from scoville.schedule.seats import PassState
from test_attend import subset

ROWS = (Opcode.LOAD, Opcode.ROPE, Opcode.EMBED)
CONFIGS = {"many": replace(get_config("duo"), phases=8), "duo": get_config("duo")}


class System:
    """The issuer between queues; `promised` are the blocks of each promise."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.config = dut, CONFIGS[harness.parameters()]
        self.tb = harness.Bench(dut, seed)
        self.found = {name: layouts(self.config)[name] for name in COMMANDS}
        self.sinks = {name: self.tb.sink(name, stalls) for name in COMMANDS}
        self.promised = []
        self.tb.each_cycle(self._watch)

    def _watch(self):
        if harness.peek(self.dut.promise):
            self.promised.append(harness.peek(self.dut.blocks))

    async def begin(self, opcode, state, **given):
        """Start an instruction: its fields, and its commands as the model has them."""
        fields = random_instruction(self.config, self.tb.rng, opcode, **given)
        self.dut.state.value = harness.pack(PassState(self.config), state)
        self.dut.op.value, self.dut.start.value = encoded(opcode, fields), 1
        await RisingEdge(self.dut.clk)
        self.dut.start.value = 0
        self.promised.clear()
        for sink in self.sinks.values():
            sink.received.clear()
        return fields, RowIssuer.model(self.config, fields | {"opcode": opcode}, state)

    def check(self, expected):
        for name, sink in self.sinks.items():
            got = [harness.unpack(self.found[name], packed) for packed in sink.received]
            assert len(got) == len(expected[name]), (name, len(got), len(expected[name]))
            for item, wanted in zip(got, expected[name], strict=True):
                assert subset(item, wanted, (1 << self.config.seats) - 1), (name, item, wanted)

    async def over(self):
        """Cycles up to the last."""
        cycles = 1
        await RisingEdge(self.dut.clk)
        while not harness.peek(self.dut.over):
            await RisingEdge(self.dut.clk)
            cycles += 1
        return cycles


@cocotb.test()
@cocotb.parametrize(stalls=[0.4, 0.0])
async def random_rows(dut, stalls):
    system = System(dut, 1, stalls)
    rng = system.tb.rng
    await system.tb.reset()
    for turn in range(120):
        opcode, state = ROWS[turn % 3], random_state(system.config, rng)
        given = {"load_dest": list(LoadDest)[turn // 3 % len(LoadDest)]} if opcode is Opcode.LOAD else {}
        size = max(rng.getrandbits(rng.randrange(4, 24)) & -system.config.bus_bytes, system.config.bus_bytes)
        fields, expected = await system.begin(opcode, state, bytes=size, **given)
        cycles = await system.over()
        assert stalls or cycles == 2 * (1 if opcode is Opcode.LOAD else state["tokens"])
        await system.tb.wait(1)
        system.check(expected)
        assert system.promised == ([fields["rows"] // 32] * state["tokens"] if opcode is Opcode.EMBED else [])


@cocotb.test()
async def held(dut):
    """While one unit does not take its command, the others have one each, and nothing is over; a reset drops it all."""
    system = System(dut, 2, 0.0)
    rng = system.tb.rng
    await system.tb.reset()
    for opcode in ROWS:
        for name in COMMANDS:
            for resets in (False, True):
                state = random_state(system.config, rng)
                system.sinks[name].stalls = 1.0
                await system.tb.wait(2)
                fields, expected = await system.begin(opcode, state)
                if not expected[name]:
                    system.sinks[name].stalls = 0.0
                    await system.over()
                    continue
                for _ in range(rng.randrange(4, 20)):
                    await RisingEdge(dut.clk)
                    assert not harness.peek(dut.over) and not system.promised
                system.check({unit: items[:unit != name] for unit, items in expected.items()})
                system.sinks[name].stalls = 0.0
                if resets:
                    await system.tb.reset()
                    assert not any(harness.peek(getattr(dut, f"{unit}__valid")) for unit in COMMANDS)
                else:
                    await system.over()
                    await system.tb.wait(1)
                    system.check(expected)


@pytest.mark.parametrize("config", CONFIGS)
def test_rows(sim, config):
    harness.run(RowIssuer(CONFIGS[config]), __name__, sim=sim, parameters=config)
