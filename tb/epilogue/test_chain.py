"""The chain with its vector unit: every mixture of stages against the model, and the promised rates and latencies."""

from collections import deque

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from programs import with_slots
from rows import assert_same, floats, to_floats, to_ints
from scoville.array.drain import drain_row
from scoville.config import BLOCK
from scoville.epilogue import chain, norm
from scoville.epilogue.chain import Chain, LaneScale, chain_command
from scoville.epilogue.vectors import VectorDest, VectorUnit, vector_command
from scoville.isa import Element, Mode
from scoville.numerics import fp32

LATENCY = 24  # of a plain row
LARGEST = np.finfo(np.float32).max
NORM_PAUSE = 25  # from the last of 32 rows whose squares are summed to the next


class ChainAndVectors(wiring.Component):
    """What a core holds of the two."""

    def __init__(self, config):
        self.config = config
        values = data.ArrayLayout(32, config.lanes)
        super().__init__({
            "command": In(stream.Signature(chain_command(config))),
            "vectors": In(stream.Signature(vector_command(config))),
            "beats": In(stream.Signature(config.bus_bits)),
            "i": In(stream.Signature(drain_row(config))),
            "factor": In(stream.Signature(data.ArrayLayout(32, config.seats))),
            "o": Out(stream.Signature(values)),
            "logits": Out(stream.Signature(values)),
            "busy": Out(1),
            "clipped": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.chain = unit = Chain(self.config)
        m.submodules.vectors = vectors = VectorUnit(self.config)
        for port in ("bias", "norm", "rope", "embed"):
            connect(m, getattr(unit, port), getattr(vectors, port))
        for port in ("command", "i", "factor", "o", "logits"):
            connect(m, flipped(getattr(self, port)), getattr(unit, port))
        connect(m, flipped(self.vectors), vectors.command)
        connect(m, flipped(self.beats), vectors.vector)
        m.d.comb += [self.busy.eq(unit.busy | vectors.busy), self.clipped.eq(unit.clipped)]
        return m


class System:
    """The unit with its streams, its tables, and a shadow of its state."""

    def __init__(self, dut, seed, stalls):
        self.config = config = with_slots(harness.parameters())
        self.dut = dut
        self.tb = tb = harness.Bench(dut, seed)
        self.command, self.vectors, self.beats, self.rows, self.factor = (
            tb.source(name, stalls) for name in ("command", "vectors", "beats", "i", "factor"))
        self.sinks = {"o": tb.sink("o", stalls), "logits": tb.sink("logits", stalls)}
        self.expected = {"o": [], "logits": []}
        self.clips = deque()  # of the array's rows
        self.leaves = {name: 0 for name in self.sinks}  # rows that leave by an output of all commands so far
        self.inside = deque()  # what `leaves` is with each command
        self.residual = np.zeros((config.max_hidden, config.seats), np.float32)
        self.rms = np.zeros(config.seats, np.float32)

    def load(self, values, dest, **fields):
        raw = values.tobytes() if isinstance(values, np.ndarray) else values
        size = self.config.bus_bytes
        raw += bytes(-len(raw) % size)
        beats = [int.from_bytes(raw[at:at + size], "little") for at in range(0, len(raw), size)]
        self.vectors.send([harness.pack(vector_command(self.config), fields | {
            "dest": dest.value, "beats": len(beats)})])
        self.beats.send(beats)

    def watch(self):
        """Busy until all rows of a command have left; clipped with the rows that are, and no others."""
        left, wanted = self.left
        assert harness.peek(self.dut.busy) or left == wanted
        assert harness.peek(self.dut.clipped) == (self.clips.popleft() if harness.moves(self.dut, "i") else 0)
        for name in left:
            left[name] += harness.moves(self.dut, name)
        if harness.moves(self.dut, "command"):
            self.left = left, self.inside.popleft()

    async def start(self):
        await self.tb.reset()
        self.left = [dict.fromkeys(self.sinks, 0) for _ in range(2)]
        self.tb.each_cycle(self.watch)
        rng, config = self.tb.np_rng, self.config
        self.bias = floats(rng, 256, spread=1)
        self.weight = floats(rng, config.max_hidden, spread=1, special=0)
        pairs = config.max_head_blocks * BLOCK // 2
        # Rotations, and pairs of a zero and a number of any size, so that each bit of it tells.
        shape = pairs, config.seats
        angle, own = rng.uniform(-4, 4, shape), np.random.default_rng(1)
        small, kind = 2.0 ** own.uniform(-100, 0, shape), own.random(shape)
        self.cos, self.sin = (
            (wave * np.select([kind < 0.15, kind < 0.3], factors, 1)).astype(np.float32)
            for wave, factors in ((np.cos(angle), (small, 0)), (np.sin(angle), (0, small))))
        self.load(self.bias, VectorDest.BIAS)
        self.load(self.weight, VectorDest.NORM)
        for seat in range(config.seats):
            table = np.ascontiguousarray(np.stack([self.cos[:, seat], self.sin[:, seat]], 1))
            self.load(table, VectorDest.ROPE, seat=seat)
        await self.settle()

    async def settle(self):
        await self.tb.wait(2)
        while not all(source.idle for source in self.tb.sources) or harness.peek(self.dut.busy):
            await self.tb.wait(1)

    def send(self, rows, *, embed=None, mask=None, lane_scale=LaneScale.NONE, bias=0, mode=Mode.PLAIN, add=0, store=0,
             norm_=0, head_blocks=1, logits=0, limit=0, phases=(0, 0), spread=4):
        """Queue one command with random rows, and move the shadow on; rows of several phases are multiples of 32."""
        rng, config = self.tb.np_rng, self.config
        rows = -(-rows // 32) * 32 if norm_ else rows  # whole tiles
        first, last = phases
        used = slice(first * config.lanes, (last + 1) * config.lanes)  # seats
        mask = ((1 << used.stop) - (1 << used.start)) & (-1 if mask is None else mask)
        chosen = np.array([mask >> seat & 1 for seat in range(config.seats)], bool)
        # Means and epsilons of one size, so that each bit of both tells; often nothing else but epsilon does.
        inv_n, epsilon = (np.float32(rng.uniform(1, 2) * 2.0 ** rng.integers(*span)) for span in ((-12, 0), (-9, 9)))
        self.command.send([harness.pack(chain_command(config), {
            "source": int(embed is not None), "rows": rows, "mask": mask, "lane_scale": lane_scale.value,
            "first_phase": first, "last_phase": last,
            "bias": bias, "mode": mode.value, "residual_add": add, "residual_store": store, "norm": norm_,
            "head_blocks": head_blocks, "logits": logits, "limit": limit,
            "inv_n": int(inv_n.view(np.uint32)), "epsilon": int(epsilon.view(np.uint32))})])
        scale = None
        if lane_scale == LaneScale.RMS:
            scale = self.rms
        elif lane_scale == LaneScale.ATTENTION:
            scale = floats(rng, config.seats, spread=2)
            self.factor.send(to_ints(scale[None]))
        if embed is None:
            v = floats(rng, (rows, config.seats), spread=spread, special=0.02)
            if not (store or norm_):  # or nothing behind it would have another value
                v = np.where(rng.random(v.shape) < 0.02, LARGEST * rng.choice([-1, 1], v.shape), v).astype(np.float32)
                v = np.where(rng.random(v.shape) < 0.02, np.nextafter(LARGEST, np.float32(0)), v)
            layout = drain_row(config)
            phase_of = self.in_phases(np.arange(config.seats).reshape(1, -1).repeat(rows, 0) // config.lanes, phases)
            self.rows.send(row % 32 << layout["row"].offset | int(phase) << layout["phase"].offset
                           | bits << layout["values"].offset
                           for row, (bits, phase) in enumerate(zip(to_ints(self.in_phases(v, phases)), phase_of[:, 0],
                                                                   strict=True)))
            clips = (np.abs(v) == LARGEST) & chosen
            self.clips.extend(self.in_phases(clips, phases).any(1).tolist())
        else:
            v = self.embedding_rows(rows, embed, np.flatnonzero(chosen))
        pairs = head_blocks * BLOCK // 2
        out, kept, total = chain.model_rows(
            v, scale=scale, bias=self.bias if bias else None, mode=mode, cos=self.cos[:pairs], sin=self.sin[:pairs],
            residual=self.residual if add else None, store=store, weight=self.weight if norm_ else None)
        if store:
            self.residual[:len(kept)] = np.where(chosen, kept, self.residual[:len(kept)])
        if norm_:
            self.rms = np.where(chosen, norm.model(total, inv_n, epsilon), self.rms)
        if embed is not None and config.slots > 1:
            out = np.where(chosen, out, np.float32(np.nan))  # a lane without a row has anything
        out = self.in_phases(out[:limit] if logits else out, phases, 16 if mode == Mode.GLU else 32)
        name = "logits" if logits else "o"
        self.expected[name].append(out)
        self.leaves = self.leaves | {name: self.leaves[name] + len(out)}
        self.inside.append(self.leaves)

    def embedding_rows(self, rows, element, seats):
        """One for a seat, or with more slots than one for each of these, of a phase: float32[rows, S]."""
        rng, config, v = self.tb.np_rng, self.config, np.zeros((rows, self.config.seats), np.float32)
        for seat in seats:
            raw = (floats(rng, rows, spread=2).astype("<f4") if element == Element.FP32 else
                   rng.integers(0x3C00, 0x4200, rows).astype("<u2")).tobytes()
            closes = {"closes": seat == seats[-1]} if config.slots > 1 else {}
            self.load(raw, VectorDest.EMBED, seat=int(seat), words=rows, element=element.value, **closes)
            lanes = [seat] if config.slots > 1 else slice(None)  # with one slot all lanes have the row
            v[:, lanes] = VectorUnit.model_embed(raw, rows, element)[:, None]
        return v

    def in_phases(self, rows, phases, run=32):
        """Rows [n, seats] as rows [.., T]: runs of the phases, in turn."""
        if phases[0] == phases[1]:
            run = max(1, len(rows))
        lanes = self.config.lanes
        return np.concatenate([rows[at:at + run, phase * lanes:(phase + 1) * lanes] for at in range(0, len(rows), run)
                               for phase in range(phases[0], phases[1] + 1)])

    async def check(self):
        for name, sink in self.sinks.items():
            if self.expected[name]:
                expected = np.concatenate(self.expected[name])
                rows = to_floats(await sink.receive(len(expected)), self.config.lanes)
                assert_same(rows, np.where(np.isnan(expected), rows, expected))
                self.expected[name] = []

    def random_command(self):
        rng = self.tb.rng
        kind = rng.choice(["project", "rotate", "gate", "out", "attend", "embed", "logits"])
        rows = 2 * rng.randint(1, 24)
        one = rng.randrange(self.config.phases)
        phases = tuple(sorted((one, rng.randrange(self.config.phases))))
        if phases[0] != phases[1]:
            rows = 32 * rng.randint(1, 2)
        scale = rng.choice([LaneScale.NONE, LaneScale.RMS])
        bias = rng.randrange(2)
        if kind == "project":
            self.send(rows, lane_scale=scale, bias=bias, phases=phases)
        elif kind == "rotate":
            head_blocks = rng.randint(1, self.config.max_head_blocks)
            self.send(rows + 32 * head_blocks + 32, lane_scale=scale, bias=bias, mode=Mode.ROPE,
                      head_blocks=head_blocks, phases=phases)
        elif kind == "gate":
            self.send(rows, lane_scale=scale, bias=bias, mode=Mode.GLU, phases=phases)
        elif kind == "out":
            self.send(rows, bias=bias, add=rng.randrange(2), store=rng.randrange(2), norm_=rng.randrange(2),
                      lane_scale=scale, phases=phases,
                      mask=rng.choice([None, rng.getrandbits(self.config.seats)]))
        elif kind == "attend":
            self.send(rows, lane_scale=LaneScale.ATTENTION, phases=phases)
        elif kind == "embed":
            lanes = 1 << rng.randrange(self.config.lanes)
            if self.config.slots > 1:
                lanes = rng.randrange(1, 1 << self.config.lanes)
            self.send(rows, embed=rng.choice(list(Element)), store=1, norm_=1, phases=(one, one),
                      mask=lanes << one * self.config.lanes)
        else:
            self.send(rows, lane_scale=scale, logits=1, limit=rng.randint(1, rows), phases=(one, one))


async def first_norm(system):
    """Gives every residual row and 1/rms a value."""
    system.send(128, store=1, norm_=1, phases=(0, system.config.phases - 1))
    await system.check()


@cocotb.test()
async def under_stalls(dut):
    system = System(dut, 1, 0.3)
    await system.start()
    await first_norm(system)
    for _ in range(25):
        system.random_command()
    system.send(64, store=1, mask=0, phases=(0, system.config.phases - 1))  # no seat keeps it
    system.send(64, add=1, store=1, phases=(0, system.config.phases - 1))
    await system.check()
    await system.settle()


@cocotb.test()
async def back_to_back(dut):
    system = System(dut, 2, 0.0)
    await system.start()
    await first_norm(system)
    for _ in range(40):
        system.random_command()
    await system.check()


@cocotb.test()
async def norms(dut):
    """Sums of squares as small as epsilon or less, and a command that shows each 1/rms."""
    system = System(dut, 4, 0.0)
    await system.start()
    last = system.config.phases - 1
    for _ in range(40):
        system.send(32, norm_=1, phases=(0, last), spread=0)
        system.send(32, lane_scale=LaneScale.RMS, phases=(0, last))
    await system.check()


@cocotb.test()
async def whole_tables(dut):
    """As many rows as the bias, the residual and the norm weights have, and limits of any size."""
    system = System(dut, 5, 0.0)
    await system.start()
    config = system.config
    system.bias = floats(system.tb.np_rng, config.max_rows, spread=1)
    system.load(system.bias, VectorDest.BIAS)
    await system.settle()
    last = config.phases - 1
    system.send(config.max_rows, bias=1, phases=(last, last))
    for add in (0, 1):
        system.send(config.max_hidden, add=add, store=1, norm_=add, phases=(0, last))
    system.send(32, lane_scale=LaneScale.RMS, phases=(0, last))
    rng = system.tb.rng
    system.send(min(2 * rng.randint(129, 200), config.max_hidden), norm_=1, phases=(last, last))
    system.send(32, lane_scale=LaneScale.RMS, phases=(0, last))
    for rows, limit in ((256, rng.randint(130, 250)), *((32, 1 << bit) for bit in range(24))):
        system.send(rows, logits=1, limit=limit)
    await system.check()


@cocotb.test()
async def long_commands(dut):
    """The first rows of commands too long to be read here: more are taken, and no command."""
    system = System(dut, 6, 0.0)
    config = system.config
    for bit in range(6, 24):
        await system.tb.reset()
        rows = floats(system.tb.np_rng, (66, config.lanes), spread=4)
        for count in ((1 << bit) + 2 * system.tb.rng.randint(2, 31), 32):
            system.command.send([harness.pack(chain_command(config), {"rows": count})])
        layout = drain_row(config)
        system.rows.send(row % 32 << layout["row"].offset | bits << layout["values"].offset
                         for row, bits in enumerate(to_ints(rows)))
        assert_same(to_floats(await system.sinks["o"].receive(len(rows)), config.lanes), fp32.model.flush(rows))
        assert len(system.command.accepted) == 1 and harness.peek(dut.i__ready) and harness.peek(dut.busy)


@cocotb.test()
async def full_throughput(dut):
    system = System(dut, 3, 0.0)
    await system.start()
    await first_norm(system)
    sink, source = system.sinks["o"], system.rows
    for mode in (Mode.PLAIN, Mode.ROPE):
        start, first = len(source.cycles), len(sink.cycles)
        system.send(128, bias=1, mode=mode, head_blocks=2)
        await system.check()
        assert source.cycles[-1] - source.cycles[start] == 127
        assert sink.cycles[-1] - sink.cycles[first] == 127
        assert sink.cycles[first] - source.cycles[start] == LATENCY + (mode == Mode.ROPE)
    # plain commands of one mode follow each other
    start = len(source.cycles)
    for bias in (1, 0, 1):
        system.send(32, bias=bias)
    await system.check()
    assert source.cycles[-1] - source.cycles[start] == 3 * 33 - 2
    first = len(sink.cycles)
    system.send(64, add=1, store=1, norm_=1)
    await system.check()
    assert sink.cycles[-1] - sink.cycles[first] == 62 + NORM_PAUSE
    # the next layer waits for 1/rms only
    done, start = sink.cycles[-1], len(source.cycles)
    system.send(32, lane_scale=LaneScale.RMS)
    await system.check()
    assert source.cycles[start] - done == 38 + system.config.seats


@pytest.mark.parametrize("config", ["duo", "slim", "kria", "kria 16", "duo 4"])  # the first has several seats: --smoke
def test_chain(sim, config):
    harness.run(ChainAndVectors(with_slots(config)), __name__, sim=sim, parameters=config)


def test_model_is_close_to_float64():
    rng = np.random.default_rng(0)
    v, bias, residual, weight = rng.standard_normal((64, 3)), rng.standard_normal(64), \
        rng.standard_normal((64, 3)), rng.standard_normal(64)
    scale = np.array([0.5, 2, 1])
    x = v * scale + bias[:, None] + residual
    out, kept, total = chain.model_rows(
        v.astype(np.float32), scale=scale.astype(np.float32), bias=bias.astype(np.float32),
        residual=residual.astype(np.float32), store=True, weight=weight.astype(np.float32))
    assert np.allclose(kept, x, atol=1e-6)
    assert np.allclose(out, x * weight[:, None], atol=3e-6)
    assert np.allclose(total, (x * x).sum(0), rtol=1e-5)
