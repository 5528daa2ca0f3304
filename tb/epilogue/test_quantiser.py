"""The quantiser: blocks against the model, one row a cycle, and the latency of the first block."""

import dataclasses
from collections import deque

import cocotb
import harness
import numpy as np
import pytest
from cocotb.triggers import RisingEdge, Timer
from programs import with_slots
from rows import floats, to_ints
from scoville.config import BLOCK
from scoville.epilogue import quantiser
from scoville.epilogue.quantiser import Quantiser, QuantSource, quantiser_command
from scoville.epilogue.router import quant_info, quantised_block


def build_config(name, act_bits):
    return dataclasses.replace(with_slots(name), act_bits=act_bits)


class System:
    """A quantiser with its streams, and what must come out."""

    def __init__(self, dut, seed, stalls, out_stalls=None):
        self.config = build_config(*harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.command = tb.source("command", stalls)
        self.rows = {source: tb.source(source.name.lower(), stalls) for source in QuantSource}
        self.sink = tb.sink("o", stalls if out_stalls is None else out_stalls)
        self.expected = {source: deque() for source in QuantSource} if self.config.slots > 1 else {None: deque()}
        self.blocks, self.masks = deque(), deque()  # of each command, and of each row of `chain`
        self.dut = dut

    async def start(self):
        await self.tb.reset()
        cocotb.start_soon(self._watch(self.dut))

    async def _watch(self, dut):
        """The mask of every row, and busy: while a command waits or blocks of those before have not left."""
        inside = 0
        while True:
            await RisingEdge(dut.clk)
            assert harness.peek(dut.busy) == (harness.peek(dut.command__valid) or inside > 0), inside
            if harness.moves(dut, "chain"):
                assert harness.peek(dut.mask) == self.masks.popleft()
            inside -= harness.moves(dut, "o")
            if harness.moves(dut, "command"):
                inside += self.blocks.popleft()

    def send(self, blocks, source=QuantSource.CHAIN, mask=None, kv8=0, spread=6, half=0, x=None, one=False):
        rng, config = self.tb.np_rng, self.config
        if x is None:
            x = floats(rng, (BLOCK * blocks, config.seats), spread, special=0.01)
            x[rng.random(len(x)) < 0.05] = 0
            if self.tb.rng.random() < 0.2:
                x[:BLOCK] = 0
        first, last = sorted(self.tb.rng.choices(range(config.phases), k=2))
        if source is QuantSource.SOFTMAX:
            first, half = first if config.slots > 1 else 0, 0
        if one:  # one seat, of the first phase
            first, last, mask = 0, 0, 1 << self.tb.rng.randrange(config.lanes)
        elif mask is None:  # some lanes of each phase
            mask = sum(self.tb.rng.randrange(1, 1 << config.lanes) << phase * config.lanes
                       for phase in range(first, last + 1))
        else:
            first, last = 0, config.phases - 1
        info = self.tb.rng.getrandbits(quant_info(config).size)
        command = {"source": source.value, "blocks": blocks, "mask": mask, "kv8": kv8, "first_phase": first,
                   "last_phase": last, "half": half}
        layout = quantiser_command(config)
        self.command.send([harness.pack(layout, command) | info << layout["info"].offset])
        run = BLOCK // 2 if half else BLOCK
        for at in range(0, len(x), run):
            if source is QuantSource.SOFTMAX:
                self.rows[source].send(to_ints(x[at:at + run]))
                continue
            for phase in range(first, last + 1):
                self.rows[source].send(to_ints(x[at:at + run, phase * config.lanes:(phase + 1) * config.lanes]))
                self.masks.extend([mask >> phase * config.lanes & (1 << config.lanes) - 1] * run)
        self.blocks.append(blocks * mask.bit_count())
        items = quantiser.model(x, mask, 8 if kv8 else config.act_bits)
        expected = self.expected[source if config.slots > 1 else None]
        for lane, index, q, e8, total in items:
            expected.append({
                "lane": lane % config.lanes, "phase": lane // config.lanes, "index": index,
                "lane_last": lane == mask.bit_length() - 1,
                "last": (lane, index) == (mask.bit_length() - 1, blocks - 1),
                "block": {"q": q.tolist(), "e8": e8, "sum": total}, "info": info})

    async def check(self):
        """Blocks of a command in their order; with more slots than one, of either source's next command."""
        layout = quantised_block(self.config)
        for payload in await self.sink.receive(sum(map(len, self.expected.values()))):
            item = harness.unpack(layout, payload)
            item["info"] = payload >> layout["info"].offset
            queue, = (queue for queue in self.expected.values() if queue and queue[0]["info"] == item["info"])
            expected = queue.popleft()
            wrong = {name: (item[name], expected[name]) for name in item if item[name] != expected[name]}
            assert not wrong, f"lane {item['lane']}, block {item['index']}: (is, should be) {wrong}"


@cocotb.test()
async def under_stalls(dut):
    system = System(dut, 1, 0.3)
    await system.start()
    for _ in range(14):
        rng = system.tb.rng
        system.send(rng.randint(1, 4), rng.choice(list(QuantSource)), kv8=rng.randrange(2), half=rng.randrange(2),
                    spread=rng.choice([1, 6, 60]))
    for source in QuantSource:
        system.send(2, source, one=True)
    await system.check()
    await system.tb.wait(2)
    assert not harness.peek(dut.busy)


@cocotb.test()
async def ties(dut):
    """Values halfway between two codes, or one bit off: every bit of a value decides, in every place."""
    system = System(dut, 5, 0.0)
    await system.start()
    rng, config = system.tb.np_rng, system.config
    everyone, bits = (1 << config.seats) - 1, config.act_bits
    for source in (*QuantSource, QuantSource.CHAIN) * 2:
        shape = (BLOCK * 4, config.seats)
        codes = 2 * rng.integers(1 << bits - 3, (1 << bits - 2) - 1, shape) + 0.5
        lowest = np.where(rng.random(shape) < 0.5, 25 - bits, rng.integers(2, 26 - bits, shape))
        x = codes + 2.0 ** -lowest * rng.integers(0, 2, shape)
        x *= rng.choice([-1, 1], shape) * np.repeat(2.0 ** rng.integers(-60, 60, (4, config.seats)), BLOCK, axis=0)
        system.send(4, source, mask=everyone, x=x.astype(np.float32))
        await system.check()


@cocotb.test()
async def slow_receiver(dut):
    system = System(dut, 2, 0.0, out_stalls=0.8)
    await system.start()
    system.send(12)
    await system.check()


@cocotb.test()
async def full_throughput(dut):
    system = System(dut, 3, 0.0)
    await system.start()
    phases, lanes = system.config.phases, system.config.lanes
    everyone = (1 << system.config.seats) - 1
    for source in QuantSource:
        start, first = len(system.rows[source].cycles), len(system.sink.cycles)
        system.send(5, source, mask=everyone)
        system.send(3, source, mask=everyone)
        await system.check()
        rows, blocks = system.rows[source].cycles[start:], system.sink.cycles[first:]
        together = phases if source is QuantSource.SOFTMAX else 1  # blocks of a lane that end with one row
        assert rows[-1] - rows[0] == 8 * phases // together * BLOCK - 1
        groups = BLOCK // max(8, lanes)
        for number in range(8 * phases // together):
            for each in range(lanes * together):
                late = blocks[number * lanes * together + each] - rows[number * BLOCK + BLOCK - 1]
                assert late == 6 + groups * (each + 1)


@cocotb.test()
async def side_by_side(dut):
    """With more slots than one, rows of both sources a cycle each, as long as their blocks leave fast enough."""
    system = System(dut, 8, 0.0)
    await system.start()
    if system.config.slots == 1:
        return
    starts = {source: len(rows.cycles) for source, rows in system.rows.items()}
    for _ in range(4):
        for source in QuantSource:
            system.send(2, source, one=True)
    await system.check()
    spans = [(rows.cycles[starts[source]], rows.cycles[-1]) for source, rows in system.rows.items()]
    assert all(end - begin == 4 * 2 * BLOCK - 1 for begin, end in spans), spans
    assert abs(spans[0][0] - spans[1][0]) <= 1


@cocotb.test()
async def many_blocks(dut):
    """More than 2^7, so that their number has a carry into every bit up to that; rows each twice the one before or as
    large up to the largest, so that every one of the exponents decides."""
    system = System(dut, 6, 0.0)
    await system.start()
    rng, seats, count = system.tb.np_rng, system.config.seats, (1 << 7) + 2
    rise = np.cumsum(rng.integers(0, 2, (count, BLOCK, seats)), axis=1)
    rise = np.where(np.arange(BLOCK)[:, None] <= rng.integers(BLOCK, size=(count, 1, seats)), rise, 0)
    x = (2.0 ** (rise + rng.integers(-100, 60, (count, 1, seats)))).astype(np.float32).reshape(-1, seats)
    one = sum(1 << (phase + 1) * system.config.lanes - 1 for phase in range(system.config.phases))
    system.send(count, QuantSource.SOFTMAX, mask=one, x=x)
    await system.check()


@cocotb.test()
async def long_commands(dut):
    """The first blocks of commands too long to be read here: none is the last, and the command stays."""
    system = System(dut, 7, 0.0)
    layout, config = quantiser_command(system.config), system.config
    seats = (1 << config.seats) - 1
    for bit in range(1, 24):
        await system.tb.reset()
        system.command.send([harness.pack(layout, {
            "source": QuantSource.SOFTMAX.value, "blocks": (1 << bit) + 1, "mask": seats,
            "last_phase": config.phases - 1})])
        system.rows[QuantSource.SOFTMAX].send(to_ints(floats(system.tb.np_rng, (2 * BLOCK, config.seats))))
        for payload in await system.sink.receive(2 * config.seats):
            assert not harness.unpack(quantised_block(config), payload)["last"], bit
        assert harness.peek(dut.busy) and len(system.command.accepted) == (config.slots > 1)


@cocotb.test()
async def busy(dut):
    """From the cycle in which a command is offered until its last block has left."""
    system = System(dut, 4, 0.0)
    await system.start()
    assert not harness.peek(dut.busy)
    dut.command__valid.value = 1
    await Timer(1, "ns")
    assert harness.peek(dut.busy)
    dut.command__valid.value = 0
    await Timer(1, "ns")
    assert not harness.peek(dut.busy)


@pytest.mark.parametrize("name, act_bits", [("duo", 8), ("slim", 8), ("kria", 10), ("duo 4", 8), ("kria 16", 10)])
def test_quantiser(sim, name, act_bits):
    harness.run(Quantiser(build_config(name, act_bits)), __name__, sim=sim, parameters=[name, act_bits])
