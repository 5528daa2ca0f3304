"""rtl/scoville/array/array.py: random tasks against the model bit for bit, and an item every `block_cycles` cycles."""

from dataclasses import replace
from itertools import product

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import ReadOnly, RisingEdge
from scoville.array.array import DotArray, array_task
from scoville.array.drain import drain_row
from scoville.array.lane import Latencies
from scoville.array.operand import OperandBuffer, credit_bits, operand_depth, operand_write
from scoville.config import ChipConfig, get_config
from scoville.numerics import block
from scoville.weights.decoder import weight_block
from test_dot_unit import random_integers, random_scales, scale_fields

# rows = 8 with whole blocks: the accumulator is forwarded; slices of eight with wide activations, also
# in multipliers with all their registers
TIGHT = ChipConfig(name="tight", bus_bytes=16, rows=8, lanes=1, operand_blocks=16, max_head_blocks=2)
ODD = ChipConfig(name="odd", bus_bytes=16, rows=1, lanes=2, dot_width=8, act_bits=12, operand_blocks=16,
                 max_head_blocks=1)
STAGED = replace(ODD, name="staged", product_stages=3)
# Items that follow each other in the next cycle, each used for two tokens a lane
PAIRED = replace(TIGHT, name="paired", phases=2)
CONFIGS = {config.name: config for config in (
    get_config("nano"), get_config("duo"), get_config("slim"), get_config("kria"), TIGHT, ODD, STAGED, PAIRED)}
UNDER_ICARUS = ["full_throughput", "long_task", "phases_share_the_weights", "blocked_drain"]
STATUS = ("issue", "no_task", "no_weights", "no_operands", "drain_full")
FLAGS = (*STATUS, "begin", "busy")


