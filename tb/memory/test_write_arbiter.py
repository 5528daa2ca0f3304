"""The write arbiter by itself: turns, whose data follows whose command, how far commands run ahead, speed."""

import cocotb
import harness
import pytest
from scoville.config import get_config
from scoville.memory.write_arbiter import WriteArbiter
from scoville.memory.writer import WRITE_BEATS_BITS, write_command_layout, write_data_layout

USERS = 2
LONGEST = (1 << WRITE_BEATS_BITS) - 1  # beats


class System:
    """Two users, and what the writer would see."""

    def __init__(self, dut, seed, stalls):
        self.config = get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.commands = [tb.source(f"command{user}", stalls) for user in range(USERS)]
        self.beats = [tb.source(f"data{user}", stalls) for user in range(USERS)]
        self.command, self.data = tb.sink("command", stalls), tb.sink("data", stalls)
        self.sent = {}  # address to beats

    def send(self, user, count, *, data=True):
        """A command of that many beats; its address tells whose it is."""
        address = self.config.bus_bytes * (2 * len(self.sent) + user)
        content = [self.tb.rng.getrandbits(write_data_layout(self.config).size) for _ in range(count)]
        self.sent[address] = content
        self.commands[user].send([harness.pack(write_command_layout(self.config),
                                               {"address": address, "beats": count})])
        if data:
            self.beats[user].send(content)
        return address

    async def receive(self, count):
        """Addresses of the next commands, each with the beats it was sent with."""
        found = []
        for packed in await self.command.receive(count):
            command = harness.unpack(write_command_layout(self.config), packed)
            assert command["beats"] == len(self.sent[command["address"]])
            found.append(command["address"])
        return found


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.4])
async def data_follows_its_command(dut, stalls):
    system = System(dut, 1, stalls)
    await system.tb.reset()
    rng = system.tb.rng
    for _ in range(60):
        system.send(rng.randrange(USERS), rng.choice([0, 1, 1, 2, 3, rng.randrange(1, 40), 300]))
    order = await system.receive(60)
    assert sorted(order) == sorted(system.sent)
    wanted = [beat for address in order for beat in system.sent[address]]
    assert await system.data.receive(len(wanted)) == wanted
    for user in range(USERS):
        own = [address for address in order if address // system.config.bus_bytes % 2 == user]
        assert own == sorted(own)


@cocotb.test()
async def turns(dut):
    """With both waiting, one and the other; a user alone is not held up."""
    system = System(dut, 2, 0.0)
    await system.tb.reset()
    for user in (0, 1):
        for _ in range(4):
            system.send(user, 2)
    users = [address // system.config.bus_bytes % 2 for address in await system.receive(8)]
    assert users == [0, 1] * 4
    for user in (1, 1, 0, 0):
        system.send(user, 1)
        assert (await system.receive(1))[0] // system.config.bus_bytes % 2 == user


@cocotb.test()
async def offers_stay(dut):
    """A command that waits is not withdrawn for one of the other user, whoever comes later."""
    system = System(dut, 3, 0.0)
    for first in (0, 1):
        await system.tb.reset()
        system.sent.clear()
        system.command.every = 20
        wanted = [system.send(first, 1)]
        await system.tb.wait(3)
        wanted.append(system.send(1 - first, 1))
        assert await system.receive(2) == wanted


@cocotb.test()
async def ahead_of_data(dut):
    """As many commands pass as there are tickets; a command without beats needs none."""
    system = System(dut, 4, 0.0)
    await system.tb.reset()
    for _ in range(WriteArbiter.DEPTH + 2):
        system.send(0, 1, data=False)
    await system.tb.wait(40)
    assert len(system.command.received) == WriteArbiter.DEPTH and not system.data.received
    for content in system.sent.values():
        system.beats[0].send(content)
    assert len(await system.data.receive(WriteArbiter.DEPTH + 2)) == len(system.sent)
    assert len(system.command.received) == len(system.sent)
    for _ in range(3 * WriteArbiter.DEPTH):
        system.send(1, 0)
    await system.tb.wait(40)
    assert len(system.command.received) == len(system.sent)


@cocotb.test()
async def whole_commands(dut):
    """Every bit of an address and of a count passes, of either user."""
    system = System(dut, 6, 0.0)
    layout, rng = write_command_layout(system.config), system.tb.rng
    for turn in range(30):
        await system.tb.reset()
        user = turn % USERS
        sent = [rng.getrandbits(layout.size) for _ in range(WriteArbiter.DEPTH)]
        system.commands[user].send(sent)
        assert await system.command.receive(len(sent)) == sent == system.commands[user].accepted


@cocotb.test()
async def longest_command(dut):
    """All beats of the longest command come before those of the other user's, which wait."""
    system = System(dut, 7, 0.0)
    await system.tb.reset()
    wanted = system.sent[system.send(1, LONGEST)]
    assert len(await system.receive(1)) == 1
    wanted = wanted + system.sent[system.send(0, 2)]
    assert await system.data.receive(len(wanted)) == wanted


@cocotb.test()
async def full_throughput(dut):
    """A beat a cycle across commands and users, and a command a cycle."""
    system = System(dut, 5, 0.0)
    await system.tb.reset()
    for number in range(40):
        system.send(number % 2, 10)
    await system.data.receive(400)
    assert system.data.cycles[-1] - system.data.cycles[0] == 399
    await system.tb.reset()
    system.sent.clear()
    for _ in range(20):
        system.send(0, 0)
    await system.receive(20)
    assert system.command.cycles[-1] - system.command.cycles[0] == 19


@pytest.mark.parametrize("config", ["nano", "kria"])
def test_arbiter(sim, config):
    harness.run(WriteArbiter(get_config(config)), __name__, sim=sim, parameters=config)
