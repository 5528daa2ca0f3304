"""The intake: requests from the ring, judged, with their fields; what is to be taken before a plan; read errors."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from rings import FIRST, MODULUS, Doorbell
from scoville.schedule.fields import fields_layout
from scoville.schedule.intake import Intake
from scoville.schedule.judge import Judge, judge_settings, judged_layout
from scoville.schedule.records import REQUEST, REQUEST_BYTES, decode
from test_judge import Requests
from words import Beats
from world import chip

SIZES = {"4 slots": 4, "8 slots": 8}
BASE = 1 << 30


class System(Doorbell):
    """A host that submits, memory, and a planner that takes requests when it likes."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.config, self.stalls = dut, chip(slots=SIZES[harness.parameters()]), stalls
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.memory, self.overruns = Beats(tb, self.config, stalls), tb.sink("overrun", stalls)
        self.covered = self.gone = 0
        self.opens = 0.02  # how often
        tb.each_cycle(self._cycle)

    def _cycle(self):
        """`more`: of what the doorbell covered at the last `open`, some is not taken."""
        dut = self.dut
        assert harness.peek(dut.more) == (self.covered > self.gone)
        self.gone += harness.moves(dut, "o")
        if harness.peek(dut.open):
            self.covered = self.tail
        if self.opens:
            dut.open.value = int(self.rng.random() < self.opens)

    async def start(self, entries):
        dut = self.dut
        self.requests, self.entries, self.records = Requests(self.config, self.rng), entries, []
        self.put = self.covered = self.gone = 0
        dut.base.value, dut.entries.value, dut.open.value = BASE, entries, 0
        setup = self.requests.setup
        dut.settings.value = harness.pack(judge_settings(self.config), {
            "context": setup.context, "vocab": setup.vocab, "kv_pages": setup.kv_pages,
            "window_base": setup.window[0], "window_limit": setup.window[1]})
        await self.tb.reset()
        self.memory.requests.clear()
        await self.pulse("start")
        await self.pulse("o__ready")  # nobody is there to be taken

    async def pulse(self, name):
        getattr(self.dut, name).value = 1
        await RisingEdge(self.dut.clk)
        getattr(self.dut, name).value = 0

    async def submit(self, count):
        for _ in range(count):
            record = self.requests.record()
            self.memory.put(BASE + (FIRST + self.put) % self.entries * REQUEST_BYTES, [
                int.from_bytes(record[at:at + 4], "little") for at in range(0, REQUEST_BYTES, 4)])
            self.records.append(record)
            self.put += 1
        await self.ring(self.put)

    async def take(self, slot=None):
        """The next request, which gets the slot; its record's fields."""
        dut, since = self.dut, self.tb.cycle
        while not harness.peek(dut.o__valid):
            await RisingEdge(dut.clk)
            assert self.tb.cycle - since < 1000
        fields = decode(REQUEST, self.records.pop(0))
        got = harness.unpack(judged_layout(), harness.peek(dut.o__payload))
        assert got["error"] == (Judge.model(self.config, self.requests.setup, fields) or 0)
        assert (got["id"], got["kind"]) == (fields["id"], fields["kind"])
        if self.stalls:
            await self.tb.wait(self.rng.choice([1, 10, 200]))
        if slot is not None:
            dut.slot.value = slot
            await self.pulse("taken")
        await self.pulse("o__ready")
        await RisingEdge(dut.clk)
        return fields


async def traffic(dut, seed, stalls):
    system = System(dut, seed, stalls)
    rng, held = system.rng, {}
    for entries in (2, 8):
        await system.start(entries)
        for _ in range(40):
            room = entries - len(system.records)
            if room and (not system.records or rng.random() < 0.5):
                await system.submit(rng.randint(1, room))
            for _ in range(rng.randint(0, len(system.records))):
                slot = rng.choice([None, *range(system.config.slots)])
                fields = await system.take(slot)
                held |= {} if slot is None else {slot: fields}
            if rng.random() < 0.2:
                await system.ring(system.put + entries + 1)
            if held:
                dut.read_slot.value = slot = rng.choice(list(held))
                await system.tb.wait(3)
                kept = harness.unpack(fields_layout(), harness.peek(dut.fields))
                assert kept == {name: held[slot][name] for name in kept}
        while system.records:
            await system.take()
        await system.tb.wait(5)
        assert system.head == system.tail == system.put
        assert system.gone == system.put > MODULUS - FIRST
        assert system.overruns.received
        held.clear()
    return system


@cocotb.test()
async def random_stalls(dut):
    await traffic(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; the next request is there before it is wanted, but none is read before it has room."""
    system = await traffic(dut, 2, 0.0)
    await system.start(8)
    await system.submit(4)
    await system.tb.wait(300)
    assert len(system.memory.requests) == 1  # one in the judge
    await system.take()
    await system.tb.wait(300)
    assert len(system.memory.requests) == 2 and harness.peek(dut.o__valid)
    await system.tb.reset()  # the next test begins without settings: none may be in the ring


@cocotb.test()
async def largest_ring(dut):
    """All entries of the largest ring, which nobody takes, are more."""
    system = System(dut, 3, 0.0)
    system.opens = 0
    for entries in (1 << n for n in range(1, 17)):
        await system.start(entries)
        await system.ring(entries)
        await system.pulse("open")
        await system.tb.wait(3)
        assert harness.peek(dut.more) and system.covered == entries
    await system.tb.reset()  # the next test begins without settings: none may be in the ring


@cocotb.test()
async def read_error(dut):
    """An entry that cannot be read is told, and no request comes of it."""
    system = System(dut, 4, 0.0)
    await system.start(4)
    second = BASE + (FIRST + 1) % 4 * REQUEST_BYTES
    system.memory.broken.add(second + system.config.bus_bytes)
    await system.submit(3)
    await system.take(0)
    while not harness.peek(dut.error):
        await RisingEdge(dut.clk)
    assert (harness.peek(dut.error_address), harness.peek(dut.refused)) == (second, 0)
    await system.tb.wait(300)
    assert not harness.peek(dut.o__valid)
    await system.tb.reset()  # the next test begins without settings: none may be in the ring


@pytest.mark.parametrize("config", list(SIZES))
def test_intake(sim, config):
    harness.run(Intake(chip(slots=SIZES[config]), first=FIRST), __name__, sim=sim, parameters=config)
