"""The KV store with its writer: page contents byte for byte, faults, few lookups, throughput."""

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cocotbext.axi import AxiRamWrite, AxiWriteBus
from scoville.attention.kv_store import KvStore, kv_block_layout, page_offsets, store_command_layout
from scoville.attention.pages import page_address_layout, page_request_layout
from scoville.config import get_config
from scoville.memory import axi
from scoville.memory.writer import StreamWriter
from subordinate import Everywhere, Subordinate

TABLE, STRIDE, PAGES = 0x1_2345_6000, 0x800, 12


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
            "clear": In(1), "busy": Out(1), "fault": Out(1), "fault_row": Out(config.addr_bits)})

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
            store.writes_done.eq(writer.idle), store.clear.eq(self.clear),
            self.busy.eq(store.busy), self.fault.eq(store.fault), self.fault_row.eq(store.fault_row)]
        return m


class System:
    """Pages of a few KV heads in memory; `mapped` gives each (head, page number) its physical page."""

    def __init__(self, dut, seed, stalls, head_blocks, heads=2, missing=()):
        self.dut, self.head_blocks, self.heads = dut, head_blocks, heads
        self.config = config = get_config(harness.parameters()["config"])
        self.tb = tb = harness.Bench(dut, seed)
        _, self.page_bytes = page_offsets(config, head_blocks)
        self.base = 3 * config.bus_bytes
        self.ram = AxiRamWrite(AxiWriteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, size=1 << 19)
        self.ram.log.setLevel("ERROR")
        if stalls:
            for channel in (self.ram.aw_channel, self.ram.w_channel, self.ram.b_channel):
                channel.set_pause_generator(tb.rng.random() < stalls for _ in iter(int, 1))
        size = self.page_bytes * PAGES * heads
        self.before = tb.np_rng.integers(0, 256, size, dtype=np.uint8)
        self.ram.write(self.base, self.before.tobytes())
        self.wanted = self.before.copy().reshape(PAGES * heads, self.page_bytes)
        physical = list(range(PAGES * heads))
        tb.rng.shuffle(physical)
        self.mapped = {(head, page): physical.pop() for head in range(heads) for page in range(PAGES)}
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
            head, rest = divmod(request["row"] - TABLE, STRIDE)
            assert rest == 0
            key = (head, request["page"])
            self.found.send([harness.pack(page_address_layout(self.config), {
                "address": self.base + self.page_bytes * self.mapped[key], "fault": int(key in self.missing)})])

    def append(self, value, position, tokens, shuffle=False):
        """Queue the output of one matrix: head by head, block by block, token by token."""
        config, rng = self.config, self.tb.np_rng
        order = [(head, part, seat) for head in range(self.heads) for part in range(self.head_blocks)
                 for seat in range(tokens)]
        if shuffle:
            self.tb.rng.shuffle(order)
        self.commands.send([harness.pack(store_command_layout(config), {
            "value": value, "table": TABLE, "table_stride": STRIDE, "position": position,
            "head_blocks": self.head_blocks, "blocks": len(order)})])
        for head, part, seat in order:
            q, e8 = rng.integers(-127, 128, 32), int(rng.integers(0, 256))
            self.blocks.send([harness.pack(kv_block_layout(config), {
                "seat": seat, "kv_head": head, "part": part, "value": value, "q": q, "e8": e8})])
            page, slot = divmod(position + seat, 32)
            if (head, page) not in self.missing:
                KvStore.model(config, self.wanted[self.mapped[head, page]], q.astype(np.int8), e8, value=value,
                              slot=slot, part=part, head_blocks=self.head_blocks)

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
    config = get_config(harness.parameters()["config"])
    system = System(dut, seed, stalls, head_blocks=1 + seed % config.max_head_blocks)
    await system.start()
    rng = system.tb.rng
    for trial in range(8):
        tokens = rng.randint(1, config.seats)
        position = rng.choice([0, 31, 32 * PAGES - tokens, rng.randrange(32 * PAGES - tokens)])
        for value in (0, 1):
            system.append(value, position, tokens, shuffle=trial % 2 == 1)
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
    """Blocks of a missing page are dropped, the others are written, the row of the first missing page is reported."""
    system = System(dut, 4, 0.2, head_blocks=2, missing={(1, 5), (0, 6)})
    await system.start()
    for position in (5 * 32 + 3, 7 * 32, 6 * 32 + 9):
        for value in (0, 1):
            system.append(value, position, 1)
    await system.settle()
    system.check()
    assert dut.fault.value and harness.peek(dut.fault_row) == TABLE + STRIDE
    dut.clear.value = 1
    await system.tb.wait(1)
    dut.clear.value = 0
    await system.tb.wait(2)
    assert not dut.fault.value


