"""The logits dump by itself: words, strobes, what it asks for and when, its speed."""

import cocotb
import harness
import numpy as np
import pytest
from scoville.config import get_config
from scoville.memory.dump import BURST_BYTES, LogitsDump
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.seats import Sampling

LAST = 1 << 32  # the word of a copy that is the last of its run


def items(values):
    """A run's copies."""
    return [*values[:-1].tolist(), int(values[-1]) | LAST]


class System:
    """A dump between a source of words and a writer."""

    def __init__(self, dut, seed, *, words=0.0, writer=0.0):
        self.config, self.dut = get_config(harness.parameters()), dut
        self.word = self.config.bus_bytes
        self.burst = max(1, BURST_BYTES // self.word)
        self.tb = tb = harness.Bench(dut, seed)
        self.words = tb.source("i", words)
        self.command, self.data = tb.sink("command", writer), tb.sink("data", writer)
        self.sent = 0  # words that have left
        self.kept = bytearray()  # the beat before

    def send(self, address, count):
        values = self.tb.np_rng.integers(1, 1 << 32, count, dtype=np.uint32)
        self.place(address)
        self.words.send(items(values))
        return values

    def place(self, address):
        """Where the next run goes."""
        self.dut.sampling.value = harness.pack(Sampling(self.config), [{"logits": address}])

    async def check(self, address, values):
        """Commands of whole bursts and then the rest, consecutive; words in their places, no strobe behind the last.

        Behind the last word are those of the beat before.
        """
        self.sent += len(values)
        beats = -(-4 * len(values) // self.word)
        commands = [harness.unpack(write_command_layout(self.config), packed)
                    for packed in await self.command.receive(-(-beats // self.burst))]
        assert [command["beats"] for command in commands] == [
            min(self.burst, beats - at) for at in range(0, beats, self.burst)]
        assert [command["address"] for command in commands] == [
            address + at * self.word for at in range(0, beats, self.burst)]
        found = bytearray()
        for number, packed in enumerate(await self.data.receive(beats)):
            beat = harness.unpack(write_data_layout(self.config), packed)
            left = min(self.word, 4 * len(values) - number * self.word)
            assert beat["strobe"] == (1 << left) - 1
            data = beat["data"].to_bytes(self.word, "little")
            found += data[:left]
            assert not self.kept or data[left:] == self.kept[left:]
            self.kept = data
        assert bytes(found) == values.tobytes()
        await self.tb.wait(2)
        assert harness.peek(self.dut.busy) == (len(self.words.accepted) > self.sent)


@cocotb.test()
@cocotb.parametrize(words=[0.0, 0.7], writer=[0.0, 0.5])
async def lengths(dut, words, writer):
    system = System(dut, int(10 * words + 100 * writer), words=words, writer=writer)
    await system.tb.reset()
    size, limit = system.word // 4, system.burst * system.word // 4
    counts = {1, 2, size - 1, size, size + 1, limit - 1, limit, limit + 1, 2 * limit, 3 * limit + size + 1, 777} - {0}
    for count in sorted(counts):
        # Any address, or one whose next beats carry into a bit of its own.
        address = system.word * system.tb.rng.getrandbits(system.config.addr_bits - 8)
        if system.tb.rng.random() < 0.6:
            address = (1 << system.tb.rng.randrange(16, system.config.addr_bits)) - system.word * min(3, count)
        values = system.send(address, count)
        while len(system.words.accepted) == system.sent:
            assert not harness.peek(dut.busy)
            await system.tb.wait(1)
        await system.tb.wait(1)
        assert harness.peek(dut.busy)
        await system.check(address, values)


@cocotb.test()
async def every_address_bit(dut):
    """Each bit of an address, and a carry into it from one command to the next."""
    system = System(dut, 4)
    await system.tb.reset()
    count = system.burst * system.word // 4 + 1
    for bit in range(12, system.config.addr_bits):
        address = (1 << bit) - system.word * system.burst
        await system.check(address, system.send(address, count))
        await system.check(1 << bit, system.send(1 << bit, 1))
        for _ in range(2):
            address = system.tb.rng.randrange((1 << system.config.addr_bits) - 4 * count) & -system.word
            await system.check(address, system.send(address, count))


@cocotb.test()
async def stands_still(dut):
    """A writer that takes nothing: the words that fit are taken, and none is lost."""
    system = System(dut, 6)
    await system.tb.reset()
    await system.tb.wait(5)
    assert not harness.peek(dut.busy)
    system.command.every = 1 << 30
    await system.tb.wait(2)  # past the cycle in which it is ready once more
    values = system.send(0, 1000)
    await system.tb.wait(400)
    assert len(system.words.accepted) == 2 * system.burst * system.word // 4 + 1
    system.command.every = 1
    await system.check(0, values)


@cocotb.test()
async def asks_for_what_is_there(dut):
    """A slow source of words does not hold the writer: the beats of a command follow it without a gap."""
    system = System(dut, 1, words=0.9)
    await system.tb.reset()
    values = system.send(0, 3 * BURST_BYTES // 4 + 5)
    await system.check(0, values)
    cycles, at = system.data.cycles, 0
    for command in system.command.received:
        beats = harness.unpack(write_command_layout(system.config), command)["beats"]
        assert cycles[at + beats - 1] - cycles[at] == beats - 1
        at += beats


@cocotb.test()
async def next_run_waits(dut):
    """A run begins when the one before has been given away, and then at once."""
    system = System(dut, 2)
    await system.tb.reset()
    system.command.every = 50
    first = system.send(0, 9)
    while not system.words.accepted:
        await system.tb.wait(1)
    second = system.send(1 << 20, 9)
    await system.tb.wait(20)
    assert len(system.words.accepted) == 9
    await system.check(0, first)
    assert system.words.cycles[9] - system.data.cycles[len(system.data.received) - 1] <= 3
    await system.check(1 << 20, second)


@cocotb.test()
async def full_throughput(dut):
    system = System(dut, 3)
    await system.tb.reset()
    values = system.send(0, 2000)
    await system.check(0, values)
    assert system.words.cycles[-1] - system.words.cycles[0] == len(values) - 1


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_dump(sim, config):
    harness.run(LogitsDump(get_config(config)), __name__, sim=sim, parameters=config)
