"""Instruction fetch: order and addresses, stop in every state, restart, and reads that fail."""

import cocotb
import harness
import pytest
from cocotb.triggers import FallingEdge, RisingEdge
from scoville.config import ChipConfig, get_config
from scoville.control.instruction_fetch import InstructionFetch, instruction_layout
from scoville.isa import INSTRUCTION_BYTES
from scoville.memory.fetch_port import fetch_layout, response_layout
from subordinate import Everywhere

CONFIGS = {name: get_config(name) for name in ("slim", "nano", "kria")} | {
    "broad": ChipConfig(name="broad", bus_bytes=256, rows=4, lanes=1)}


class System:
    """The unit, a memory behind its fetch port, and a reader of its instructions that can stop at any moment."""

    def __init__(self, dut, seed, stalls=0.3):
        self.dut, self.stalls = dut, stalls
        self.config = CONFIGS[harness.parameters()]
        self.chunk = max(128, self.config.bus_bytes)
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.memory = Everywhere(tb, self.config.addr_bits)
        self.broken = range(0)
        self.request, self.response = tb.sink("request", stalls), tb.source("response", stalls)
        self.errors = []
        self.taken_at = []

    async def start(self):
        await self.tb.reset()
        cocotb.start_soon(self._serve())
        cocotb.start_soon(self._watch())

    async def _serve(self):
        size = self.config.bus_bytes
        self.request.timeout = 1 << 30
        while True:
            (packed,) = await self.request.receive(1)
            fetch = harness.unpack(fetch_layout(self.config), packed)
            assert fetch["address"] % self.chunk == 0 and fetch["beats"] * size == self.chunk
            await self.tb.wait(self.rng.randrange(1, 12) if self.stalls else 3)
            for at in range(fetch["address"], fetch["address"] + self.chunk, size):
                self.response.send([harness.pack(response_layout(self.config), {
                    "data": int.from_bytes(self.memory[at:at + size], "little"), "error": at in self.broken})])

    async def _watch(self):
        """Errors, and the rule that an offered instruction stays until it is taken or stopped."""
        waiting = None
        while True:
            await RisingEdge(self.dut.clk)
            if harness.peek(self.dut.error):
                self.errors.append(harness.peek(self.dut.error_address))
            valid, ready = harness.peek(self.dut.o__valid), harness.peek(self.dut.o__ready)
            payload = harness.peek(self.dut.o__payload) if valid else None
            assert waiting is None or payload == waiting, "an offered instruction was changed or withdrawn"
            waiting = payload if valid and not ready and not harness.peek(self.dut.stop) else None

    async def begin(self, base):
        self.dut.base.value = base
        self.dut.start.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.start.value = 0

    async def take(self, count, limit=5000):
        """Up to `count` instructions; fewer if none comes for `limit` cycles."""
        got, idle = [], 0
        while len(got) < count and idle < limit:
            self.dut.o__ready.value = ready = int(self.rng.random() >= self.stalls)
            await RisingEdge(self.dut.clk)
            idle += 1
            if ready and harness.peek(self.dut.o__valid):
                item = harness.unpack(instruction_layout(self.config), harness.peek(self.dut.o__payload))
                got.append((item["word"], item["address"]))
                self.taken_at.append(self.tb.cycle)
                idle = 0
        self.dut.o__ready.value = 0
        return got

    def state(self):
        """The state, as far as the ports show it."""
        shown = {"request": self.dut.request__valid, "receive": self.dut.response__ready, "issue": self.dut.o__valid}
        return next((name for name, handle in shown.items() if harness.peek(handle)), "idle")

    def base(self):
        """Anywhere, or where one of the next chunks carries into a bit of its own."""
        bits = self.config.addr_bits
        base = self.rng.choice([self.rng.getrandbits(bits), 1 << self.rng.randrange(bits)])
        return max(0, min(base // self.chunk - self.rng.randrange(4), (1 << bits) // self.chunk - 40)) * self.chunk


@cocotb.test()
async def stop_and_restart(dut):
    system = System(dut, 1)
    await system.start()
    rng, states = system.rng, set()
    for trial in range(120):
        base = system.base()
        count = rng.choice([rng.randrange(1, 14), system.chunk // INSTRUCTION_BYTES])
        await system.begin(base)
        assert await system.take(count) == InstructionFetch.model(system.memory, base, count)
        await system.tb.wait(rng.choice([1, 2, rng.randrange(1, 30)]))
        dut.stop.value = 1
        await RisingEdge(dut.clk)
        states.add(system.state())
        dut.stop.value = 0
        # A start may follow while the last read is under way.
        await system.tb.wait(1 if trial % 2 else rng.randrange(1, 60))
        assert not harness.peek(dut.o__valid)
    assert states == {"request", "receive", "issue"}
    assert not system.errors


@cocotb.test()
async def nothing_after_stop(dut):
    system = System(dut, 2)
    await system.start()
    for count in range(1, 10):
        await system.begin(system.base())
        await system.take(count)
        dut.stop.value = 1
        await RisingEdge(dut.clk)
        dut.stop.value = 0
        assert await system.take(1, 100) == []
        assert system.state() == "idle"


@cocotb.test()
async def full_speed(dut):
    system = System(dut, 3, 0.0)
    await system.start()
    base, count = system.base(), 32
    await system.begin(base)
    await FallingEdge(dut.clk)
    assert system.state() == "request"  # in the cycle after `start`
    assert await system.take(count) == InstructionFetch.model(system.memory, base, count)
    chunk = system.chunk // INSTRUCTION_BYTES
    for first in range(0, count, chunk):
        assert system.taken_at[first + chunk - 1] - system.taken_at[first] == chunk - 1


@cocotb.test()
async def failed_read(dut):
    system = System(dut, 4)
    await system.start()
    size = system.config.bus_bytes
    for _ in range(20):
        base = system.base()
        bad = base + system.rng.randrange(4) * system.chunk
        first = bad + system.rng.randrange(system.chunk // size) * size
        system.broken = range(first, bad + system.chunk)
        good = (bad - base) // INSTRUCTION_BYTES
        await system.begin(base)
        assert await system.take(good + 4, 200) == InstructionFetch.model(system.memory, base, good)
        assert system.errors == [bad]
        system.errors.clear()
    system.broken = range(0)
    base = system.base()
    await system.begin(base)
    assert await system.take(9) == InstructionFetch.model(system.memory, base, 9)


@pytest.mark.parametrize("config", CONFIGS)
def test_instruction_fetch(sim, config):
    harness.run(InstructionFetch(CONFIGS[config]), __name__, sim=sim, parameters=config)
