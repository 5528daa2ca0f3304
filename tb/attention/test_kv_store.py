"""The KV store with its writer: page contents byte for byte, faults, few lookups, throughput."""

from dataclasses import replace

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cocotbext.axi import AxiRamWrite, AxiWriteBus
from scoville.attention.kv_store import KvStore, kv_block_layout, page_offsets, store_command_layout
from scoville.config import get_config
from scoville.isa import PAGE_SIZE_BITS, POSITION_BITS
from scoville.kv.address import NUMBER_BITS, page_address_layout, page_request_layout
from scoville.memory import axi
from scoville.memory.writer import StreamWriter
from scoville.schedule.seats import PassState
from subordinate import Everywhere, Subordinate

PAGES = 12


def sized(parameters):
    """The configuration of a run."""
    return replace(get_config(parameters["config"]), slots=parameters["slots"])


def seated(config, places):
    """The state of a pass of tokens (slot, position)."""
    whose = [{"slot": slot} if config.slots > 1 else {} for slot, _ in places]
    return harness.pack(PassState(config), {"tokens": len(places), "seats": [
        slot | {"position": position} for slot, (_, position) in zip(whose, places, strict=True)]})


class Store(wiring.Component):
    """A KV store and the writer that it fills."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(store_command_layout(config))),
            "i": In(stream.Signature(kv_block_layout(config))),
            "lookup": Out(stream.Signature(page_request_layout(config))),
            "found": In(stream.Signature(page_address_layout(config))),
            "bus": Out(axi.guarded_write_signature(config)),
            "state": In(PassState(config)),
            "clear": In(1), "busy": Out(1), "fault": Out(1), "fault_page": Out(NUMBER_BITS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = KvStore(self.config)
        m.submodules.writer = writer = StreamWriter(self.config)
        for name in ("command", "i", "found"):
            connect(m, flipped(getattr(self, name)), getattr(store, name))
        connect(m, store.lookup, flipped(self.lookup))
        connect(m, store.write_command, writer.command)
        connect(m, store.write_data, writer.data)
        connect(m, writer.bus, flipped(self.bus))
        m.d.comb += [
            store.writes_done.eq(writer.idle), store.clear.eq(self.clear), store.state.eq(self.state),
            self.busy.eq(store.busy), self.fault.eq(store.fault), self.fault_page.eq(store.fault_page)]
        return m


class System:
    """Pages of a few layers and KV heads in memory; `mapped` gives each (slot, page number) its physical page."""

    def __init__(self, dut, seed, stalls, head_blocks, heads=2, missing=()):
        self.dut, self.head_blocks, self.heads = dut, head_blocks, heads
        self.config = config = sized(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.stride = page_offsets(config, head_blocks)[1] + config.bus_bytes
        self.layer = 3 * self.stride  # bytes in front of it in a page
        self.page_bytes = self.layer + heads * self.stride
        self.base = 3 * config.bus_bytes
        self.ram = AxiRamWrite(AxiWriteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, size=1 << 19)
        self.ram.log.setLevel("ERROR")
        if stalls:
            for channel in (self.ram.aw_channel, self.ram.w_channel, self.ram.b_channel):
                channel.set_pause_generator(tb.rng.random() < stalls for _ in iter(int, 1))
        size = self.page_bytes * PAGES * config.slots
        self.before = tb.np_rng.integers(0, 256, size, dtype=np.uint8)
        self.ram.write(self.base, self.before.tobytes())
        self.wanted = self.before.copy().reshape(-1, self.page_bytes)
        physical = list(range(PAGES * config.slots))
        tb.rng.shuffle(physical)
        self.mapped = {(slot, page): physical.pop() for slot in range(config.slots) for page in range(PAGES)}
        self.missing = set(missing)
        self.commands, self.blocks = tb.source("command", stalls), tb.source("i", stalls)
        self.lookups, self.found = tb.sink("lookup", stalls), tb.source("found", stalls)

    async def start(self):
        await self.tb.reset()
        cocotb.start_soon(self.serve())

    async def serve(self):
        while True:
            [packed] = await self.lookups.receive(1)
            request = harness.unpack(page_request_layout(self.config), packed)
            key = (request["slot"], request["page"])
            self.found.send([harness.pack(page_address_layout(self.config), {
                "address": self.base + self.page_bytes * self.mapped[key], "fault": int(key in self.missing)})])

    async def seat(self, places):
        """Begin a pass of tokens (slot, position) when nothing is under way."""
        await self.settle()
        self.places = places
        self.dut.state.value = seated(self.config, places)

    def append(self, value, shuffle=False):
        """Queue the output of one matrix: head by head, block by block, token by token."""
        config, rng = self.config, self.tb.np_rng
        order = [(head, part, seat) for head in range(self.heads) for part in range(self.head_blocks)
                 for seat in range(len(self.places))]
        if shuffle:
            self.tb.rng.shuffle(order)
        self.commands.send([harness.pack(store_command_layout(config), {
            "value": value, "offset": self.layer, "stride": self.stride, "head_blocks": self.head_blocks,
            "blocks": len(order)})])
        for head, part, seat in order:
            q, e8 = rng.integers(-127, 128, 32), int(rng.integers(0, 256))
            self.blocks.send([harness.pack(kv_block_layout(config), {
                "seat": seat, "kv_head": head, "part": part, "value": value, "q": q, "e8": e8})])
            slot, position = self.places[seat]
            page, token = divmod(position, 32)
            if (slot, page) not in self.missing:
                parts = self.wanted[self.mapped[slot, page]][self.layer + head * self.stride:]
                KvStore.model(config, parts[:self.stride], q.astype(np.int8), e8, value=value, slot=token, part=part,
                              head_blocks=self.head_blocks)

    async def settle(self):
        await self.commands.drain()
        await self.blocks.drain()
        await self.tb.wait(2)
        while harness.peek(self.dut.busy):
            await self.tb.wait(1)

    def check(self):
        got = np.frombuffer(self.ram.read(self.base, self.wanted.size), np.uint8)
        wrong = np.flatnonzero(got != self.wanted.ravel())
        assert not len(wrong), [divmod(int(k), self.page_bytes) for k in wrong[:8]]


async def appends(dut, seed, stalls):
    config = sized(harness.parameters())
    system = System(dut, seed, stalls, head_blocks=1 + seed % config.max_head_blocks)
    await system.start()
    rng = system.tb.rng
    for trial in range(8):
        tokens, slot = rng.randint(1, config.seats), rng.randrange(config.slots)
        first = rng.choice([0, 31, 32 * PAGES - tokens, rng.randrange(32 * PAGES - tokens)])
        places = [(slot, first + seat) for seat in range(tokens)]
        if config.slots > 1 and trial % 2:
            places = [(rng.randrange(config.slots), rng.randrange(32 * PAGES)) for _ in places]
        await system.seat(places)
        for value in (0, 1):
            system.append(value, shuffle=trial % 2 == 1)
    await system.settle()
    system.check()
    assert not dut.fault.value


@cocotb.test()
async def appends_under_stalls(dut):
    await appends(dut, 1, 0.3)


@cocotb.test()
async def appends_without_stalls(dut):
    await appends(dut, 2, 0.0)


@cocotb.test()
async def largest_head(dut):
    await appends(dut, 3, 0.1)


@cocotb.test()
async def page_fault(dut):
    """Blocks of a missing page are dropped, the others are written, the first missing page is reported."""
    system = System(dut, 4, 0.2, head_blocks=2, missing={(0, 5), (0, 6)})
    await system.start()
    for position in (5 * 32 + 3, 7 * 32, 6 * 32 + 9):
        await system.seat([(0, position)])
        for value in (0, 1):
            system.append(value)
    await system.settle()
    system.check()
    assert dut.fault.value and harness.peek(dut.fault_page) == 5
    dut.clear.value = 1
    await system.tb.wait(1)
    dut.clear.value = 0
    await system.tb.wait(2)
    assert not dut.fault.value


@cocotb.test()
async def throughput(dut):
    """One lookup a matrix, and the cycles of a block that the docstring gives (or the bus model's own pace)."""
    system = System(dut, 5, 0.0, head_blocks=2)
    await system.start()
    config = system.config
    await system.seat([(0, 40)])
    for value in (0, 1):
        system.append(value)
    await system.settle()
    system.check()
    assert len(system.lookups.received) == 2
    for value, beats in ((0, max(1, 32 // config.bus_bytes)), (1, 1024 // config.bus_bytes)):
        # Two blocks wait at the input, so a block is taken when the one two before it begins.
        cycles = system.blocks.cycles[2 * system.heads * value + 2:2 * system.heads * (value + 1)]
        # The memory model takes one burst at a time and pauses between them.
        assert beats + 6 <= cycles[1] - cycles[0] <= beats + 16, (value, cycles)


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3])
async def anywhere(dut, stalls):
    """Every bit of a page's address, of offsets, strides, positions, heads and parts; faults among them."""
    config = sized(harness.parameters())
    tb, layout = harness.Bench(dut, int(10 * stalls) + 6), store_command_layout(config)
    rng, memory, bits = tb.rng, Everywhere(tb, config.addr_bits), config.addr_bits
    bus = Subordinate(tb, "bus_", memory, bus_bytes=config.bus_bytes, stalls=stalls)
    commands, blocks = tb.source("command", stalls), tb.source("i", stalls)
    lookups, found = tb.sink("lookup", stalls), tb.source("found", stalls)
    await tb.reset()

    def number(width):
        """Anything, or about a power of two."""
        around = (1 << rng.randrange(width)) - rng.randrange(2)
        return rng.choice([rng.getrandbits(width), around])

    for _ in range(160):
        value, head_blocks = rng.randrange(2), rng.randrange(1, 16)
        _, page_bytes = page_offsets(config, head_blocks)
        command = {"value": value, "offset": number(27) & -config.bus_bytes,
                   "stride": number(19) & -config.bus_bytes, "cache": rng.randrange(16), "head_blocks": head_blocks,
                   "blocks": rng.choice([0, 1, 1, 2, 5])}
        places = [(rng.randrange(config.slots), number(POSITION_BITS)) for _ in range(config.seats)]
        if rng.random() < 0.5:  # several of one page
            places = [(places[0][0], places[0][1] & ~31 | rng.randrange(32)) for _ in places]
        dut.state.value = seated(config, places)
        commands.send([harness.pack(layout, command)])
        known = first_fault = base = None
        wanted = {}
        for _ in range(command["blocks"]):
            q, e8 = tb.np_rng.integers(-128, 128, 32), rng.randrange(256)
            block = {"seat": rng.randrange(config.seats), "kv_head": number(8),
                     "part": rng.randrange(head_blocks), "value": value, "q": q, "e8": e8}
            blocks.send([harness.pack(kv_block_layout(config), block)])
            slot, position = places[block["seat"]]
            page, token = divmod(position, 32)
            place = {"page": page, "cache": command["cache"], "slot": slot}
            if known != place:
                known = place
                assert await lookups.receive(1) == [harness.pack(page_request_layout(config), place)]
                address = min(number(bits), (1 << bits) - (1 << PAGE_SIZE_BITS)) & -config.bus_bytes
                fault = rng.random() < 0.1
                if fault and first_fault is None:
                    first_fault = page
                found.send([harness.pack(page_address_layout(config), {"address": address, "fault": fault})])
                base = None if fault else address
            if base is not None:
                content = np.full(page_bytes, -1, np.int16)  # where nothing is written
                KvStore.model(config, content, q.astype(np.int8), e8, value=value, slot=token, part=block["part"],
                              head_blocks=head_blocks)
                first = base + command["offset"] + block["kv_head"] * command["stride"]
                wanted |= {first + int(at): int(content[at]) for at in np.flatnonzero(content >= 0)}
        await commands.drain()
        await blocks.drain()
        await tb.wait(2)
        assert command["blocks"] or not harness.peek(dut.busy)
        while harness.peek(dut.busy):
            await tb.wait(1)
        assert bus.idle and memory.written == wanted
        assert harness.peek(dut.fault) == (first_fault is not None)
        assert first_fault is None or harness.peek(dut.fault_page) == first_fault
        memory.written.clear()
        dut.clear.value = 1
        await tb.wait(1)
        dut.clear.value = 0


@pytest.mark.parametrize(("config", "slots"), [("nano", 1), ("duo", 1), ("slim", 1), ("wide", 1), ("kria", 1),
                                               ("duo", 4)])
def test_kv_store(sim, config, slots):
    parameters = {"config": config, "slots": slots}
    harness.run(Store(sized(parameters)), __name__, sim=sim, parameters=parameters)


def test_page_offsets():
    assert page_offsets(get_config("nano"), 2) == ((0, 64, 2112, 2176), 4224)
    assert page_offsets(get_config("kria"), 1) == ((0, 64, 1088, 1152), 2176)
