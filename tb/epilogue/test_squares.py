"""Sums of squares: commands of any number of tiles against the model, and a row a cycle; the model against float64."""

import cocotb
import harness
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from rows import assert_same, floats, to_floats
from scoville.config import get_config
from scoville.epilogue import squares
from scoville.epilogue.squares import FOLD, MERGE, SumOfSquares, squares_layout
from scoville.numerics import fp32


class System:
    """A unit, and what its seats must hold."""

    def __init__(self, dut, seed, pauses):
        self.dut, self.config = dut, get_config(harness.parameters())
        self.tb = harness.Bench(dut, seed)
        self.pauses = pauses
        self.total = np.zeros((self.config.phases, self.config.lanes), np.float32)

    async def command(self, tiles, first, last, spread):
        """Rows of some phases, and what they leave behind; every `done` comes when it must."""
        config, tb, dut = self.config, self.tb, self.dut
        phases = range(first, last + 1)
        v = floats(tb.np_rng, (32 * tiles, len(phases) * config.lanes), spread=spread)
        squared = fp32.model.mul(v, v).view(np.uint32)
        for tile in range(tiles):
            for phase in phases:
                lanes = slice((phase - first) * config.lanes, (phase - first + 1) * config.lanes)
                for row in range(32 * tile, 32 * tile + 32):
                    while tb.rng.random() < self.pauses:
                        await tb.wait(1)
                    ends = tile == tiles - 1 and row % 32 == 31
                    dut.i.value = harness.pack(squares_layout(config), {
                        "squares": squared[row, lanes], "row": row, "phase": phase, "last": row == 32 * tiles - 1,
                        "final": ends and phase == last})
                    dut.i_valid.value = 1
                    await RisingEdge(dut.clk)
                    dut.i_valid.value = 0
                # Of earlier tiles, those that this one makes a larger subtree with; behind the last, all.
                merges = (tile if tile == tiles - 1 else tile & ~(tile + 1)).bit_count()
                for cycle in range(FOLD + MERGE * merges):
                    await RisingEdge(dut.clk)
                    done = cycle == FOLD + MERGE * merges - 1
                    assert harness.peek(dut.done) == done, (tile, cycle)
                    assert harness.peek(dut.complete) == (done and tile == tiles - 1 and phase == last)
        self.total[first:last + 1] = squares.model(v).reshape(len(phases), -1)
        await RisingEdge(dut.clk)
        found = to_floats([harness.peek(dut.total)], self.total.size)[0]
        used = self.total != 0
        assert_same(found.reshape(self.total.shape)[used], self.total[used])


async def commands(dut, seed, pauses):
    system = System(dut, seed, pauses)
    dut.i_valid.value = 0
    await system.tb.reset()
    rng, config = system.tb.rng, system.config
    most = config.max_hidden // 32
    for tiles in [*range(1, min(most, 9)), most, rng.randint(1, most)]:
        first = rng.randrange(config.phases)
        await system.command(tiles, first, rng.randrange(first, config.phases), rng.choice([1, 4, 60]))


@cocotb.test()
async def with_pauses(dut):
    await commands(dut, 1, 0.3)


@cocotb.test()
async def full_throughput(dut):
    await commands(dut, 2, 0)


@pytest.mark.parametrize("config", ["duo", "slim", "kria"])
def test_squares(sim, config):
    harness.run(SumOfSquares(get_config(config)), __name__, sim=sim, parameters=config)


def test_order():
    """Partial sums of every fourth row, then a tree; an order that no other gives."""
    rng, add, mul = np.random.default_rng(3), fp32.model.add, fp32.model.mul
    for tiles in (1, 2, 3, 5, 18):
        v = floats(rng, (32 * tiles, 3), 3)
        sums = []
        for tile in np.split(v, tiles):
            parts = [np.zeros(3, np.float32)] * 4
            for row, values in enumerate(tile):
                parts[row % 4] = add(parts[row % 4], mul(values, values))
            sums.append(add(add(parts[0], parts[1]), add(parts[2], parts[3])))
        while len(sums) > 1:
            sums.append(np.zeros(3, np.float32))
            sums = [add(*pair) for pair in zip(sums[0:-1:2], sums[1::2], strict=False)]
        assert_same(squares.model(v), sums[0])


def test_close_to_float64():
    v = np.random.default_rng(4).standard_normal((576, 50)).astype(np.float32)
    assert np.allclose(squares.model(v), (v.astype(np.float64) ** 2).sum(0), rtol=4e-7)
