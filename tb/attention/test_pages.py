"""The page walker: addresses, faults, the kept beat, ports that do not hold each other up, latency."""

import cocotb
import harness
import pytest
from amaranth.lib import data
from amaranth.utils import exact_log2
from scoville.attention.pages import PageWalker, page_address_layout, page_request_layout
from scoville.config import get_config

TABLE, STRIDE, ROWS = 0x8000, 0x400, 8
KV_PAGES = 500
LATENCY = 4  # from a request to its response, when the beat is kept


class Anywhere:
    """A memory of random u32 entries, each made when it is first looked at."""

    def __init__(self, rng, kv_pages):
        self.rng, self.kv_pages, self.entries = rng, kv_pages, {}

    def entry(self):
        """Any page that there is, those about the first that there is not, and large numbers, often with one bit."""
        rng, pages = self.rng, self.kv_pages
        near = pages + rng.choice([-2, -1, -1, 0, 1]) + rng.choice([-1, 0, 0, 1]) * (1 << rng.randrange(24))
        return rng.choice([rng.randrange(pages)] * 5 + [near] * 3 + [1 << rng.randrange(32), 0xFFFFFFFF]) & 0xFFFFFFFF

    def __getitem__(self, span):
        places = range(span.start, span.stop, 4)
        return b"".join(self.entries.setdefault(at, self.entry()).to_bytes(4, "little") for at in places)