@cocotb.test()
async def throughput(dut):
    """One lookup a head, and the cycles of a block that the docstring gives (or the bus model's own pace)."""
    system = System(dut, 5, 0.0, head_blocks=2)
    await system.start()
    config = system.config
    for value in (0, 1):
        system.append(value, 40, 1)
    await system.settle()
    system.check()
    assert len(system.lookups.received) == 2 * system.heads
    for value, beats in ((0, max(1, 32 // config.bus_bytes)), (1, 1024 // config.bus_bytes)):
        # Two blocks wait at the input, so a block is taken when the one two before it begins.
        cycles = system.blocks.cycles[2 * system.heads * value + 2:2 * system.heads * (value + 1)]
        # The memory model takes one burst at a time and pauses between them.
        assert beats + 6 <= cycles[1] - cycles[0] <= beats + 16, (value, cycles)


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3])
async def anywhere(dut, stalls):
    """Every bit of a page's address, of the table's, of strides, positions, heads and parts; faults among them."""
    config = get_config(harness.parameters()["config"])
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
        command = {"value": value, "table": rng.getrandbits(bits), "table_stride": number(layout["table_stride"].width),
                   "position": number(layout["position"].width), "head_blocks": head_blocks,
                   "blocks": rng.choice([0, 1, 1, 2, 5])}
        commands.send([harness.pack(layout, command)])
        known = first_fault = base = None
        wanted = {}
        for _ in range(command["blocks"]):
            q, e8 = tb.np_rng.integers(-128, 128, 32), rng.randrange(256)
            head = known[0] if known and rng.random() < 0.5 else number(8)
            block = {"seat": rng.randrange(config.seats), "kv_head": head,
                     "part": rng.randrange(head_blocks), "value": value, "q": q, "e8": e8}
            blocks.send([harness.pack(kv_block_layout(config), block)])
            position = (command["position"] + block["seat"]) % (1 << layout["position"].width)
            page, slot = divmod(position, 32)
            if known != (block["kv_head"], page):
                known = block["kv_head"], page
                row = (command["table"] + block["kv_head"] * command["table_stride"]) % (1 << bits)
                request = harness.pack(page_request_layout(config), {"row": row, "page": page})
                assert await lookups.receive(1) == [request]
                address = min(number(bits), (1 << bits) - 2 * page_bytes) // config.bus_bytes * config.bus_bytes
                fault = rng.random() < 0.1
                if fault and first_fault is None:
                    first_fault = row
                found.send([harness.pack(page_address_layout(config), {"address": address, "fault": fault})])
                base = None if fault else address
            if base is not None:
                content = np.full(page_bytes, -1, np.int16)  # where nothing is written
                KvStore.model(config, content, q.astype(np.int8), e8, value=value, slot=slot, part=block["part"],
                              head_blocks=head_blocks)
                wanted |= {base + int(at): int(content[at]) for at in np.flatnonzero(content >= 0)}
        await commands.drain()
        await blocks.drain()
        await tb.wait(2)
        assert command["blocks"] or not harness.peek(dut.busy)
        while harness.peek(dut.busy):
            await tb.wait(1)
        assert bus.idle and memory.written == wanted
        assert harness.peek(dut.fault) == (first_fault is not None)
        assert first_fault is None or harness.peek(dut.fault_row) == first_fault
        memory.written.clear()
        dut.clear.value = 1
        await tb.wait(1)
        dut.clear.value = 0


@pytest.mark.parametrize("config", ["nano", "duo", "slim", "wide", "kria"])
def test_kv_store(sim, config):
    harness.run(Store(get_config(config)), __name__, sim=sim, parameters={"config": config})


def test_page_offsets():
    assert page_offsets(get_config("nano"), 2) == ((0, 64, 2112, 2176), 4224)
    assert page_offsets(get_config("kria"), 1) == ((0, 64, 1088, 1152), 2176)
