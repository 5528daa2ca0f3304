"""The vector unit: every destination, read back through its port; embedding rows; one beat and one word a cycle."""

import cocotb
import harness
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, Timer
from programs import with_slots
from rows import floats, to_ints
from scoville.config import BLOCK
from scoville.epilogue.vectors import READ_LATENCY, VectorDest, VectorUnit, rope_port, vector_command
from scoville.isa import Element

MANY = {"verilator": (1 << 15) + 5, "icarus": 5000}  # beats


class System:
    """A vector unit with its streams and read ports."""

    def __init__(self, dut, seed, stalls):
        self.config = with_slots(harness.parameters()[0])
        self.several = self.config.slots > 1
        self.dut = dut
        self.tb = tb = harness.Bench(dut, seed)
        self.command, self.vector = tb.source("command", stalls), tb.source("vector", stalls)
        self.embed = tb.sink("embed", stalls)

    def send(self, data, dest, **fields):
        """Bytes, padded with rubbish to whole beats."""
        size = self.config.bus_bytes
        data += self.tb.rng.randbytes(-len(data) % size)
        beats = [int.from_bytes(data[at:at + size], "little") for at in range(0, len(data), size)]
        fields |= {"dest": dest.value, "beats": len(beats)}
        self.command.send([harness.pack(vector_command(self.config), fields)])
        self.vector.send(beats)

    def send_rows(self, rows, **fields):
        """Embedding rows of lanes 0, 1 …, of a phase."""
        phase = self.tb.rng.randrange(self.config.phases) * self.config.lanes
        for lane, row in enumerate(rows):
            closes = {"closes": lane == len(rows) - 1} if self.several else {}
            self.send(row, VectorDest.EMBED, seat=phase + lane, **fields, **closes)

    async def receive_rows(self, count, lanes):
        """int[count, lanes], the words of those lanes."""
        words = await self.embed.receive(count)
        return [[word >> 32 * lane & 0xFFFFFFFF for lane in range(lanes)] for word in words]

    async def idle(self):
        await self.vector.drain()
        while harness.peek(self.dut.busy) or not self.command.idle:
            await self.tb.wait(1)

    async def read(self, name, addresses):
        """The port's words, one address a cycle."""
        address, data = getattr(self.dut, f"{name}__address"), getattr(self.dut, f"{name}__data")
        getattr(self.dut, f"{name}__enable").value = 1
        words = []
        for cycle in range(len(addresses) + READ_LATENCY + 1):
            if cycle > READ_LATENCY:
                words.append(int(data.value))
            if cycle < len(addresses):
                address.value = addresses[cycle]
            await self.tb.wait(1)
        return words


async def load_and_read(dut, seed, stalls):
    system = System(dut, seed, stalls)
    config, rng = system.config, system.tb.np_rng
    await system.tb.reset()
    for _ in range(2):
        bias, weight = (floats(rng, rng.integers(20, 200)) for _ in range(2))
        pairs = config.max_head_blocks * BLOCK // 2
        rope = [floats(rng, 2 * pairs) for _ in range(config.seats)]
        system.send(bias.tobytes(), VectorDest.BIAS)
        for seat, table in enumerate(rope):
            system.send(table.tobytes(), VectorDest.ROPE, seat=seat)
        system.send(weight.tobytes(), VectorDest.NORM)
        await system.idle()
        for name, expected in (("bias", bias), ("norm", weight)):
            order = rng.permutation(len(expected))
            assert await system.read(name, order.tolist()) == to_ints(expected[order])
        address = rope_port(config).members["address"].shape
        for phase in range(config.phases):
            places = [harness.pack(address, {"pair": pair, "phase": phase}) for pair in range(pairs)]
            tables = rope[phase * config.lanes:(phase + 1) * config.lanes]
            assert await system.read("rope", places) == to_ints(
                np.stack([table.reshape(-1, 2) for table in tables], 1).reshape(pairs, -1))


@cocotb.test()
async def under_stalls(dut):
    await load_and_read(dut, 1, 0.3)


@cocotb.test()
async def without_stalls(dut):
    await load_and_read(dut, 2, 0.0)


@cocotb.test()
async def disabled_port_holds(dut):
    system = System(dut, 3, 0.0)
    await system.tb.reset()
    system.send(np.arange(1, 65, dtype=np.float32).tobytes(), VectorDest.BIAS)
    await system.idle()
    held, = await system.read("bias", [5])
    dut.bias__enable.value = 0
    dut.bias__address.value = 40
    await system.tb.wait(4)
    assert harness.peek(dut.bias__data) == held


@cocotb.test()
async def table(dut):
    system = System(dut, 4, 0.3)
    await system.tb.reset()
    for _ in range(3):
        codes = system.tb.rng.randbytes(16)
        system.send(codes, VectorDest.TABLE)
        while not harness.peek(dut.table_en):
            await system.tb.wait(1)
        assert harness.peek(dut.table_data).to_bytes(16, "little") == codes
        await system.idle()


@cocotb.test()
async def embedding_rows(dut):
    system = System(dut, 5, 0.3)
    rng = system.tb.np_rng
    await system.tb.reset()
    count = 0
    for element in (Element.FP32, Element.BF16, Element.BF16, Element.FP32):
        words = int(rng.integers(1, 100))
        lanes = int(rng.integers(1, system.config.lanes + 1)) if system.several else 1
        rows = [rng.bytes(words * (4 if element == Element.FP32 else 2)) for _ in range(lanes)]
        padding = rng.bytes(int(rng.integers(0, 5)) * system.config.bus_bytes)  # it is dropped
        system.send_rows([row + padding for row in rows], words=words, element=element.value)
        expected = [VectorUnit.model_embed(row, words, element).view(np.uint32) for row in rows]
        assert await system.receive_rows(words, lanes) == np.stack(expected, 1).tolist()
        count += words
    await system.idle()
    assert len(system.embed.received) == count


