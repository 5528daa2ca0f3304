"""The fetch port, and the mux it shares with the stream reader: every client gets its own beats, errors are marked."""

import cocotb
import harness
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from cocotbext.axi import AddressSpace, AxiReadBus, AxiSlaveRead, MemoryRegion
from reads import bursts_of
from scoville.config import get_config
from scoville.memory import axi
from scoville.memory.fetch_port import FetchPort, ReadMux, fetch_layout, response_layout
from scoville.memory.reader import StreamReader, request_layout
from subordinate import Everywhere, Subordinate

CLIENTS = 3
MEMORY = 1 << 16


class Shared(wiring.Component):
    """A stream reader and a fetch port on one bus."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(request_layout(config))),
            "o": Out(stream.Signature(config.bus_bits)),
            "fetch": In(stream.Signature(fetch_layout(config))).array(CLIENTS),
            "response": Out(stream.Signature(response_layout(config))).array(CLIENTS),
            "bus": Out(axi.guarded_read_signature(config)),
            "idle": Out(1), "port_idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = StreamReader(self.config)
        m.submodules.port = port = FetchPort(self.config, clients=CLIENTS)
        m.submodules.mux = mux = ReadMux(self.config)
        wiring.connect(m, wiring.flipped(self.i), reader.i)
        wiring.connect(m, reader.o, wiring.flipped(self.o))
        for number in range(CLIENTS):
            wiring.connect(m, wiring.flipped(self.fetch[number]), port.i[number])
            wiring.connect(m, port.o[number], wiring.flipped(self.response[number]))
        wiring.connect(m, reader.bus, mux.reader)
        wiring.connect(m, port.bus, mux.fetch)
        wiring.connect(m, mux.bus, wiring.flipped(self.bus))
        m.d.comb += [self.idle.eq(reader.idle & port.idle), self.port_idle.eq(port.idle)]
        return m


def memory_of(tb, dut):
    memory = tb.rng.randbytes(MEMORY)
    region = MemoryRegion(MEMORY)
    region.mem[:] = memory
    space = AddressSpace(1 << 40)
    space.register_region(region, 0)
    ram = AxiSlaveRead(AxiReadBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, target=space)
    ram.r_channel.set_pause_generator(tb.rng.random() < 0.2 for _ in iter(int, 1))
    return memory


def expected(config, memory, requests):
    """(data, error) of every beat; data of a failed read is not defined."""
    size = config.bus_bytes
    for address, beats in requests:
        for at in range(address, address + beats * size, size):
            yield (int.from_bytes(memory[at:at + size], "little"), 0) if at < MEMORY else (None, 1)


@cocotb.test()
async def shared_bus(dut):
    config = get_config(harness.parameters())
    tb = harness.Bench(dut, 1)
    source, sink = tb.source("i", 0.2), tb.sink("o", 0.2)
    sources = [tb.source(f"fetch__{n}", 0.5) for n in range(CLIENTS)]
    sinks = [tb.sink(f"response__{n}", 0.3) for n in range(CLIENTS)]
    memory = memory_of(tb, dut)
    await tb.reset()
    size = config.bus_bytes

    reads = [(size * tb.rng.randrange(100), tb.rng.randrange(1, 100)) for _ in range(12)]
    source.send(harness.pack(request_layout(config), {"address": a, "beats": n}) for a, n in reads)
    fetches = []
    for fetch in sources:
        requests = [(size * tb.rng.randrange(MEMORY // size - 64), tb.rng.choice([1, 1, 2, 40])) for _ in range(10)]
        requests.append((MEMORY, 2))  # no memory there: DECERR or SLVERR
        fetches.append(requests)
        fetch.send(harness.pack(fetch_layout(config), {"address": a, "beats": n}) for a, n in requests)
    wanted = StreamReader(config).model(memory, reads)
    assert await sink.receive(len(wanted)) == wanted
    for requests, response in zip(fetches, sinks, strict=True):
        wanted = list(expected(config, memory, requests))
        for packed, (value, error) in zip(await response.receive(len(wanted)), wanted, strict=True):
            got = harness.unpack(response_layout(config), packed)
            assert (got["error"], got["refused"]) == (error, 0)
            assert error or got["data"] == value
    await tb.wait(5)
    assert harness.peek(dut.idle)


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3])
async def everywhere(dut, stalls):
    """Small reads of every length at every address, for one client after the other, beside a reader."""
    config = get_config(harness.parameters())
    longest = FetchPort(config, clients=1).burst_beats
    tb = harness.Bench(dut, int(10 * stalls))
    rng, size, bits = tb.rng, config.bus_bytes, config.addr_bits
    source, sink = tb.source("i", stalls), tb.sink("o", stalls)
    sources = [tb.source(f"fetch__{n}", stalls) for n in range(CLIENTS)]
    sinks = [tb.sink(f"response__{n}", stalls) for n in range(CLIENTS)]
    memory = Everywhere(tb, bits)
    broken = range(1 << 30, (1 << 30) + (1 << 20))
    bus = Subordinate(tb, "bus_", memory, bus_bytes=size, stalls=stalls, broken=broken)
    await tb.reset()
    assert harness.peek(dut.port_idle)

    def anywhere(bit, longest):
        beats = rng.randrange(1, longest)
        around = (1 << bit) - size * rng.randrange(min(beats, (1 << bit) // size + 1))
        return rng.choice([around, rng.getrandbits(bits) & -size, broken.start + rng.randrange(1 << 19) & -size]), beats

    reads = [anywhere(rng.randrange(size.bit_length(), bits - 1), 100) for _ in range(60)]
    reads = [(address, beats) for address, beats in reads if address + beats * size <= 1 << bits
             and (address + beats * size <= broken.start or address >= broken.stop)]
    source.send(harness.pack(request_layout(config), {"address": a, "beats": n}) for a, n in reads)
    asked = []
    for bit in range(size.bit_length() - 1, bits):
        number = rng.randrange(CLIENTS)
        address, beats = anywhere(bit, rng.choice([3, 40, 256]))
        if address + beats * size > 1 << bits:
            continue
        asked.append((address, beats))
        sources[number].send([harness.pack(fetch_layout(config), {"address": address, "beats": beats})])
        wanted = [harness.pack(response_layout(config), {
            "data": 0 if at in broken else int.from_bytes(memory[at:at + size], "little"), "error": at in broken})
            for at in range(address, address + beats * size, size)]
        assert await sinks[number].receive(len(wanted)) == wanted
        assert not any(len(other.received) != other._taken for other in sinks)
        await tb.wait(4)
        assert harness.peek(dut.port_idle)
    wanted = StreamReader(config).model(memory, reads)
    assert await sink.receive(len(wanted)) == wanted
    bursts = [burst for request in asked for burst in bursts_of(config, longest, *request)]
    found = iter(bus.reads)  # the reader's are among them
    assert all(burst in found for burst in bursts)


@cocotb.test()
async def first_client_first(dut):
    """Of clients that ask together, the one of the lowest number is served first; `idle` is low while one is."""
    config = get_config(harness.parameters())
    tb = harness.Bench(dut, 3)
    sources = [tb.source(f"fetch__{n}") for n in range(CLIENTS)]
    sinks = [tb.sink(f"response__{n}") for n in range(CLIENTS)]
    bus = Subordinate(tb, "bus_", Everywhere(tb, config.addr_bits), bus_bytes=config.bus_bytes)
    await tb.reset()
    for chosen in ((0, 1, 2), (1, 2), (0, 2), (0, 1), (2,)):
        for number in chosen:
            sources[number].send([harness.pack(fetch_layout(config), {
                "address": 4096 * number + 64 * config.bus_bytes, "beats": 20})])
        for place, number in enumerate(chosen):
            await sinks[number].receive(1)
            assert not harness.peek(dut.port_idle)
            assert all(len(sinks[other].received) == sinks[other]._taken for other in chosen[place + 1:])
            await sinks[number].receive(19)
        await tb.wait(6)
        assert harness.peek(dut.port_idle) and bus.idle
    for number in range(CLIENTS):
        valid = getattr(dut, f"fetch__{number}__valid")
        valid.value = 1  # a request may be withdrawn
        await tb.wait(1)
        valid.value = 0
        await tb.wait(4)
        assert harness.peek(dut.port_idle) and not harness.peek(dut.bus__arvalid)


@cocotb.test()
async def offered_first(dut):
    """A memory may wait for an address before it is ready for it, and the address waits for the memory."""
    config = get_config(harness.parameters())
    tb = harness.Bench(dut, 4)
    source, fetch = tb.source("i"), tb.source("fetch__1")
    for agent, layout in ((source, request_layout), (fetch, fetch_layout)):
        await tb.reset()
        address = tb.rng.getrandbits(config.addr_bits) & -4096
        agent.send([harness.pack(layout(config), {"address": address, "beats": 3})])
        await tb.wait(12)
        for _ in range(20):
            await tb.wait(1)
            assert harness.peek(dut.bus__arvalid)
            assert (harness.peek(dut.bus__araddr), harness.peek(dut.bus__arlen)) == (address, 2)


@pytest.mark.parametrize("config", ["nano", "kria"])
def test_fetch_port(sim, config):
    harness.run(Shared(get_config(config)), __name__, sim=sim, parameters=config)
