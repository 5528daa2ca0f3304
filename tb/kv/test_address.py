"""Addresses of pages, and the tables of a chip that has one slot: every bit, faults, latency."""

from dataclasses import replace

import cocotb
import harness
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped
from scoville.config import get_config
from scoville.isa import PAGE_SIZE_BITS
from scoville.kv.address import NUMBER_BITS, PageAddress, page_address_layout, page_request_layout
from scoville.kv.layouts import page_count
from scoville.kv.one import OneSlot

LATENCY = 3


class Pages(wiring.Component):
    """Both users' addresses, and the pages of one slot."""

    def __init__(self, config):
        self.config = config
        self.address = PageAddress(config), PageAddress(config)
        ports = self.address[0].signature.members
        super().__init__({f"{name}{port}": ports[name] for name in ("request", "response") for port in range(2)} | {
            "kv_base": ports["kv_base"], "page_bytes": ports["page_bytes"], "pages": In(page_count(config))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.one = one = OneSlot(self.config)
        m.d.comb += one.pages.eq(self.pages)
        for port, (address, name) in enumerate(zip(self.address, ("read", "append"), strict=True)):
            m.submodules[name] = address
            connect(m, flipped(getattr(self, f"request{port}")), address.request)
            connect(m, address.response, flipped(getattr(self, f"response{port}")))
            connect(m, address.place, getattr(one, name))
            connect(m, getattr(one, f"{name}_page"), address.page)
            m.d.comb += [address.kv_base.eq(self.kv_base), address.page_bytes.eq(self.page_bytes)]
        return m


class System:
    """Random requests of both ports, and what has to come."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.config = dut, sized(harness.parameters())
        self.tb = harness.Bench(dut, seed)
        self.rng = self.tb.rng
        self.requests = [self.tb.source(f"request{port}", stalls) for port in range(2)]
        self.responses = [self.tb.sink(f"response{port}", stalls) for port in range(2)]

    async def settings(self, **fixed):
        """Other settings, of any size; behind what is under way."""
        rng, config = self.rng, self.config
        bits = rng.randint(1, config.addr_bits)
        self.now = {"kv_base": rng.getrandbits(bits) & -config.bus_bytes,
                    "page_bytes": rng.getrandbits(rng.randint(1, PAGE_SIZE_BITS)) & -config.bus_bytes,
                    "pages": rng.randint(0, 2 * config.pool_pages - 1)} | fixed
        await self.tb.wait(2)
        for name, value in self.now.items():
            getattr(self.dut, name).value = value
        await self.tb.wait(1)

    def ask(self, port, page):
        """Queue a request; returns (address, fault), the address None with a fault."""
        self.requests[port].send([harness.pack(page_request_layout(self.config), {"page": page})])
        within = page < self.config.slot_pages
        page = OneSlot.model(self.config, page, self.now["pages"]) if within else None
        address, fault = PageAddress.model(self.config, page, kv_base=self.now["kv_base"],
                                           page_bytes=self.now["page_bytes"])
        return None if fault else address, int(fault)

    async def shown(self, port, count):
        found = [harness.unpack(page_address_layout(self.config), item) for item in
                 await self.responses[port].receive(count)]
        return [(None if item["fault"] else item["address"], item["fault"]) for item in found]


def number(rng):
    """Of a page: one that the slot has, perhaps, or anything."""
    return rng.getrandbits(rng.randint(1, NUMBER_BITS))


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3])
async def random_pages(dut, stalls):
    system = System(dut, int(10 * stalls), stalls)
    await system.tb.reset()
    faults = 0
    for _ in range(120):
        await system.settings()
        wanted = [[system.ask(port, number(system.rng)) for _ in range(system.rng.randrange(4))] for port in range(2)]
        for port in range(2):
            assert await system.shown(port, len(wanted[port])) == wanted[port]
            faults += sum(fault for _, fault in wanted[port])
    assert 50 < faults < 350


@cocotb.test()
async def limits(dut):
    """The last page that there is and the next; the last address at which a page may begin and the next."""
    system = System(dut, 1, 0.0)
    config = system.config
    await system.tb.reset()
    for pages in (0, 1, *(system.rng.randrange(config.pool_pages) for _ in range(4)), config.pool_pages):
        await system.settings(pages=pages, kv_base=0)
        for page in {max(0, pages - 1), pages, config.slot_pages - 1, config.slot_pages, (1 << NUMBER_BITS) - 1}:
            wanted = system.ask(0, page)
            assert wanted[1] == (page >= min(pages, config.slot_pages))
            assert await system.shown(0, 1) == [wanted]
    last = (1 << config.addr_bits) - (1 << PAGE_SIZE_BITS)
    for page_bytes in (config.bus_bytes, 1 << 20, (1 << PAGE_SIZE_BITS) - config.bus_bytes):
        for over in (-config.bus_bytes, 0, config.bus_bytes):
            page = system.rng.randrange(1, config.slot_pages)
            await system.settings(pages=config.slot_pages, page_bytes=page_bytes,
                                  kv_base=last + over - page * page_bytes)
            wanted = system.ask(1, page)
            assert wanted[1] == (over >= 0)
            assert await system.shown(1, 1) == [wanted]


@cocotb.test()
async def latency(dut):
    """Of either port, whatever the other one does."""
    system = System(dut, 2, 0.0)
    await system.tb.reset()
    await system.settings(pages=system.config.slot_pages, kv_base=0)
    for _ in range(8):
        for port in range(2):
            system.ask(port, system.rng.randrange(system.config.slot_pages))
    for port in range(2):
        await system.shown(port, 8)
        taken, given = system.requests[port].cycles, system.responses[port].cycles
        assert [out - into for into, out in zip(taken, given, strict=True)] == [LATENCY] * 8


def sized(parameters):
    """The configuration of a run."""
    return replace(get_config(parameters["config"]), slot_pages=parameters["entries"],
                   pool_pages=parameters["entries"])


@pytest.mark.parametrize(("config", "entries"), [("nano", 128), ("kria", 256), ("slim", 1 << NUMBER_BITS)])
def test_address(sim, config, entries):
    parameters = {"config": config, "entries": entries}
    harness.run(Pages(sized(parameters)), __name__, sim=sim, parameters=parameters)


def test_one_slot_only():
    with pytest.raises(ValueError, match="several slots or cache groups have page tables"):
        OneSlot(replace(get_config("nano"), slots=2))