@cocotb.test()
async def rows_wait(dut):
    """With more slots than one: rows that are read are not written over, nor are their words lost to a slow chain."""
    system = System(dut, 9, 0.0)
    await system.tb.reset()
    if not system.several:
        return
    system.embed.stalls = 0.8
    lanes = system.config.lanes
    rows = [[system.tb.rng.randbytes(128) for _ in range(lanes)] for _ in range(4)]
    for each in rows:
        system.send_rows(each, words=64, element=Element.BF16.value)
    for each in rows:
        expected = [VectorUnit.model_embed(row, 64, Element.BF16).view(np.uint32) for row in each]
        assert await system.receive_rows(64, lanes) == np.stack(expected, 1).tolist()


@cocotb.test()
async def any_length(dut):
    """Commands of no beats and rows of no words; every power of two of both; `busy` until the last word is taken."""
    system = System(dut, 7, 0.0)
    await system.tb.reset()
    for dest in VectorDest:
        system.command.send([harness.pack(vector_command(system.config), {"dest": dest.value, "words": 5})])
    await system.command.drain()
    await system.tb.wait(1)
    assert not harness.peek(dut.busy) and harness.peek(dut.command__ready)
    beats = 3 * bytes(range(system.config.bus_bytes))
    for element in (Element.FP32, Element.BF16):
        system.send_rows([beats], words=0, element=element.value)
        await system.idle()
    assert not system.embed.received
    for bit in range(0 if system.several else 24):
        await system.tb.reset()
        system.command.send([harness.pack(vector_command(system.config), {
            "dest": VectorDest.EMBED.value, "beats": 1 << bit, "words": 1 << 23 - bit, "element": Element.BF16.value})])
        await system.command.drain()
        await system.tb.wait(1)
        assert harness.peek(dut.busy) and not harness.peek(dut.command__ready)
        system.vector.send([int.from_bytes(beats[:system.config.bus_bytes], "little")])
        assert await system.embed.receive(1) == [0x01000000]
    await system.tb.reset()
    system.embed.stalls = 1.0
    system.send_rows([beats[:4]], words=1, element=Element.FP32.value)
    await system.vector.drain()
    await system.tb.wait(9)
    assert harness.peek(dut.busy) and harness.peek(dut.command__ready)
    system.embed.stalls = 0.0
    assert await system.receive_rows(1, 1) == [[0x03020100]]
    await system.tb.wait(1)
    assert not harness.peek(dut.busy)


@cocotb.test()
async def many_beats(dut):
    """A vector far longer than its memory: what is past its end is dropped, and the command takes all its beats."""
    system = System(dut, 8, 0.0)
    config, many = system.config, MANY[harness.parameters()[1]]
    inside = config.max_hidden * 4 // config.bus_bytes
    await system.tb.reset()
    await FallingEdge(dut.clk)
    dut.command__payload.value = harness.pack(vector_command(config), {"dest": VectorDest.NORM.value, "beats": many})
    dut.command__valid.value = 1
    await FallingEdge(dut.clk)
    dut.command__valid.value, dut.vector__valid.value = 0, 1
    ones = (1 << config.bus_bits) - 1
    dut.vector__payload.value = ones // 3
    await Timer(inside * harness.PERIOD, "ns")
    dut.vector__payload.value = ones // 5
    await Timer((many - inside - 1) * harness.PERIOD, "ns")
    assert harness.peek(dut.vector__ready) and harness.peek(dut.busy)
    await Timer(harness.PERIOD, "ns")
    assert not harness.peek(dut.vector__ready) and not harness.peek(dut.busy)
    dut.vector__valid.value = 0
    assert await system.read("norm", range(config.max_hidden)) == [0x55555555] * config.max_hidden
    if system.several:  # a row longer than its memory is read from it alone
        return
    words = many // 2 + 1
    await FallingEdge(dut.clk)
    dut.command__payload.value = harness.pack(vector_command(config), {
        "dest": VectorDest.EMBED.value, "beats": many, "words": words, "element": Element.FP32.value})
    dut.command__valid.value = dut.embed__ready.value = 1
    await FallingEdge(dut.clk)
    dut.command__valid.value, dut.vector__valid.value = 0, 1
    await Timer(words * harness.PERIOD, "ns")
    assert harness.peek(dut.embed__valid)
    await Timer(harness.PERIOD, "ns")
    assert not harness.peek(dut.embed__valid)
    dut.vector__valid.value = dut.embed__ready.value = 0


@cocotb.test()
async def full_throughput(dut):
    system = System(dut, 6, 0.0)
    await system.tb.reset()
    system.send(np.zeros(128, np.float32).tobytes(), VectorDest.NORM)
    beats = 512 // system.config.bus_bytes
    await system.idle()
    assert system.vector.cycles[-1] - system.vector.cycles[0] == beats - 1
    for element, size in ((Element.FP32, 4), (Element.BF16, 2)):
        first = len(system.embed.cycles)
        system.send_rows([bytes(128 * size)] * (system.config.lanes if system.several else 1), words=128,
                         element=element.value)
        await system.embed.receive(128)
        assert system.embed.cycles[-1] - system.embed.cycles[first] == 127


@pytest.mark.parametrize("config", ["nano", "duo", "slim", "kria", "kria 16", "duo 4", "slim 4"])
def test_vectors(sim, config):
    harness.run(VectorUnit(with_slots(config)), __name__, sim=sim, parameters=(config, sim))
