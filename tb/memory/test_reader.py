"""The stream reader against cocotbext-axi's RAM: order, full throughput, error responses."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from cocotbext.axi import AddressSpace, AxiReadBus, AxiSlaveRead, MemoryRegion, Region
from scoville.config import get_config
from scoville.memory.axi import ErrorKind, Resp
from scoville.memory.reader import StreamReader, request_layout

MEMORY = 1 << 16
BROKEN = 1 << 17  # a region whose reads raise: the RAM answers SLVERR


class Broken(Region):
    """Fails every read."""

    async def _read(self, address, length, **kwargs):
        raise RuntimeError("broken memory")


class System:
    """A reader, its memory and the streams."""

    def __init__(self, dut, seed, request_stalls=0.0, beat_stalls=0.0, memory_stalls=0.0):
        self.dut = dut
        self.config = get_config(harness.parameters())
        self.reader = StreamReader(self.config)
        self.tb = tb = harness.Bench(dut, seed)
        self.source, self.sink = tb.source("i", request_stalls), tb.sink("o", beat_stalls)
        self.memory = tb.rng.randbytes(MEMORY)
        region = MemoryRegion(MEMORY)
        region.mem[:] = self.memory
        space = AddressSpace(1 << self.config.addr_bits)
        space.register_region(region, 0)
        space.register_region(Broken(MEMORY), BROKEN)
        self.ram = AxiSlaveRead(AxiReadBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, target=space)
        if memory_stalls:
            for channel in (self.ram.ar_channel, self.ram.r_channel):
                channel.set_pause_generator(tb.rng.random() < memory_stalls for _ in iter(int, 1))

    async def start(self):
        await self.tb.reset()

    def request(self, requests):
        layout = request_layout(self.config)
        self.source.send(harness.pack(layout, {"address": a, "beats": n}) for a, n in requests)

    async def check(self, requests):
        self.request(requests)
        expected = self.reader.model(self.memory, requests)
        assert await self.sink.receive(len(expected)) == expected


def random_requests(rng, config, count, longest):
    last = MEMORY // config.bus_bytes
    requests = []
    for _ in range(count):
        beats = rng.choice([0, 1, 2, rng.randrange(1, longest)])
        requests.append((rng.randrange(last - beats) * config.bus_bytes, beats))
    return requests


@cocotb.test()
async def order_under_stalls(dut):
    system = System(dut, 1, request_stalls=0.3, beat_stalls=0.3, memory_stalls=0.3)
    await system.start()
    await system.check(random_requests(system.tb.rng, system.config, 30, 200))
    await system.tb.wait(20)
    assert not int(dut.error.value) and int(dut.idle.value)


@cocotb.test()
async def full_throughput(dut):
    system = System(dut, 2)
    await system.start()
    beats = MEMORY // system.config.bus_bytes
    await system.check([(0, beats // 2), (beats // 2 * system.config.bus_bytes, beats // 2)])
    # cocotbext's slave leaves gaps between bursts; the gaps it leaves are all that is allowed here.
    assert system.sink.cycles[-1] - system.sink.cycles[0] <= beats * 1.2


@cocotb.test()
async def error_response(dut):
    system = System(dut, 4, beat_stalls=0.2)
    await system.start()
    good = (256, 3)
    system.request([good, (BROKEN, 5), good])
    expected = system.reader.model(system.memory, [good])
    received = await system.sink.receive(11)
    assert received[:3] == expected and received[8:] == expected
    assert int(dut.error.value) and int(dut.error_kind.value) == ErrorKind.RESPONSE.value
    assert int(dut.error_resp.value) == Resp.SLVERR.value
    assert int(dut.error_address.value) == BROKEN
    dut.clear_error.value = 1
    await RisingEdge(dut.clk)
    dut.clear_error.value = 0
    await system.tb.wait(2)
    assert not int(dut.error.value)


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_reader(sim, config):
    harness.run(StreamReader(get_config(config)), __name__, sim=sim, parameters=config)
