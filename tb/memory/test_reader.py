"""The stream reader against cocotbext-axi's RAM: order, full throughput, error responses."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from cocotbext.axi import AddressSpace, AxiReadBus, AxiSlaveRead, MemoryRegion, Region
from reads import bursts_of
from scoville.config import get_config
from scoville.memory.axi import ErrorKind, Resp
from scoville.memory.reader import BEATS_BITS, READER_ID, StreamReader, request_layout
from subordinate import Everywhere, Subordinate

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
    assert not harness.peek(dut.error) and harness.peek(dut.idle)


@cocotb.test()
async def lengths_and_places(dut):
    """Nothing, a beat, less than a burst, a burst, and more; from the first beat of 4 KiB, the last, and between."""
    system = System(dut, 8, beat_stalls=0.1)
    await system.start()
    size, longest = system.config.bus_bytes, system.reader.burst_beats
    await system.check([(place, beats) for beats in (0, 1, 2, longest - 1, longest, longest + 1)
                        for place in (0, 2048, 4096 - size)])


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
    assert harness.peek(dut.error) and harness.peek(dut.error_kind) == ErrorKind.RESPONSE.value
    assert harness.peek(dut.error_resp) == Resp.SLVERR.value
    assert harness.peek(dut.error_address) == BROKEN
    dut.clear_error.value = 1
    await RisingEdge(dut.clk)
    dut.clear_error.value = 0
    await system.tb.wait(2)
    assert not harness.peek(dut.error)


async def idle_is_right(dut, layout):
    """In every cycle: `idle` is high when all beats of all requests have been taken, and only then."""
    due = 0
    while True:
        await RisingEdge(dut.clk)
        if harness.peek(dut.rst):
            due = 0
            continue
        assert harness.peek(dut.idle) == (due == 0), due
        if harness.peek(dut.i__valid) and harness.peek(dut.i__ready):
            due += harness.unpack(layout, harness.peek(dut.i__payload))["beats"]
        due -= harness.peek(dut.o__valid) and harness.peek(dut.o__ready)


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3])
async def everywhere(dut, stalls):
    """Bursts and beats at every address: each bit alone, and carries into each."""
    config = get_config(harness.parameters())
    longest = StreamReader(config).burst_beats
    tb = harness.Bench(dut, int(10 * stalls))
    rng, size, bits = tb.rng, config.bus_bytes, config.addr_bits
    source, sink = tb.source("i", stalls), tb.sink("o", stalls)
    memory = Everywhere(tb, bits)
    bus = Subordinate(tb, "bus_", memory, bus_bytes=size, stalls=stalls)
    await tb.reset()
    cocotb.start_soon(idle_is_right(dut, request_layout(config)))
    requests = []
    for bit in range(size.bit_length() - 1, bits):
        requests.append(((1 << bit) - size * rng.randrange(min(40, (1 << bit) // size + 1)), rng.randrange(1, 90)))
        requests.append((rng.getrandbits(bits - 16) << 16 | rng.randrange(1 << 16) & -size, rng.randrange(1, 80)))
    requests = [(address, beats) for address, beats in requests if address + beats * size <= 1 << bits]
    for address, beats in requests:
        source.send([harness.pack(request_layout(config), {"address": address, "beats": beats})])
    wanted = StreamReader(config).model(memory, requests)
    assert await sink.receive(len(wanted)) == wanted
    assert bus.reads == [burst for request in requests for burst in bursts_of(config, longest, *request)]
    await tb.wait(2)
    assert harness.peek(dut.idle) and not harness.peek(dut.error)


@cocotb.test()
async def long_requests(dut):
    """The bursts of requests too long to be read here: as many as the FIFO has room for, whatever is to come."""
    config = get_config(harness.parameters())
    longest = StreamReader(config).burst_beats
    reader = StreamReader(config)
    tb = harness.Bench(dut, 5)
    source = tb.source("i")
    await tb.reset()
    cocotb.start_soon(idle_is_right(dut, request_layout(config)))
    for bit in range(BEATS_BITS):
        for beats in {1 << bit, (1 << bit) + 5, (1 << bit) + 5 + reader.burst_beats} - {1 << BEATS_BITS}:
            await tb.reset()
            dut.bus__arready.value = 1
            address = (reader.burst_beats - 5) * config.bus_bytes  # the first burst has 5 beats at most
            source.send([harness.pack(request_layout(config), {"address": address, "beats": beats})])
            wanted, room = [], reader.depth
            for burst in bursts_of(config, longest, address, beats):
                room -= burst[1]
                if room < 0:
                    break
                wanted.append(burst)
            got = []
            for _ in range(2 * len(wanted) + 8):
                await RisingEdge(dut.clk)
                if harness.peek(dut.bus__arvalid):
                    got.append((harness.peek(dut.bus__araddr), harness.peek(dut.bus__arlen) + 1))
                    assert harness.peek(dut.bus__arid) == READER_ID
            assert got == wanted


@cocotb.test()
async def bursts_that_wait(dut):
    """Two bursts may wait for ARREADY; they go out as they came."""
    config = get_config(harness.parameters())
    longest = StreamReader(config).burst_beats
    tb = harness.Bench(dut, 7)
    source, longest = tb.source("i"), StreamReader(config).burst_beats
    step = config.bus_bytes * longest
    for turn in range(60):
        await tb.reset()
        dut.bus__arready.value = 0
        wanted = [(tb.rng.randrange((1 << config.addr_bits) // step) * step, tb.rng.randrange(1, longest))
                  for _ in range(3)]
        source.send(harness.pack(request_layout(config), {"address": a, "beats": n}) for a, n in wanted)
        await tb.wait(12)
        got = []
        for cycle in range(10):
            dut.bus__arready.value = ready = int(turn % 2 or cycle % 2)
            await RisingEdge(dut.clk)
            if ready and harness.peek(dut.bus__arvalid):
                got.append((harness.peek(dut.bus__araddr), harness.peek(dut.bus__arlen) + 1))
        assert got == [burst for request in wanted for burst in bursts_of(config, longest, *request)]


@cocotb.test()
async def first_error(dut):
    """Of many the first is kept, whatever its response, until it is cleared; and then the next."""
    config = get_config(harness.parameters())
    tb = harness.Bench(dut, 6)
    rng = tb.rng
    source = tb.source("i")
    dut.o__ready.value = 1
    await tb.reset()
    dut.bus__arready.value = 1
    known, step = (0, 0, 0), config.bus_bytes * StreamReader(config).burst_beats
    for turn in range(120):
        address = rng.randrange((1 << config.addr_bits) // step) * step
        beats = rng.randrange(1, 5)
        source.send([harness.pack(request_layout(config), {"address": address, "beats": beats})])
        while not harness.peek(dut.bus__arvalid):
            await RisingEdge(dut.clk)
        clear = turn % 3 == 2
        if clear:
            dut.clear_error.value = 1
            await RisingEdge(dut.clk)
            dut.clear_error.value = 0
            known = (0, 0, 0)
        for beat in range(beats):
            response, refused = rng.choice([0, 1, 2, 3]), rng.getrandbits(1)
            dut.bus__rvalid.value, dut.bus__rlast.value = 1, int(beat == beats - 1)
            dut.bus__rresp.value, dut.bus__rrefused.value = response, refused
            await RisingEdge(dut.clk)
            dut.bus__rvalid.value = 0
            if response >= Resp.SLVERR.value and not known[0]:
                kind = ErrorKind.WINDOW if refused else ErrorKind.RESPONSE
                known = (1, kind.value, response)
                at = address
            await tb.wait(2)
            shown = tuple(harness.peek(handle) for handle in (dut.error, dut.error_kind, dut.error_resp))
            assert shown == known and (not known[0] or harness.peek(dut.error_address) == at)
        await tb.wait(4)
        assert harness.peek(dut.idle)


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_reader(sim, config):
    harness.run(StreamReader(get_config(config)), __name__, sim=sim, parameters=config)
