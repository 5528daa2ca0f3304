"""The page walker: addresses, faults, the kept beat, ports that do not hold each other up, latency."""

import cocotb
import harness
import pytest
from amaranth.lib import data
from scoville.attention.pages import PageWalker, page_address_layout, page_request_layout
from scoville.config import get_config

TABLE, STRIDE, ROWS = 0x8000, 0x400, 8
KV_PAGES = 500
LATENCY = 4  # from a request to its response, when the beat is kept


class System:
    """A walker between random requests and a table in memory."""

    def __init__(self, dut, seed, stalls, kv_base=0x12_3450_0000, page_bytes=4224):
        self.dut = dut
        self.config = config = get_config(harness.parameters()["config"])
        self.tb = tb = harness.Bench(dut, seed)
        self.kv_base, self.page_bytes = kv_base, page_bytes
        entries = [tb.rng.choice([tb.rng.randrange(KV_PAGES)] * 6 + [KV_PAGES - 1, KV_PAGES, 1 << 24, 0xFFFFFFFF])
                   for _ in range(ROWS * STRIDE // 4)]
        self.memory = bytes(TABLE) + b"".join(entry.to_bytes(4, "little") for entry in entries)
        self.broken = set()  # beats whose read fails
        self.read_layout = data.StructLayout({"data": config.bus_bits, "error": 1})
        self.reads = tb.sink("read_request", stalls)
        self.answers = tb.source("read_response", stalls)
        self.requests = [tb.source(f"request{port}", stalls) for port in range(2)]
        self.responses = [tb.sink(f"response{port}", stalls) for port in range(2)]

    async def start(self):
        self.dut.kv_base.value = self.kv_base
        self.dut.kv_pages.value = KV_PAGES
        self.dut.page_bytes.value = self.page_bytes
        await self.tb.reset()
        cocotb.start_soon(self.serve())

    async def serve(self):
        size = self.config.bus_bytes
        while True:
            [address] = await self.reads.receive(1)
            assert address % size == 0
            self.answers.send([harness.pack(self.read_layout, {
                "data": int.from_bytes(self.memory[address:address + size], "little"),
                "error": int(address in self.broken)})])

    def ask(self, port, row, page):
        self.requests[port].send([harness.pack(page_request_layout(self.config), {
            "row": TABLE + STRIDE * row, "page": page})])

    async def check(self, port, row, page):
        [packed] = await self.responses[port].receive(1)
        got = harness.unpack(page_address_layout(self.config), packed)
        where = TABLE + STRIDE * row
        address, fault = PageWalker.model(self.config, self.memory, where, page, kv_base=self.kv_base,
                                          kv_pages=KV_PAGES, page_bytes=self.page_bytes)
        fault = fault or (where + 4 * page) // self.config.bus_bytes * self.config.bus_bytes in self.broken
        assert got["fault"] == fault, (row, page)
        if not fault:
            assert got["address"] == address, (row, page, hex(got["address"]), hex(address))


async def random_walks(dut, seed, stalls):
    system = System(dut, seed, stalls)
    rng = system.tb.rng
    for _ in range(20):
        beat = TABLE + rng.randrange(ROWS * STRIDE // system.config.bus_bytes) * system.config.bus_bytes
        system.broken.add(beat)
    await system.start()

    async def user(port):
        page = 0
        for _ in range(150):
            row, page = rng.randrange(ROWS), rng.choice([page + 1, rng.randrange(STRIDE // 4)]) % (STRIDE // 4)
            system.ask(port, row, page)
            await system.check(port, row, page)

    users = [cocotb.start_soon(user(port)) for port in range(2)]
    for task in users:
        await task


@cocotb.test()
async def walks_under_stalls(dut):
    await random_walks(dut, 1, 0.3)


@cocotb.test()
async def walks_without_stalls(dut):
    await random_walks(dut, 2, 0.0)


@cocotb.test()
async def neighbours_cost_no_read(dut):
    """Pages of one beat: one read, and the latency of a kept beat; `invalidate` costs another read."""
    system = System(dut, 3, 0.0)
    await system.start()
    pages = list(range(system.config.bus_bytes // 4))
    for page in pages:
        system.ask(0, 2, page)
        await system.check(0, 2, page)
    assert len(system.reads.received) == 1
    assert system.responses[0].cycles[-1] - system.requests[0].cycles[-1] == LATENCY
    system.ask(1, 2, 0)  # the ports keep their own beats
    await system.check(1, 2, 0)
    assert len(system.reads.received) == 2
    dut.invalidate.value = 1
    await system.tb.wait(1)
    dut.invalidate.value = 0
    system.memory = bytes(TABLE) + bytes(ROWS * STRIDE)
    system.ask(0, 2, 1)
    await system.check(0, 2, 1)
    assert len(system.reads.received) == 3


@cocotb.test()
async def invalidate_during_a_read(dut):
    system = System(dut, 4, 0.0)
    await system.start()
    system.ask(0, 1, 0)
    while not int(dut.read_request__valid.value):
        await system.tb.wait(1)
    dut.invalidate.value = 1
    await system.tb.wait(1)
    dut.invalidate.value = 0
    await system.check(0, 1, 0)
    system.memory = bytes(TABLE) + bytes(ROWS * STRIDE)
    system.ask(0, 1, 0)
    await system.check(0, 1, 0)
    assert len(system.reads.received) == 2


@cocotb.test()
async def a_full_port_does_not_block(dut):
    system = System(dut, 5, 0.0)
    system.responses[0].stalls = 1.0
    await system.start()
    for page in (3, 4):
        system.ask(0, 0, page)
    await system.tb.wait(30)
    for page in range(5):
        system.ask(1, 1, page)
        await system.check(1, 1, page)
    assert not system.responses[0].received
    system.responses[0].stalls = 0.0
    for page in (3, 4):
        await system.check(0, 0, page)


@cocotb.test()
async def address_that_does_not_fit(dut):
    """The last page below the last 16 MiB is there; the next ones are not, nor those past the address space's end."""
    page_bytes = 1 << 22
    system = System(dut, 6, 0.0, kv_base=(1 << 40) - (1 << 24) - page_bytes, page_bytes=page_bytes)
    system.memory = bytes(TABLE) + b"".join(k.to_bytes(4, "little") for k in range(256))
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