class Top(wiring.Component):
    """The array with its operand buffer."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "write": In(stream.Signature(operand_write(config))),
            "task": In(stream.Signature(array_task(config))),
            "weights": In(stream.Signature(weight_block(config))),
            "o": Out(stream.Signature(drain_row(config))),
            "credit": In(credit_bits(config)), **{name: Out(1) for name in FLAGS},
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.operands = operands = OperandBuffer(self.config)
        m.submodules.array = array = DotArray(self.config)
        for name in ("task", "weights"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(array, name))
        wiring.connect(m, array.o, wiring.flipped(self.o))
        m.d.comb += [
            self.write.ready.eq(1),
            operands.write.valid.eq(self.write.valid),
            operands.write.payload.eq(self.write.payload),
            operands.address.eq(array.operand_address),
            array.operand_blocks.eq(operands.blocks),
            array.credit.eq(self.credit),
        ]
        m.d.comb += [getattr(self, name).eq(getattr(array, name)) for name in FLAGS]
        return m


class Run:
    """An array under test with operands in its buffer, and the accumulators that it should have."""

    def __init__(self, dut, seed, stalls):
        self.config = CONFIGS[harness.parameters()]
        self.dut, self.tb, self.stalls = dut, harness.Bench(dut, seed), stalls
        self.rng = self.tb.np_rng
        self.write, self.task, self.weights = (self.tb.source(name) for name in ("write", "task", "weights"))
        self.sink = self.tb.sink("o")
        self.acc = np.zeros((self.config.phases, self.config.max_head_blocks, 32, self.config.lanes), np.float32)
        self.expected = []
        self.totals = [(0, 0)]  # items that the tasks up to each take, and rows that they give
        self.counts = dict.fromkeys(STATUS, 0)

    async def start(self):
        config = self.config
        await self.tb.reset()
        depth, lanes = operand_depth(config), config.lanes
        shape = (config.phases, depth, lanes)
        x = self.rng.standard_normal((*shape, 32)) * 2.0 ** self.rng.integers(-6, 6, (*shape, 1))
        self.q, self.e8, self.sums = block.model.quantise(x.astype(np.float32), config.act_bits)
        self.write.send([harness.pack(operand_write(config), {
            "bank": place[2], "address": place[1], "phase": place[0],
            "block": {"q": self.q[place], "e8": self.e8[place], "sum": self.sums[place]}})
            for place in np.ndindex(shape)])
        await self.write.drain()
        for agent in (self.task, self.weights, self.sink):
            agent.stalls = self.stalls
        cocotb.start_soon(self.watch())

    async def watch(self):
        """Exactly one status a cycle, one beginning a task, and busy until a task's items and rows are over."""
        accepted = begun = items = rows = 0
        while True:
            await RisingEdge(self.dut.clk)
            high = [name for name in STATUS if harness.peek(getattr(self.dut, name))]
            assert len(high) == 1, high
            self.counts[high[0]] += 1
            assert high[0] != "no_task" or items == self.totals[begun][0]
            assert harness.peek(self.dut.busy) or (items, rows) == self.totals[accepted]
            items += harness.moves(self.dut, "weights")
            rows += harness.moves(self.dut, "o")
            assert items <= self.totals[begun][0], "an item belongs to a task that has begun"
            if harness.peek(self.dut.begin):
                assert begun < accepted and items == self.totals[begun][0], "a task begins behind the one before"
                begun += 1
            accepted += harness.moves(self.dut, "task")

    def add(self, *, kblocks, tile, clear, rescale=0, drain=1, tag=0, phases=None, need=None):
        """Queue a task with random weights and shifts, and work out what it gives."""
        config, rng = self.config, self.rng
        first, last = phases or sorted(rng.integers(0, config.phases, 2).tolist())
        address = int(rng.integers(0, operand_depth(config) - kblocks + 1))
        shift = np.where(rng.random(config.seats) < 0.2, 255, rng.integers(0, 30, config.seats))
        codes = rng.integers(-128, 128, (kblocks, 32, 32), dtype=np.int8)
        scales, minimums = random_scales(rng, (kblocks, 32)), random_scales(rng, (kblocks, 32))
        has_minimum = rng.integers(0, 2)
        integers, least = (each.reshape(kblocks, 32, *each.shape[1:]) for each in random_integers(rng, kblocks * 32))
        if not config.k_quants:
            integers[:], least[:] = 1, 1
        self.task.send([harness.pack(array_task(config), {
            "address": address, "kblocks": kblocks, "tile": tile, "clear": clear, "rescale": rescale, "drain": drain,
            "tag": tag, "shift": shift, "first_phase": first, "last_phase": last,
            "guard": need is not None, "need": (need or 0) % (1 << credit_bits(config))})])
        rows = config.rows
        self.weights.send([harness.pack(weight_block(config), {
            "codes": codes[k, row:row + rows].reshape(-1), "has_minimum": has_minimum,
            "scale": [scale_fields(bits) for bits in scales[k, row:row + rows]],
            "minimum": [scale_fields(bits) for bits in minimums[k, row:row + rows]],
        } | ({"integers": integers[k, row:row + rows], "minimum_integers": least[k, row:row + rows]}
             if config.k_quants else {}))
            for k in range(kblocks) for row in range(0, 32, rows)])
        items, left = self.totals[-1]
        self.totals.append((items + kblocks * config.interleave, left + 32 * drain * (last - first + 1)))
        span = slice(address, address + kblocks)
        for phase in range(first, last + 1):
            acc, operands = self.acc[phase], (each[phase, span] for each in (self.q, self.e8, self.sums))
            acc[tile] = DotArray.model(
                (codes * np.repeat(integers, 16, axis=2)).astype(np.float64), block.model.scale_fp16(scales),
                block.model.scale_fp16(minimums) * least.astype(np.float32) if has_minimum else None,
                *operands, None if clear else acc[tile],
                shift[phase * config.lanes:(phase + 1) * config.lanes] if rescale else None)
            if drain:
                self.expected += [(row, phase, tag, values.tolist()) for row, values in
                                  enumerate(acc[tile].view(np.uint32))]

    async def check(self):
        received = [harness.unpack(drain_row(self.config), packed)
                    for packed in await self.sink.receive(len(self.expected))]
        for got, want in zip(received, self.expected, strict=True):
            assert (got["row"], got["phase"], got["tag"], got["values"]) == want
        await RisingEdge(self.dut.clk)
        await ReadOnly()
        assert self.weights.idle and self.task.idle and not harness.peek(self.dut.busy)


@cocotb.test()
async def random_tasks(dut):
    run = Run(dut, 1, 0.3)
    await run.start()
    rng, tiles = run.tb.rng, run.config.max_head_blocks
    for tile in range(tiles):
        run.add(kblocks=rng.randint(1, 3), tile=tile, clear=1, phases=(0, run.config.phases - 1))
    for _ in range(12):
        run.add(kblocks=rng.choice([1, 1, 2, 5]), tile=rng.randrange(tiles), clear=rng.getrandbits(1),
                rescale=rng.getrandbits(1), drain=rng.getrandbits(1), tag=rng.getrandbits(1))
    for kblocks, (clear, rescale), drain, tag in product((1, 2), ((0, 0), (0, 1), (1, 0)), (0, 1), (0, 1)):
        run.add(kblocks=kblocks, tile=0, clear=clear, rescale=rescale, drain=drain, tag=tag & drain)
    run.add(kblocks=1, tile=0, clear=0, rescale=1)
    assert run.tb.cycle and not harness.peek(dut.issue)
    await run.check()