class System:
    """A walker between random requests and a table in memory."""

    def __init__(self, dut, seed, stalls, kv_base=0x12_3450_0000, page_bytes=4224, kv_pages=KV_PAGES):
        self.dut = dut
        self.config = config = get_config(harness.parameters()["config"])
        self.tb = tb = harness.Bench(dut, seed)
        self.kv_base, self.page_bytes, self.kv_pages = kv_base, page_bytes, kv_pages
        self.memory = Anywhere(tb.rng, kv_pages)
        self.server = None
        self.broken = set()  # beats whose read fails
        self.read_layout = data.StructLayout({"data": config.bus_bits, "error": 1})
        self.reads = tb.sink("read_request", stalls)
        self.answers = tb.source("read_response", stalls)
        self.requests = [tb.source(f"request{port}", stalls) for port in range(2)]
        self.responses = [tb.sink(f"response{port}", stalls) for port in range(2)]

    async def start(self):
        """Reset, and a memory that answers from now on."""
        self.window()
        await self.tb.reset()
        if self.server is not None:
            self.server.cancel()
        self.server = cocotb.start_soon(self.serve())

    def window(self):
        self.dut.kv_base.value = self.kv_base
        self.dut.kv_pages.value = self.kv_pages
        self.dut.page_bytes.value = self.page_bytes

    async def serve(self):
        size = self.config.bus_bytes
        while True:
            [address] = await self.reads.receive(1)
            assert address % size == 0
            self.answers.send([harness.pack(self.read_layout, {
                "data": int.from_bytes(self.memory[address:address + size], "little"),
                "error": int(address in self.broken)})])

    def ask(self, port, row, page):
        self.ask_at(port, TABLE + STRIDE * row, page)

    def ask_at(self, port, where, page):
        self.requests[port].send([harness.pack(page_request_layout(self.config), {"row": where, "page": page})])

    async def check(self, port, row, page):
        await self.check_at(port, TABLE + STRIDE * row, page)

    async def check_at(self, port, where, page):
        [packed] = await self.responses[port].receive(1)
        got = harness.unpack(page_address_layout(self.config), packed)
        address, fault = PageWalker.model(self.config, self.memory, where, page, kv_base=self.kv_base,
                                          kv_pages=self.kv_pages, page_bytes=self.page_bytes)
        fault = fault or (where + 4 * page) // self.config.bus_bytes * self.config.bus_bytes in self.broken
        assert got["fault"] == fault, (hex(where), page)
        if not fault:
            assert got["address"] == address, (hex(where), page, hex(got["address"]), hex(address))

    async def walk(self, port, count):
        """Walks of which every other stays in the beat of the one before; its table may be anywhere."""
        rng, beat = self.tb.rng, self.config.bus_bytes // 4
        where = page = 0
        for _ in range(count):
            if rng.random() < 0.5:
                page = page // beat * beat + rng.randrange(beat)
            else:
                where = rng.getrandbits(self.config.addr_bits) >> rng.choice([0, 0, 0, 12])
                page = rng.getrandbits(24) >> rng.choice([0, 0, 8, 18])
                where = max(min(where, (1 << self.config.addr_bits) - 4 * (page + beat)), 0)
                where -= where % self.config.bus_bytes
                if rng.random() < 0.1:
                    self.broken.add((where + 4 * page) // self.config.bus_bytes * self.config.bus_bytes)
            self.ask_at(port, where, page)
            await self.check_at(port, where, page)


    def new_window(self):
        """Of any size, most of whose pages fit the address space. What is kept of tables stays."""
        rng, space = self.tb.rng, 1 << self.config.addr_bits
        bits = rng.randrange(1, 25)
        self.kv_pages = self.memory.kv_pages = rng.getrandbits(bits) | 1
        self.page_bytes = rng.getrandbits(min(24, self.config.addr_bits + 1 - bits)) | 1 << rng.randrange(8)
        self.kv_base = rng.randrange(max(space - self.kv_pages * self.page_bytes, 1 << 20))
        self.window()


async def random_walks(dut, seed, stalls):
    system = System(dut, seed, stalls)
    await system.start()
    for _ in range(10):
        walks = [cocotb.start_soon(system.walk(port, 30)) for port in range(2)]
        for walk in walks:
            await walk
        system.new_window()


@cocotb.test()
async def walks_under_stalls(dut):
    await random_walks(dut, 10, 0.3)


@cocotb.test()
async def walks_without_stalls(dut):
    await random_walks(dut, 20, 0.0)


async def pulse(tb, signal):
    signal.value = 1
    await tb.wait(1)
    signal.value = 0


@cocotb.test()
@cocotb.parametrize(port=[0, 1])
async def neighbours_cost_no_read(dut, port):
    """Pages of one beat: one read, and the latency of a kept beat; `invalidate` and a reset cost another read."""
    system = System(dut, 3, 0.0)
    await system.start()
    pages = list(range(system.config.bus_bytes // 4))
    for page in pages:
        system.ask(port, 2, page)
        await system.check(port, 2, page)
    assert len(system.reads.received) == 1
    assert system.responses[port].cycles[-1] - system.requests[port].cycles[-1] == LATENCY
    system.ask(1 - port, 2, 0)  # the ports keep their own beats
    await system.check(1 - port, 2, 0)
    assert len(system.reads.received) == 2
    await pulse(system.tb, dut.invalidate)
    for at in range(0, ROWS * STRIDE, 4):
        system.memory.entries[TABLE + at] = at % 19
    for each in (port, 1 - port):
        system.ask(each, 2, 1)
        await system.check(each, 2, 1)
    assert len(system.reads.received) == 4
    await system.start()
    for at in range(0, ROWS * STRIDE, 4):
        system.memory.entries[TABLE + at] = at % 17
    for count, each in enumerate((port, 1 - port), 1):
        system.ask(each, 2, 1)
        await system.check(each, 2, 1)
        assert len(system.reads.received) == count
    for bit in range(exact_log2(system.config.bus_bytes), system.config.addr_bits):  # another beat, by one bit
        system.ask_at(port, (TABLE + 2 * STRIDE) ^ 1 << bit, 1)
        await system.check_at(port, (TABLE + 2 * STRIDE) ^ 1 << bit, 1)
        system.ask(port, 2, 1)
        await system.check(port, 2, 1)


@cocotb.test()
@cocotb.parametrize(port=[0, 1])
async def invalidate_during_a_read(dut, port):
    system = System(dut, 4, 0.0)
    await system.start()
    system.ask(port, 1, 0)
    while not harness.peek(dut.read_request__valid):
        await system.tb.wait(1)
    await pulse(system.tb, dut.invalidate)
    await system.check(port, 1, 0)
    system.memory.entries.clear()
    system.ask(port, 1, 0)
    await system.check(port, 1, 0)
    assert len(system.reads.received) == 2
    system.ask(port, 1, 1)
    await system.check(port, 1, 1)
    assert len(system.reads.received) == 2


@cocotb.test()
@cocotb.parametrize(port=[0, 1])
async def a_full_port_does_not_block(dut, port):
    system = System(dut, 5, 0.0)
    system.responses[port].stalls = 1.0
    await system.start()
    for page in (3, 4):
        system.ask(port, 0, page)
    await system.tb.wait(30)
    for page in range(5):
        system.ask(1 - port, 1, page)
        await system.check(1 - port, 1, page)
    assert not system.responses[port].received and len(system.requests[port].accepted) == 1
    system.responses[port].stalls = 0.0
    for page in (3, 4):
        await system.check(port, 0, page)


@cocotb.test()
async def address_that_does_not_fit(dut):
    """The last page below the last 16 MiB is there; the next ones are not, nor those past the address space's end."""
    page_bytes = 1 << 22
    system = System(dut, 6, 0.0, kv_base=(1 << 40) - (1 << 24) - page_bytes, page_bytes=page_bytes)
    system.memory.entries.update({TABLE + 4 * k: k for k in range(256)})
    await system.start()
    faults = []
    for page in range(8):
        system.ask(0, 0, page)
        [packed] = await system.responses[0].receive(1)
        faults.append(harness.unpack(page_address_layout(system.config), packed)["fault"])
    assert faults == [0] + 7 * [1]


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_pages(sim, config):
    harness.run(PageWalker(get_config(config)), __name__, sim=sim, parameters={"config": config})
