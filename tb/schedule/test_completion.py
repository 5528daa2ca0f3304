"""The completion ring on a bus: bytes of every entry, a full ring, doorbells, wrapping, speed."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from rings import FIRST, MODULUS, Doorbell
from scoville.config import get_config
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.completion import CYCLE_BITS, CompletionRing, news_layout
from scoville.schedule.records import COMPLETION, COMPLETION_BYTES, decode, encode


class System(Doorbell):
    """The ring between who reports, a writer with its memory, and a host that takes entries."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.stalls = dut, stalls
        self.config = get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.news = tb.source("i", stalls)
        self.commands, self.data = tb.sink("write_command", stalls), tb.sink("write_data", stalls)
        self.overruns = tb.sink("overrun", stalls)
        self.posted = 0
        tb.each_cycle(self._write)

    async def start(self, entries):
        config, rng = self.config, self.rng
        size, step = entries * COMPLETION_BYTES, max(COMPLETION_BYTES, config.bus_bytes)
        self.base = rng.randrange((1 << config.addr_bits) // step - size // step - 1) * step
        self.memory = bytearray(b"\xA5") * max(size, step)  # of old entries, whose numbers are far away
        self.entries, self.reports = entries, []
        self.done = self.late = self.response = 0
        self.dut.written.value = 1
        await self.tb.reset()
        self.dut.base.value, self.dut.entries.value = self.base, entries
        self.posted = 0

    def _write(self):
        """Beats go to memory as they come, and a while after the last one the write has its response: until then
        `written` is low. A host that polls memory sees the number of an entry that is whole, or an old one.
        """
        self.posted += harness.peek(self.dut.posted)
        self.done = min(self.done, len(self.commands.received))
        size, beats = self.config.bus_bytes, max(1, COMPLETION_BYTES // self.config.bus_bytes)
        if self.response:
            self.response -= 1
            self.dut.written.value = int(not self.response)
            return
        if self.done == len(self.commands.received):
            return
        self.dut.written.value = 0
        command = harness.unpack(write_command_layout(self.config), self.commands.received[self.done])
        assert command["beats"] == beats and command["address"] % size == 0
        there = len(self.data.received) - beats * self.done
        for beat in range(there):
            data = harness.unpack(write_data_layout(self.config), self.data.received[beats * self.done + beat])
            for byte in range(size):
                if data["strobe"] >> byte & 1:
                    self.memory[command["address"] - self.base + beat * size + byte] = data["data"] >> 8 * byte & 255
        if there < beats:
            assert not self.there(self.done), "an entry that is known before it is whole"
            self.late = self.rng.randrange(10) if self.stalls else 0
            return
        if self.late:
            self.late -= 1
            return
        self.done += 1
        self.response = self.rng.randrange(20) if self.stalls else 0
        self.dut.written.value = int(not self.response)

    def entry(self, number):
        """What memory has at an entry's place."""
        place = (FIRST + number) % self.entries * COMPLETION_BYTES
        return bytes(self.memory[place:place + COMPLETION_BYTES])

    def there(self, number):
        """Whether a host that looks at memory sees an entry."""
        return decode(COMPLETION, self.entry(number))["number"] == (FIRST + number + 1) % MODULUS

    def report(self):
        """Something happens; its entry is as of the pass and cycle that the ports show."""
        news = {name: self.rng.getrandbits(width) for name, width in (
            ("id", 32), ("event", 8), ("code", 8), ("slot", 16), ("token", 32), ("position", 32))}
        self.reports.append(news)
        self.news.send([harness.pack(news_layout(), news)])

    async def take(self, count):
        await self.ring(count)
        await RisingEdge(self.dut.clk)


async def traffic(dut, seed, stalls):
    """A host that takes some now and then: every entry is whole when the tail says so, and none is overwritten."""
    system = System(dut, seed, stalls)
    rng, ahead = system.rng, 0
    for entries in (2, 4, 8):
        await system.start(entries)
        dut.passes.value, dut.cycles.value = passes, cycles = rng.getrandbits(32), rng.getrandbits(CYCLE_BITS)
        for _ in range(6 * entries):
            system.report()
        head = 0
        while head < 6 * entries:
            for _ in range(rng.choice([1, 40, 150])):
                await RisingEdge(dut.clk)
            tail = system.tail
            assert tail - head <= entries
            # An entry that is in memory may be taken before its response has come back.
            there = tail + (tail - head < entries and system.there(tail))
            ahead += there - tail
            for number in range(head, there):
                assert system.entry(number) == encode(
                    COMPLETION, **system.reports[number], number=(FIRST + number + 1) % MODULUS, cycles=cycles,
                    **{"pass": passes})
            new = rng.randint(head, there)
            await system.take(new)
            head = new
            assert system.head == head
        await system.tb.wait(30)  # for the last response
        assert system.posted == 6 * entries and not system.overruns.received
    assert ahead > 2 or not stalls
    return system


@cocotb.test()
async def random_stalls(dut):
    await traffic(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls, and the cycles that an entry takes."""
    system = await traffic(dut, 2, 0.0)
    await system.start(8)
    for _ in range(8):
        system.report()
    while system.tail < 8:
        await RisingEdge(dut.clk)
    beats = max(1, COMPLETION_BYTES // system.config.bus_bytes)
    taken = system.news.cycles[-8:]
    assert {after - before for before, after in zip(taken, taken[1:], strict=False)} == {3 + beats}
    await system.take(8)  # the next test begins without settings: none may be in the ring


@cocotb.test()
async def cycles_of_the_entry(dut):
    """An entry has the cycle in which it began, though its words go out later."""
    system = System(dut, 3, 0.0)
    await system.start(2)
    for cycle in range(3, 200):
        dut.cycles.value = cycle
        if cycle == 20:
            system.report()
        await RisingEdge(dut.clk)
    assert 20 <= decode(COMPLETION, system.entry(0))["cycles"] <= 24
    await system.take(1)


@cocotb.test()
async def full(dut):
    """A full ring holds back what comes next, until the host has taken one; counts that cannot be change nothing."""
    system = System(dut, 4, 0.2)
    await system.start(4)
    for _ in range(6):
        system.report()
    while system.tail < 4:
        await RisingEdge(dut.clk)
    await system.tb.wait(100)
    assert system.tail == 4 and system.posted == 4
    for count in (5, MODULUS - 1, 8):
        await system.take(count)
        await system.tb.wait(20)
        assert system.head == 0 and system.tail == 4
    assert system.overruns.received == [(FIRST + count) % MODULUS for count in (5, MODULUS - 1, 8)]
    await system.take(1)
    await system.tb.wait(100)
    assert system.tail == 5
    await system.take(0)
    await system.tb.wait(20)
    assert system.overruns.received[3:] == [FIRST]
    await system.take(5)
    await system.tb.wait(100)
    assert system.tail == 6 and system.head == 5
    await system.take(6)


@cocotb.test()
async def every_size(dut):
    """The places in rings of every size; those of up to 256 entries are full with these."""
    system = System(dut, 5, 0.0)
    for entries in (1 << n for n in range(1, 17)):
        await system.start(entries)
        count = min(entries, 256 if entries <= 256 else 10)
        for _ in range(count + (count == entries)):
            system.report()
        while system.tail < count:
            await RisingEdge(dut.clk)
        await system.tb.wait(20)
        assert system.posted == count
        for number, news in enumerate(system.reports[:count]):
            assert decode(COMPLETION, system.entry(number)).items() >= news.items() and system.there(number)
        await system.take(count)
        assert system.head == count
        await system.news.drain()  # one waited for room
        await system.take(len(system.reports))


@pytest.mark.parametrize("config", ["slim", "nano", "wide", "kria"])
def test_completion(sim, config):
    harness.run(CompletionRing(get_config(config), first=FIRST), __name__, sim=sim, parameters=config)