@cocotb.test()
async def full_throughput(dut):
    run = Run(dut, 2, 0.0)
    await run.start()
    config = run.config
    blocks = max(1, -(-32 // (config.interleave * config.block_cycles)))  # a tile takes as long as its rows to leave
    dut.credit.value = 5 * blocks + 2  # all operands are there, so that no guard holds up a task
    await run.tb.wait(1)
    dut.credit.value = 0
    for task in range(4):
        run.add(phases=(0, 0), kblocks=blocks, tile=0, clear=1, need=task * blocks)
    for task in range(2):  # the accumulators come round as soon as they can
        run.add(phases=(0, 0), kblocks=1, tile=0, clear=0, rescale=1, drain=0, need=4 * blocks + task)
    run.add(phases=(0, 0), kblocks=blocks, tile=0, clear=0, need=4 * blocks + 2)
    await run.check()
    items = (5 * blocks + 2) * config.interleave
    cycles = run.weights.cycles
    assert len(cycles) == items
    assert cycles[-1] - cycles[0] == (items - 1) * config.block_cycles
    assert run.counts["issue"] == items * config.block_cycles
    assert run.counts["drain_full"] == run.counts["no_weights"] == run.counts["no_operands"] == 0
    # The first row of the last tile leaves a latency after its item; then a row a cycle, but none before it is there.
    first = cycles[-config.interleave] + Latencies(config).result + config.block_cycles + 2
    last = max(first + 31, first + (config.interleave - 1) * config.block_cycles + config.rows - 1)
    assert run.sink.cycles[-1] == last


@cocotb.test()
async def guarded(dut):
    """Each k-block of a guarded task waits for its operand block; unguarded ones behind it, for nothing more. Blocks
    that others read are written in between, as many as two instructions', so that the counters wrap. Operands that have
    been there for long are so many ahead that every bit of that counts by itself."""
    run = Run(dut, 5, 0.0)
    await run.start()
    config, rng = run.config, run.tb.rng
    written, others = 0, 2 * config.operand_blocks

    async def write(more):
        nonlocal written
        dut.credit.value = more
        await run.tb.wait(1)
        dut.credit.value = 0
        written += more

    tasks = [(kblocks, rng.choice([0, rng.randint(1, others)])) for kblocks in (3, 1, 4, 2) * 6]
    tasks += [(3, -(1 << bit) - more) for bit in range(others.bit_length()) for more in (0, 1)]
    for kblocks, ahead in rng.sample(tasks, len(tasks)):
        mark = len(run.weights.cycles)
        need = written + ahead
        run.add(kblocks=kblocks, tile=0, clear=1, need=need)
        run.add(kblocks=1, tile=0, clear=1)
        while written < need + kblocks:
            await run.tb.wait(rng.choice([1, 2, 40]))
            taken = len(run.weights.cycles) - mark
            assert taken <= max(0, written - need) * config.interleave
            away = max(0, need - written)
            await write(rng.choice([away, rng.randint(1, away)]) if away else
                        rng.randint(1, min(3, need + kblocks - written)))
        await run.weights.drain()
    assert run.counts["no_operands"] and written >> credit_bits(config)
    await run.check()


@cocotb.test()
async def long_task(dut):
    """Tasks of as many k-blocks as there are operands, and of three quarters of them."""
    run = Run(dut, 6, 0.0)
    await run.start()
    depth = operand_depth(run.config)
    run.add(kblocks=depth, tile=0, clear=1, phases=(0, 0))
    run.add(kblocks=depth * 3 // 4 + 3, tile=0, clear=0, rescale=1, phases=(0, 0))
    await run.check()


@cocotb.test()
async def phases_share_the_weights(dut):
    """A weight is taken once and used a cycle (or its slices) for each phase."""
    run = Run(dut, 4, 0.0)
    await run.start()
    config = run.config
    for _ in range(4):
        run.add(kblocks=8, tile=0, clear=1, phases=(0, config.phases - 1))
    await run.check()
    items = 4 * 8 * config.interleave
    assert len(run.weights.cycles) == items
    assert run.weights.cycles[-1] - run.weights.cycles[0] == (items - 1) * config.phases * config.block_cycles
    assert run.counts["issue"] == items * config.phases * config.block_cycles


@cocotb.test()
async def blocked_drain(dut):
    run = Run(dut, 3, 0.0)
    await run.start()
    run.sink.stalls = 1.0
    for _ in range(2):  # the second two find the drain full, and no task before them
        for _ in range(2):
            run.add(phases=(0, 0), kblocks=1, tile=0, clear=1)
        await run.tb.wait(300 * run.config.block_cycles)
    assert run.counts["issue"] == 2 * run.config.interleave * run.config.block_cycles
    assert run.counts["drain_full"] > 100 and harness.peek(dut.busy)
    run.sink.stalls = 0.0
    await run.check()


def test_array_paired(sim):
    """All that steers the array is at work here; `nano` takes two cycles an item, and has one token a lane."""
    harness.run(lambda: Top(PAIRED), __name__, sim=sim, parameters=PAIRED.name,
                testcase=UNDER_ICARUS if sim == "icarus" else None)  # the others take minutes there


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != PAIRED.name])
def test_array(sim, name):
    harness.run(lambda: Top(CONFIGS[name]), __name__, sim=sim, parameters=name)
