"""The memory port: order, errors and speed with bursts that the window refuses among others; what stops it."""

import cocotb
import harness
import pytest
from scoville.config import get_config
from scoville.memory.axi import BOUNDARY, MAX_BURST
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.memory.port import MemoryPort, trouble_layout
from scoville.memory.reader import StreamReader, request_layout
from scoville.memory.window import Window
from scoville.memory.writer import write_command_layout, write_data_layout
from subordinate import Subordinate

BASE, SIZE = 0x3000, 1 << 15  # the window, and all the memory that there is
CLIENTS, WRITERS = 2, 2


class System:
    """The port, its memory, and what should come out; short reads and writes by one of its clients each."""

    def __init__(self, dut, seed, stalls, order="any", slow=True):
        self.config = config = get_config(harness.parameters())
        self.word, self.dut = config.bus_bytes, dut
        self.guard, self.reader = Window(config), StreamReader(config)
        self.tb = tb = harness.Bench(dut, seed)
        self.source, self.sink = tb.source("descriptor", stalls), tb.sink("beats", slow * stalls)
        client, writer = seed % CLIENTS, seed % WRITERS
        self.fetch = tb.source(f"request__{client}", stalls)
        self.response = tb.sink(f"response__{client}", slow * stalls)
        self.command, self.data = tb.source(f"command__{writer}", stalls), tb.source(f"data__{writer}", stalls)
        self.memory = bytearray(tb.rng.randbytes(SIZE))
        self.wanted = bytearray(self.memory)
        self.bus = Subordinate(tb, "bus_", self.memory, bus_bytes=self.word, base=BASE, stalls=stalls, order=order)
        self.first = {"read": None, "write": None}  # first burst that is refused

    async def start(self):
        self.dut.base.value, self.dut.limit.value = BASE, BASE + SIZE
        await self.tb.reset()

    def run(self, longest):
        """(address, beats) at an edge of the window or inside it."""
        rng, word = self.tb.rng, self.word
        beats = rng.choice([1, 2, rng.randint(1, longest)])
        edge = rng.choice([BASE, BASE + SIZE, BASE + SIZE, BASE + rng.randrange(SIZE // word) * word])
        return max(0, edge + word * rng.randint(-beats, 1)), beats

    def bursts(self, address, beats, step):
        """A run cut at multiples of `step` beats: (address, beats, refused) of each burst."""
        while beats:
            room = min(step - address // self.word % step, beats)
            allowed = self.guard.model(address, room, base=BASE, limit=BASE + SIZE)
            yield address, room, not allowed
            address, beats = address + room * self.word, beats - room

    def read(self, address, beats, step):
        """(data, refused) of every beat."""
        for at, count, refused in self.bursts(address, beats, step):
            for k in range(count):
                place = at - BASE + k * self.word
                yield (0 if refused else int.from_bytes(self.memory[place:place + self.word], "little")), int(refused)

    def remember(self, kind, bursts):
        refused = [address for address, _, refused in bursts if refused]
        if self.first[kind] is None and refused:
            self.first[kind] = refused[0]

    def write(self, address, beats):
        self.command.send([harness.pack(write_command_layout(self.config), {"address": address, "beats": beats})])
        bursts = list(self.bursts(address, beats, min(MAX_BURST, BOUNDARY // self.word)))
        self.remember("write", bursts)
        for at, count, refused in bursts:
            for k in range(count):
                content = self.tb.rng.randbytes(self.word)
                if not refused:
                    self.wanted[at - BASE + k * self.word:at - BASE + (k + 1) * self.word] = content
                self.data.send([harness.pack(write_data_layout(self.config), {
                    "data": int.from_bytes(content, "little"), "strobe": (1 << self.word) - 1})])

    def idle(self):
        return all(harness.peek(getattr(self.dut, f"{what}_idle")) for what in ("reads", "fetches", "writes"))

    async def settle(self):
        while not self.idle():
            await self.tb.wait(1)


async def mixed(dut, stalls, order):
    """Reads, then writes with small reads beside them: the first refused burst is reported, all others are done."""
    system = System(dut, int(stalls * 10), stalls, order)
    await system.start()
    wanted, fetched = [], []
    for _ in range(40):
        run = system.run(60)
        system.source.send([harness.pack(request_layout(system.config), dict(zip(("address", "beats"), run,
                                                                                  strict=True)))])
        system.remember("read", system.bursts(*run, system.reader.burst_beats))
        wanted += [data for data, _ in system.read(*run, system.reader.burst_beats)]
        run = system.run(40)
        system.fetch.send([harness.pack(fetch_layout(system.config), dict(zip(("address", "beats"), run,
                                                                              strict=True)))])
        fetched += system.read(*run, 16)
    assert await system.sink.receive(len(wanted)) == wanted
    for packed, (value, refused) in zip(await system.response.receive(len(fetched)), fetched, strict=True):
        got = harness.unpack(response_layout(system.config), packed)
        assert got == {"data": value, "error": refused, "refused": refused}
    await system.settle()
    for _ in range(40):
        system.write(*system.run(400))
    await system.command.drain()
    await system.data.drain()
    await system.settle()
    assert system.bus.idle and system.memory == system.wanted
    for kind in ("read", "write"):
        trouble = harness.unpack(trouble_layout(system.config), harness.peek(getattr(dut, f"{kind}_trouble")))
        assert trouble == {"error": 1, "refused": 1, "address": system.first[kind]}


@cocotb.test()
async def under_stalls(dut):
    await mixed(dut, 0.3, "any")


@cocotb.test()
async def without_stalls(dut):
    await mixed(dut, 0.0, "address")


@cocotb.test()
async def data_first(dut):
    await mixed(dut, 0.2, "data")


@cocotb.test()
async def full_speed(dut):
    """Inside the window a beat is read and a beat is written in every cycle, across bursts."""
    system = System(dut, 5, 0.0)
    await system.start()
    beats = SIZE // system.word
    system.source.send([harness.pack(request_layout(system.config), {"address": BASE, "beats": beats})])
    for part in range(4):
        system.write(BASE + part * SIZE // 4, beats // 4)
    wanted = [data for data, _ in system.read(BASE, beats, system.reader.burst_beats)]
    system.wanted = bytearray(system.memory)
    assert len(wanted) == len(await system.sink.receive(beats))
    await system.data.drain()
    await system.settle()
    for cycles in (system.sink.cycles, system.bus.beats):
        assert cycles[-1] - cycles[0] == beats - 1


@cocotb.test()
async def stopped(dut):
    """With `stop` what was asked for ends and is dropped, and nothing more is asked for; then all goes on."""
    system = System(dut, 6, 0.2, slow=False)  # what is offered may be dropped
    config, rng = system.config, system.tb.rng

    def ask():
        system.source.send([harness.pack(request_layout(config), {"address": BASE, "beats": 64})])
        system.fetch.send([harness.pack(fetch_layout(config), {"address": BASE, "beats": 3})])
        system.write(BASE, 4)

    await system.start()
    for _ in range(6):
        for _ in range(6):
            ask()
        await system.tb.wait(rng.randrange(20, 150))
        dut.stop.value = dut.resetting.value = 1
        await system.tb.wait(2)
        marks = len(system.sink.received)
        ask()
        while not system.idle():
            await system.tb.wait(1)
        assert len(system.sink.received) == marks
        for _ in range(100):
            await system.tb.wait(1)
            assert system.idle() and system.bus.idle
            assert not harness.peek(dut.bus__arvalid) and not harness.peek(dut.bus__awvalid)
        assert not system.source.idle and not system.fetch.idle
        dut.stop.value = dut.resetting.value = 0
        for source in (system.source, system.fetch, system.command, system.data):
            await source.drain()
        await system.settle()
        assert system.bus.idle and system.memory == system.wanted


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_port(sim, config):
    harness.run(MemoryPort(get_config(config)), __name__, sim=sim, parameters=config)
