"""The writer, its arbiter and the logits dump against cocotbext-axi's memory: contents, bursts, errors, throughput."""

from itertools import islice

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cocotb.triggers import RisingEdge
from cocotbext.axi import AddressSpace, AxiSlaveWrite, AxiWriteBus, MemoryRegion, Region
from scoville.config import get_config
from scoville.memory import axi
from scoville.memory.dump import LogitsDump, copy_layout
from scoville.memory.write_arbiter import WriteArbiter
from scoville.memory.writer import WRITE_BEATS_BITS, StreamWriter, write_command_layout, write_data_layout
from scoville.schedule.seats import Sampling
from writes import MEMORY, Writes

BROKEN = 1 << 20  # from here writes fail


class Broken(Region):
    """Fails every write: the slave answers SLVERR."""

    async def _write(self, address, data, **kwargs):
        raise RuntimeError("broken memory")


class System(Writes):
    """With cocotbext-axi's memory."""

    def __init__(self, dut, seed, stalls):
        super().__init__(dut, seed)
        self.memory = MemoryRegion(MEMORY)
        self.memory.mem[:] = self.wanted
        space = AddressSpace(1 << self.config.addr_bits)
        space.register_region(self.memory, 0)
        space.register_region(Broken(MEMORY), BROKEN)
        self.slave = AxiSlaveWrite(AxiWriteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst, target=space)
        self.slave.log.setLevel("ERROR")
        if stalls:
            for channel in (self.slave.aw_channel, self.slave.w_channel, self.slave.b_channel):
                channel.set_pause_generator(self.tb.rng.random() < stalls for _ in iter(int, 1))

    def check(self):
        assert bytes(self.memory.mem) == bytes(self.wanted)


async def write(dut, seed, stalls, bursts):
    """All that `bursts(system)` gives is in memory at the end."""
    system = System(dut, seed, stalls)
    tb = system.tb
    commands, beats = tb.source("command", stalls), tb.source("data", stalls)
    await tb.reset()
    for command, packed in bursts(system):
        commands.send([command])
        beats.send(packed)
    await commands.drain()
    await beats.drain()
    await system.settle()
    system.check()
    assert not dut.error.value


def random_bursts(system):
    return (system.random_burst(0, MEMORY, 600) for _ in range(30))


def lengths_and_places(system):
    """A beat, fewer than the longest burst of AXI4, as many, and more; from every place in 4 KiB."""
    longest = axi.MAX_BURST
    return (system.burst(place, count) for count in (1, 3, longest, longest + 1)
            for place in (0, 2048, 4096 - system.config.bus_bytes))


@cocotb.test()
async def writes_under_stalls(dut):
    await write(dut, 1, 0.3, random_bursts)


@cocotb.test()
async def writes_without_stalls(dut):
    await write(dut, 2, 0.0, random_bursts)


@cocotb.test()
async def writes_of_every_length(dut):
    await write(dut, 8, 0.0, lengths_and_places)


@cocotb.test()
async def errors(dut):
    system = System(dut, 3, 0.2)
    tb = system.tb
    commands, beats = tb.source("command", 0.2), tb.source("data", 0.2)
    await tb.reset()
    for address in (0x100, BROKEN + 0x2000, 0x300, BROKEN + 0x4000, 0x500):
        command, packed = system.burst(address, 3)
        if address >= BROKEN:
            packed = [packed[0] | (1 << 8 * system.config.bus_bytes)] + packed[1:]  # some byte is written
        commands.send([command])
        beats.send(packed)
    await commands.drain()
    await beats.drain()
    await system.settle()
    system.check()
    assert (harness.peek(dut.error), harness.peek(dut.error_address), harness.peek(dut.error_resp)) == (
        1, BROKEN + 0x2000, axi.Resp.SLVERR.value)
    dut.clear.value = 1
    await tb.wait(1)
    dut.clear.value = 0
    await tb.wait(2)
    assert not dut.error.value


@cocotb.test()
async def full_throughput(dut):
    """A beat a cycle over burst boundaries and commands, with responses 20 cycles late."""
    config = get_config(harness.parameters()["config"])
    tb = harness.Bench(dut, 4)
    commands, beats = tb.source("command"), tb.source("data")
    await tb.reset()
    dut.bus__awready.value = 1
    dut.bus__wready.value = 1
    lengths, done, moved, cycle = [], [], [], 0

    async def memory():
        nonlocal cycle
        while True:
            await RisingEdge(dut.clk)
            cycle += 1
            if harness.peek(dut.bus__awvalid):
                address, length = harness.peek(dut.bus__awaddr), harness.peek(dut.bus__awlen) + 1
                assert address % 4096 + length * config.bus_bytes <= 4096
                lengths.append(length)
            if harness.peek(dut.bus__wvalid):
                moved.append(cycle)
                if harness.peek(dut.bus__wlast):
                    done.append(cycle + 20)
            ready = bool(done) and done[0] <= cycle
            if ready:
                done.pop(0)
            dut.bus__bvalid.value = int(ready)

    cocotb.start_soon(memory())
    for address, count in ((4096 - 4 * config.bus_bytes, 1000), (0, 700), (64 * 4096, 300)):
        commands.send([harness.pack(write_command_layout(config), {"address": address, "beats": count})])
    beats.send(range(2000))
    await beats.drain()
    await tb.wait(30)
    assert moved == list(range(moved[0], moved[0] + 2000))
    assert sum(lengths) == 2000 and dut.idle.value


