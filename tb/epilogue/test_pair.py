"""The pair stage: rotation, GLU and plain rows, mixed at random, and each at full throughput."""

import cocotb
import harness
import numpy as np
import pytest
from rows import assert_same, floats, to_floats, to_ints
from scoville.config import BLOCK, get_config
from scoville.epilogue import pair
from scoville.epilogue.pair import PairStage
from scoville.isa import Mode


def latency(config, mode):
    """Cycles from a row, or from the second row of a pair, to its first result."""
    return 30 + (config.lanes > 1) if mode == Mode.GLU else 8


class System:
    """A pair stage with its streams, and a shadow of what must come out."""

    def __init__(self, dut, seed, stalls):
        name = harness.parameters()
        self.config = get_config(name)
        self.stage = PairStage(self.config)
        self.tb = tb = harness.Bench(dut, seed)
        self.source, self.sink = tb.source("i", stalls), tb.sink("o", stalls)
        self.numbers, self.values = [], []
        self.beside, self.counted, self.owed = None, 0, 0

    async def start(self):
        await self.tb.reset()
        if self.beside is None:
            self.beside = cocotb.start_soon(self.serve())

    def shadow(self, place):
        """What is to go beside the row at a place: any values that depend on all of its bits."""
        return [place * 0x9E3779B1 + lane * 0x85EBCA6B & 0xFFFFFFFF for lane in range(self.config.lanes)]

    async def serve(self):
        """Looks up what goes beside the row that is `coming`; and `busy` is high while results are owed."""
        dut, quiet = self.tb.dut, 0
        while True:
            await self.tb.wait(1)
            if harness.peek(dut.moves):
                dut.beside.value = harness.pack(self.stage.values, self.shadow(harness.peek(dut.coming)))
            owed = self.results(self.source.accepted) - len(self.sink.received)
            quiet = max(quiet, 0) + 1 if owed == 0 else min(quiet, 0) - 1
            if abs(quiet) > 2:
                assert harness.peek(dut.busy) == (quiet < 0)

    def results(self, payloads):
        """How many rows come out for these that went in, counted as they go in."""
        shape = self.stage.i.payload.shape()
        for payload in payloads[self.counted:]:
            row, mode = payload & 1, Mode(payload >> shape["mode"].offset & (1 << shape["mode"].width) - 1)
            self.owed += 1 if mode == Mode.PLAIN else row * (2 if mode == Mode.ROPE else 1)
        self.counted = len(payloads)
        return self.owed

    def send(self, rows, mode):
        rng, lanes = self.tb.np_rng, self.config.lanes
        v = floats(rng, (rows, lanes), special=0.03)
        cos, sin = (floats(rng, (BLOCK // 2, lanes), spread=1, special=0.02) for _ in range(2))
        if mode == Mode.PLAIN:
            cos, sin = np.ones_like(cos), np.zeros_like(sin)
        shape = self.stage.i.payload.shape()
        phase = self.tb.rng.randrange(self.config.phases)
        first = min(self.tb.rng.getrandbits(24) >> self.tb.rng.choice([0, 0, 4, 24]), (1 << 24) - rows) & ~1
        for row in range(rows):
            self.source.send([harness.pack(shape, {
                "row": first + row, "phase": phase, "mode": mode.value, "v": v[row].view(np.uint32),
                "cos": cos[row // 2 % len(cos)].view(np.uint32), "sin": sin[row // 2 % len(sin)].view(np.uint32)})])
        self.values.append(pair.model(v, mode, cos, sin))
        first = first // 2 if mode == Mode.GLU else first
        self.numbers += [phase << 24 | first + row for row in range(len(self.values[-1]))]

    async def check(self):
        received = await self.sink.receive(len(self.numbers))
        shape, lanes = self.stage.o.payload.shape(), self.config.lanes
        tag_bits, values = shape["v"].offset, shape["v"].width
        assert [payload & (1 << tag_bits) - 1 for payload in received] == self.numbers
        assert_same(to_floats([payload >> tag_bits & (1 << values) - 1 for payload in received], lanes),
                    np.concatenate(self.values))
        for payload, number in zip(received, self.numbers, strict=True):
            assert payload >> shape["beside"].offset == harness.pack(self.stage.values, self.shadow(number))
        self.numbers, self.values = [], []


@cocotb.test()
async def under_stalls(dut):
    system = System(dut, 1, 0.3)
    await system.start()
    for _ in range(14):
        system.send(2 * system.tb.rng.randint(1, 24), system.tb.rng.choice(list(Mode)))
    await system.check()
    await system.tb.wait(60)  # and nothing more
    assert not system.sink.received[system.sink._taken:]


@cocotb.test()
async def modes_do_not_overtake(dut):
    system = System(dut, 2, 0.0)
    await system.start()
    for _ in range(40):
        system.send(2 * system.tb.rng.randint(1, 4), system.tb.rng.choice(list(Mode)))
    await system.check()
    await system.tb.wait(60)  # and nothing more
    assert not system.sink.received[system.sink._taken:]


@cocotb.test()
async def full_throughput(dut):
    system = System(dut, 3, 0.0)
    source, sink = system.source, system.sink
    await system.start()
    for mode in Mode:
        system.send(128, mode)
        start, first = len(source.cycles), len(sink.cycles)
        await system.check()
        assert source.cycles[-1] - source.cycles[start] == 127
        second = source.cycles[start + (mode != Mode.PLAIN)]
        assert sink.cycles[first] - second == latency(system.config, mode)
        assert sink.cycles[-1] - sink.cycles[first] == (126 if mode == Mode.GLU else 127)


@pytest.mark.parametrize("config", ["slim", "kria"])
def test_pair(sim, config):
    harness.run(PairStage(get_config(config)), __name__, sim=sim, parameters=config)


def test_glu_is_swish():
    rng = np.random.default_rng(0)
    v = rng.standard_normal((200, 3)).astype(np.float32) * 4
    g, u = v[0::2].astype(np.float64), v[1::2].astype(np.float64)
    assert np.allclose(pair.model(v, Mode.GLU), g / (1 + np.exp(-g)) * u, rtol=2e-6, atol=1e-9)


def test_plain_is_the_rotation_by_zero():
    v = floats(np.random.default_rng(1), (64, 2))
    one = np.ones((16, 2), np.float32)
    assert to_ints(pair.model(v, Mode.PLAIN)) == to_ints(pair.model(v, Mode.ROPE, one, 0 * one))
