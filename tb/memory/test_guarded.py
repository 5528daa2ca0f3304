"""Reader, fetch port and writer behind the guard: order, errors and speed with bursts that it refuses among others."""

import cocotb
import harness
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from scoville.config import get_config
from scoville.memory import axi
from scoville.memory.axi import BOUNDARY, MAX_BURST, ErrorKind
from scoville.memory.fetch_port import FetchPort, ReadMux, fetch_layout, response_layout
from scoville.memory.reader import StreamReader, request_layout
from scoville.memory.window import Window
from scoville.memory.writer import StreamWriter, write_command_layout, write_data_layout
from subordinate import Subordinate

BASE, SIZE = 0x3000, 1 << 15  # the window, and all the memory that there is


class Guarded(wiring.Component):
    """All managers of the chip, and the guard."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(request_layout(config))), "o": Out(stream.Signature(config.bus_bits)),
            "fetch": In(stream.Signature(fetch_layout(config))),
            "response": Out(stream.Signature(response_layout(config))),
            "command": In(stream.Signature(write_command_layout(config))),
            "data": In(stream.Signature(write_data_layout(config))),
            "bus": Out(axi.signature(config)),
            "base": In(config.addr_bits), "limit": In(config.addr_bits),
            "idle": Out(1), "clear": In(1),
            "read_error": Out(axi.ErrorKind), "read_address": Out(config.addr_bits),
            "write_error": Out(axi.ErrorKind), "write_address": Out(config.addr_bits),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = StreamReader(self.config)
        m.submodules.port = port = FetchPort(self.config, clients=1)
        m.submodules.mux = mux = ReadMux(self.config)
        m.submodules.writer = writer = StreamWriter(self.config)
        m.submodules.window = window = Window(self.config)
        connect(m, flipped(self.i), reader.i)
        connect(m, reader.o, flipped(self.o))
        connect(m, flipped(self.fetch), port.i[0])
        connect(m, port.o[0], flipped(self.response))
        connect(m, flipped(self.command), writer.command)
        connect(m, flipped(self.data), writer.data)
        connect(m, reader.bus, mux.reader)
        connect(m, port.bus, mux.fetch)
        for manager in (mux, writer):
            for name, member in manager.bus.signature.members.items():
                ours, theirs = getattr(window.i, name), getattr(manager.bus, name)
                m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
        connect(m, window.bus, flipped(self.bus))
        m.d.comb += [
            window.base.eq(self.base), window.limit.eq(self.limit),
            self.idle.eq(reader.idle & port.idle & writer.idle),
            reader.clear_error.eq(self.clear), writer.clear.eq(self.clear),
            self.read_error.eq(reader.error_kind), self.read_address.eq(reader.error_address),
            self.write_error.eq(writer.error_kind), self.write_address.eq(writer.error_address),
        ]
        return m


class System:
    """The managers, their memory, and what should come out."""

    def __init__(self, dut, seed, stalls, order="any"):
        self.config = config = get_config(harness.parameters())
        self.word, self.dut = config.bus_bytes, dut
        self.guard, self.reader = Window(config), StreamReader(config)
        self.tb = tb = harness.Bench(dut, seed)
        self.source, self.sink = tb.source("i", stalls), tb.sink("o", stalls)
        self.fetch, self.response = tb.source("fetch", stalls), tb.sink("response", stalls)
        self.command, self.data = tb.source("command", stalls), tb.source("data", stalls)
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

    async def settle(self):
        while not harness.peek(self.dut.idle):
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
        assert harness.peek(getattr(dut, f"{kind}_error")) == ErrorKind.WINDOW.value
        assert harness.peek(getattr(dut, f"{kind}_address")) == system.first[kind]


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


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_guarded(sim, config):
    harness.run(Guarded(get_config(config)), __name__, sim=sim, parameters=config)