def bursts_of(config, address, beats):
    """(address, beats) of a command's bursts, one after the other."""
    size = config.bus_bytes
    while beats:
        burst = min(beats, axi.MAX_BURST, (axi.BOUNDARY - address % axi.BOUNDARY) // size)
        yield address, burst
        address, beats = (address + burst * size) % (1 << config.addr_bits), beats - burst


class Answers:
    """A memory that keeps nothing, and answers as it likes; it knows what the writer shows in every cycle."""

    def __init__(self, dut, bench, stalls):
        self.dut, self.rng, self.stalls = dut, bench.rng, stalls
        self.config = get_config(harness.parameters()["config"])
        self.bursts, self.beats, self.open, self.last = [], [], [], 0
        self.commanded = self.answered = 0  # bursts
        self.error, self.withheld = None, False
        cocotb.start_soon(self._run())

    def _moves(self, channel):
        return all(harness.peek(getattr(self.dut, f"{channel}{end}")) for end in ("valid", "ready"))

    async def _run(self):
        dut, rng = self.dut, self.rng
        while True:
            await RisingEdge(dut.clk)
            if harness.peek(dut.rst):
                continue
            shown = (harness.peek(dut.error_address), harness.peek(dut.error_kind), harness.peek(dut.error_resp))
            assert (shown if harness.peek(dut.error) else None) == self.error
            assert harness.peek(dut.idle) == (self.answered == self.commanded) and harness.peek(dut.bus__bready)
            if self._moves("bus__b"):
                address, response = self.open[self.answered][0], harness.peek(dut.bus__bresp)
                if response and self.error is None:
                    kind = axi.ErrorKind.WINDOW if harness.peek(dut.bus__brefused) else axi.ErrorKind.RESPONSE
                    self.error = (address, kind.value, response)
                self.answered += 1
            if harness.peek(dut.clear):
                self.error = None
            if self._moves("command__"):
                command = harness.unpack(write_command_layout(self.config), harness.peek(dut.command__payload))
                self.commanded += len(list(bursts_of(self.config, command["address"], command["beats"])))
            if self._moves("bus__aw"):
                self.bursts.append((harness.peek(dut.bus__awaddr), harness.peek(dut.bus__awlen) + 1))
            if self._moves("bus__w"):
                self.beats.append(harness.peek(dut.bus__wdata) | harness.peek(dut.bus__wstrb) << self.config.bus_bits)
                self.last += 1
                if harness.peek(dut.bus__wlast):
                    self.open.append((self.bursts[len(self.open)][0] if len(self.bursts) > len(self.open)
                                      else harness.peek(dut.bus__awaddr), self.last))
                    self.last = 0
            may = min(len(self.open), len(self.bursts)) > self.answered and not self.withheld
            dut.bus__bvalid.value = int(may and rng.random() >= self.stalls)
            dut.bus__bresp.value, dut.bus__brefused.value = rng.choice([0, 0, 1, 2, 3]), rng.getrandbits(1)
            dut.bus__awready.value = int(rng.random() >= self.stalls)
            dut.bus__wready.value = int(rng.random() >= self.stalls)
            dut.clear.value = int(rng.random() < 0.05)


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.4])
async def everywhere(dut, stalls):
    """Bursts at every address, each bit alone and carries into each; what is idle, and what failed first."""
    tb = harness.Bench(dut, 7)
    rng = tb.rng
    commands, beats = tb.source("command", stalls / 2), tb.source("data", stalls / 2)
    memory = Answers(dut, tb, stalls)
    config, size, bits = memory.config, memory.config.bus_bytes, memory.config.addr_bits
    await tb.reset()
    sent = []
    for bit in range(size.bit_length() - 1, bits):
        sent.append(((1 << bit) - size * rng.randrange(min(40, (1 << bit) // size + 1)), rng.randrange(1, 90)))
        sent.append((rng.getrandbits(bits - 16) << 16 | rng.randrange(1 << 16) & -size, rng.choice([1, 2, 30, 700])))
    sent = [(address, count) for address, count in sent if address + count * size <= 1 << bits]
    wanted = [burst for command in sent for burst in bursts_of(config, *command)]
    for address, count in sent:
        commands.send([harness.pack(write_command_layout(config), {"address": address, "beats": count})])
    data = [rng.getrandbits(write_data_layout(config).size) for _ in range(sum(count for _, count in sent))]
    beats.send(data)
    await beats.drain()
    while memory.answered < len(wanted):
        await tb.wait(1)
    await tb.wait(3)
    assert memory.bursts == wanted and memory.beats == data
    assert [count for _, count in memory.open] == [count for _, count in wanted]


@cocotb.test()
async def long_commands(dut):
    """The addresses of commands too long to be written here: as many as may wait for an answer, whatever is to come."""
    config = get_config(harness.parameters()["config"])
    tb = harness.Bench(dut, 9)
    commands = tb.source("command")
    dut.bus__awready.value = 1
    for bit in range(WRITE_BEATS_BITS):
        for beats in {1 << bit, (1 << bit) + 5, (1 << WRITE_BEATS_BITS) - (1 << bit)}:
            await tb.reset()
            address = axi.BOUNDARY - 5 * config.bus_bytes
            commands.send([harness.pack(write_command_layout(config), {"address": address, "beats": beats})])
            wanted = list(islice(bursts_of(config, address, beats), StreamWriter.OUTSTANDING))
            got = []
            for _ in range(2 * len(wanted) + 8):
                await RisingEdge(dut.clk)
                if harness.peek(dut.bus__awvalid):
                    got.append((harness.peek(dut.bus__awaddr), harness.peek(dut.bus__awlen) + 1))
            assert got == wanted and not harness.peek(dut.idle)


@cocotb.test()
async def outstanding(dut):
    """So many bursts without an answer, and one more for each answer."""
    tb = harness.Bench(dut, 8)
    commands, beats = tb.source("command"), tb.source("data")
    memory = Answers(dut, tb, 0.0)
    await tb.reset()
    count = 3 * StreamWriter.OUTSTANDING
    for number in range(count):
        commands.send([harness.pack(write_command_layout(memory.config), {
            "address": number * memory.config.bus_bytes, "beats": 1})])
    beats.send(range(count))
    memory.withheld = True
    for answers in range(3):
        await tb.wait(60)
        assert len(memory.bursts) == len(memory.open) == StreamWriter.OUTSTANDING + answers
        memory.withheld = False
        await tb.wait(1)
        memory.withheld = True
    memory.withheld = False
    await tb.wait(200)
    assert memory.answered == count


class Shared(wiring.Component):
    """A logits dump and a user from outside, on one writer."""

    def __init__(self, config):
        self.config = config
        self.dump = LogitsDump(config)
        self.writer = StreamWriter(config)
        super().__init__({
            "sampling": In(Sampling(config)), "i": In(stream.Signature(copy_layout(config))),
            "command": In(stream.Signature(write_command_layout(config))),
            "data": In(stream.Signature(write_data_layout(config))),
            "bus": Out(axi.guarded_write_signature(config)), "idle": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dump = dump = self.dump
        m.submodules.writer = writer = self.writer
        m.submodules.arbiter = arbiter = WriteArbiter(self.config)
        m.d.comb += dump.sampling.eq(self.sampling)
        connect(m, flipped(self.i), dump.i)
        connect(m, flipped(self.command), arbiter.command0)
        connect(m, flipped(self.data), arbiter.data0)
        connect(m, dump.command, arbiter.command1)
        connect(m, dump.data, arbiter.data1)
        connect(m, arbiter.command, writer.command)
        connect(m, arbiter.data, writer.data)
        connect(m, writer.bus, flipped(self.bus))
        m.d.comb += [self.idle.eq(writer.idle & ~dump.busy), self.busy.eq(dump.busy)]
        return m


async def dumps(dut, seed, stalls):
    system = System(dut, seed, stalls)
    tb, config = system.tb, system.config
    commands, beats = tb.source("command", stalls), tb.source("data", stalls)
    words = tb.source("i", stalls)
    await tb.reset()
    for _ in range(20):
        command, packed = system.random_burst(0, MEMORY // 2, 50)
        commands.send([command])
        beats.send(packed)
    address = MEMORY // 2
    for count in (1, 2, 3, 64, 65, 333, 1000):
        values = tb.np_rng.integers(0, 1 << 32, count, dtype=np.uint32)
        system.wanted[address:address + 4 * count] = values.tobytes()
        dut.sampling.value = harness.pack(Sampling(config), [{"logits": address}])
        words.send([*values[:-1].tolist(), int(values[-1]) | 1 << 32])
        await words.drain()
        address += -(-4 * count // config.bus_bytes) * config.bus_bytes
    for source in (commands, beats):
        await source.drain()
    await tb.wait(2)
    await system.settle()
    system.check()
    return words


@cocotb.test()
async def shared_under_stalls(dut):
    await dumps(dut, 5, 0.3)


@cocotb.test()
async def shared_without_stalls(dut):
    await dumps(dut, 6, 0.0)


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_writer(sim, config):
    harness.run(StreamWriter(get_config(config)), __name__, sim=sim, parameters={"config": config},
                testcase=["writes_under_stalls", "writes_without_stalls", "lengths_and_places", "errors",
                          "full_throughput", "everywhere/stalls=0.0", "everywhere/stalls=0.4", "long_commands",
                          "outstanding"])


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_shared(sim, config):
    harness.run(Shared(get_config(config)), __name__, sim=sim, parameters={"config": config},
                testcase=["shared_under_stalls", "shared_without_stalls"])
