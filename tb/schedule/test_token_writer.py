"""Sampled tokens on their way to memory: every place in a beat, when they are there, speed."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.token_writer import TokenWriter, token_write_layout


class System:
    """Who samples, and a writer whose responses come a while after the beats."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.stalls, self.config = dut, stalls, get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.tokens = tb.source("i", stalls)
        self.commands, self.data = tb.sink("write_command", stalls), tb.sink("write_data", stalls)
        self.due, self.answered = [], 0
        tb.each_cycle(self._respond)

    def _respond(self):
        done = len(self.data.received)
        while len(self.due) < done:
            self.due.append(self.tb.cycle + self.tb.rng.randrange(20))
        self.answered += self.answered < done and self.due[self.answered] <= self.tb.cycle
        self.dut.written.value = int(self.answered == len(self.commands.received))

    async def settled(self):
        """`settled` means that every token which was taken is answered."""
        while True:
            await RisingEdge(self.dut.clk)
            taken = len(self.tokens.accepted)
            if harness.peek(self.dut.settled) and taken == self.sent:
                assert self.answered == taken
                return
            assert not harness.peek(self.dut.settled) or self.answered >= taken - 1


async def writes(dut, seed, stalls):
    system = System(dut, seed, stalls)
    size, rng, wanted = system.config.bus_bytes, system.tb.rng, []
    dut.written.value = 1
    await system.tb.reset()
    system.sent = 0
    for _ in range(20):
        for _ in range(rng.randint(1, 6)):
            address, token = 4 * rng.getrandbits(system.config.addr_bits - 2), rng.getrandbits(32)
            system.tokens.send([harness.pack(token_write_layout(system.config), {"address": address, "token": token})])
            wanted.append((address, token))
            system.sent += 1
        await system.settled()
    for (address, token), command, beat in zip(wanted, system.commands.received, system.data.received, strict=True):
        command = harness.unpack(write_command_layout(system.config), command)
        beat = harness.unpack(write_data_layout(system.config), beat)
        assert command == {"address": address // size * size, "beats": 1}
        assert beat["strobe"] == 0xF << address % size and beat["data"] >> 8 * (address % size) & 0xFFFFFFFF == token
    return system


@cocotb.test()
async def random_stalls(dut):
    await writes(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """A token in 3 cycles."""
    cycles = (await writes(dut, 2, 0.0)).tokens.cycles
    assert min(behind - before for before, behind in zip(cycles, cycles[1:], strict=False)) == 3


@pytest.mark.parametrize("config", ["slim", "nano", "kria"])
def test_token_writer(sim, config):
    harness.run(TokenWriter(get_config(config)), __name__, sim=sim, parameters=config)
