"""The outbox: completions and overruns as of when they came, in order, behind their tokens; full, halted, speed."""

from collections import deque

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from rings import FIRST, MODULUS, Doorbell
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.completion import CYCLE_BITS, news_layout
from scoville.schedule.outbox import Outbox
from scoville.schedule.records import COMPLETION, COMPLETION_BYTES, NO_SLOT, NONE, Error, Event, decode
from world import chip

SIZES = {"4 slots": 4, "8 slots": 8}
BASE = 1 << 30
FIELDS = {"id": 32, "event": 8, "code": 8, "slot": 16, "token": 32, "position": 32}


class System(Doorbell):
    """Who reports, a writer with its memory, and a host that takes entries; every entry is the model's."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.config, self.stalls = dut, chip(slots=SIZES[harness.parameters()]), stalls
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.news, self.overruns = tb.source("news", stalls), tb.source("overrun", stalls)
        self.commands, self.data = tb.sink("write_command", stalls), tb.sink("write_data", stalls)
        self.begun = None
        tb.each_cycle(self._cycle)

    async def start(self, entries):
        dut = self.dut
        self.begun = None
        self.entries, self.memory, self.waiting = entries, bytearray(entries * COMPLETION_BYTES), deque()
        self.written = self.answers = self.posted = self.taken = 0
        self.going, self.late, self.impossible, self.latest = False, 0, None, -9
        dut.base.value, dut.entries.value = BASE, entries
        dut.halt.value, dut.settled.value, dut.written.value = 0, 1, 1
        await self.tb.reset()
        await self.tb.wait(self.rng.randrange(20))
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        self.begun = self.tb.cycle + 1  # the edge at which the count of cycles begins

    def _cycle(self):
        if self.begun is None:
            return
        self._comes()
        self._goes()
        self._write()

    def _entry(self, news):
        self.latest = self.tb.cycle
        cycles = (self.tb.cycle - 1 - self.begun + FIRST - MODULUS) % (1 << CYCLE_BITS)
        self.waiting.append(news | {"pass": harness.peek(self.dut.passes), "cycles": cycles})
        assert len(self.waiting) <= 2 * self.config.slots

    def _overrun(self, count):
        self._entry({"id": NONE, "event": Event.ERROR, "code": Error.OVERRUN, "slot": NO_SLOT, "token": count,
                     "position": 0})

    def _comes(self):
        """An overrun goes before other news, and the other ring's before this one's."""
        dut, overruns = self.dut, harness.peek(self.dut.overrun__valid)
        news = harness.unpack(news_layout(), harness.peek(dut.news__payload)) if harness.moves(dut, "news") else None
        assert news is None or not overruns and self.impossible is None
        if news:
            self._entry(news)
        if harness.moves(dut, "overrun"):
            self._overrun(harness.peek(dut.overrun__payload))
        elif self.impossible is not None and not overruns:
            self._overrun(self.impossible)
            self.impossible = None
        if harness.peek(dut.strobe) and self.posted < (harness.peek(dut.count) - FIRST) % MODULUS:
            self.impossible = harness.peek(dut.count)
        if self.rng.random() < 0.1:
            dut.passes.value = self.rng.getrandbits(32)

    def _goes(self):
        """A completion is begun where all tokens are there and nothing is halted; it is written when it is posted."""
        dut = self.dut
        full = (harness.peek(dut.tail) - harness.peek(dut.head)) % MODULUS == self.entries
        assert harness.peek(dut.held) == int(self.going and full)
        assert self.going or not harness.peek(dut.write_command__valid)
        empty = harness.peek(dut.empty)
        assert not empty or not self.waiting or self.tb.cycle - self.latest <= 2
        assert empty or self.waiting
        if harness.peek(dut.posted):
            place = (FIRST + self.posted) % self.entries * COMPLETION_BYTES
            self.posted += 1
            assert decode(COMPLETION, bytes(self.memory[place:place + COMPLETION_BYTES])) == (
                self.waiting.popleft() | {"number": (FIRST + self.posted) % MODULUS, "rest": False})
            self.going = False
        elif not empty and harness.peek(dut.settled) and not harness.peek(dut.halt):
            self.going = True

    def _write(self):
        """A write is in memory when it has its response."""
        size, beats = self.config.bus_bytes, COMPLETION_BYTES // self.config.bus_bytes
        if len(self.commands.received) == self.written:
            return
        self.dut.written.value = 0
        if len(self.data.received) < beats * (self.written + 1):
            self.late = self.rng.randrange(10) if self.stalls else 0
            return
        if self.late:
            self.late -= 1
            return
        command = harness.unpack(write_command_layout(self.config), self.commands.received[self.written])
        assert command["beats"] == beats
        for n, packed in enumerate(self.data.received[beats * self.written:]):
            beat = harness.unpack(write_data_layout(self.config), packed)
            assert beat["strobe"] == (1 << size) - 1
            at = command["address"] - BASE + n * size
            self.memory[at:at + size] = beat["data"].to_bytes(size, "little")
        self.written += 1
        self.dut.written.value = 1

    def report(self, count=1):
        for _ in range(count):
            self.news.send([harness.pack(news_layout(), {name: self.rng.getrandbits(n) for name, n in FIELDS.items()})])

    async def tell(self, count):
        await self.ring(count)
        await RisingEdge(self.dut.clk)

    async def take(self):
        """Some entries; perhaps, while there is room for it, a count that cannot be."""
        if self.rng.random() < 0.1 and len(self.waiting) < self.config.slots:
            await self.tell(self.posted + 3 + self.rng.randrange(1 << 30))
        else:
            self.taken = self.rng.randint(self.taken, self.posted)
            await self.tell(self.taken)
            assert self.head == self.taken


async def traffic(dut, seed, stalls):
    system = System(dut, seed, stalls)
    rng = system.rng
    for entries in (2, 16):
        await system.start(entries)
        for _ in range(60):
            system.report(rng.choice([0, 1, 1, 5]))
            if rng.random() < 0.1:
                system.overruns.send([rng.getrandbits(32)])
            dut.settled.value, dut.halt.value = int(rng.random() < 0.8), int(rng.random() < 0.1)
            await system.tb.wait(rng.choice([1, 3, 30]))
            await system.take()
        dut.settled.value, dut.halt.value = 1, 0
        while system.waiting or not system.news.idle or not system.overruns.idle:
            await system.take()
        assert harness.peek(dut.empty) and system.tail == system.posted
        assert system.posted > 60
    return system


@cocotb.test()
async def random_stalls(dut):
    await traffic(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; a completion a cycle into the queue, which has room for two a slot, and out of it an
    entry in 3 cycles and its beats, and one more."""
    system = await traffic(dut, 2, 0.0)
    depth = 2 * system.config.slots
    await system.start(4)
    dut.settled.value = 0
    system.report(depth + 5)
    await system.tb.wait(100)
    cycles = system.news.cycles
    assert len(cycles) == depth == cycles[-1] - cycles[0] + 1 and not system.commands.received
    dut.settled.value = 1
    await system.tb.wait(100)
    assert harness.peek(dut.held) and system.posted == 4 and len(cycles) == depth + 4
    beats = COMPLETION_BYTES // system.config.bus_bytes
    started = system.commands.cycles
    assert {after - before for before, after in zip(started, started[1:], strict=False)} == {4 + beats}
    await system.tb.reset()  # the next test begins without settings: none may be in the ring


@cocotb.test()
async def every_size(dut):
    """Rings of every size are held when they are full, and go on when an entry is taken."""
    system = System(dut, 4, 0.0)
    for entries in (1 << n for n in range(1, 8)):
        await system.start(entries)
        system.report(entries + 2)
        await system.tb.wait(16 * entries + 40)
        assert harness.peek(dut.held) and system.posted == entries
        await system.tell(1)
        await system.tb.wait(40)
        assert system.posted == entries + 1
    await system.tb.reset()


@cocotb.test()
async def halted(dut):
    """With a halt what is being written ends, and nothing else begins, whatever waits."""
    system = System(dut, 3, 0.3)
    for cycles in range(12):
        await system.start(8)
        system.report(4)
        await system.tb.wait(20 + cycles)
        dut.halt.value = 1
        await system.tb.wait(2)
        begun = len(system.commands.received)
        await system.tb.wait(100)
        assert len(system.commands.received) <= begun + 1 and system.posted == len(system.commands.received)
    await system.tb.reset()


@pytest.mark.parametrize("config", list(SIZES))
def test_outbox(sim, config):
    harness.run(Outbox(chip(slots=SIZES[config]), first=FIRST), __name__, sim=sim, parameters=config)
