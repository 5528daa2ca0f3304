"""The fetch port, and the mux it shares with the stream reader: every client gets its own beats, errors are marked."""

import cocotb
import harness
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from cocotbext.axi import AddressSpace, AxiReadBus, AxiSlaveRead, MemoryRegion
from scoville.config import get_config
from scoville.memory import axi
from scoville.memory.fetch_port import FetchPort, ReadMux, fetch_layout, response_layout
from scoville.memory.reader import StreamReader, request_layout

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
            "idle": Out(1),
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
        m.d.comb += self.idle.eq(reader.idle & port.idle)
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
    assert int(dut.idle.value)


@pytest.mark.parametrize("config", ["nano", "kria"])
def test_fetch_port(sim, config):
    harness.run(Shared(get_config(config)), __name__, sim=sim, parameters=config)
