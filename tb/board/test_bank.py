"""A bank of memory, and the vendor's in its place, against the model: depths for every width of a block RAM."""

from pathlib import Path

import cocotb
import harness
import pytest
import scoville_sim
from cocotb.triggers import FallingEdge
from scoville.board.bank import Bank
from scoville.vendor.ecp5_bank import Ecp5Bank

ECP5_CELLS = Path(scoville_sim.__file__).parent / "boards" / "trellis_cells.v"
SIZES = {"bits": (8, 16384), "pairs": (16, 8100), "nibbles": (16, 4096), "bytes": (24, 2048), "few": (16, 5)}
PLACES = 24  # words that are used


@cocotb.test()
async def words(dut):
    """A write and a read in every cycle, of different words."""
    width, depth = SIZES[harness.parameters()]
    tb = harness.Bench(dut, 1)
    await tb.reset()
    await FallingEdge(dut.clk)
    ends = [0, depth - 1, *(1 << bit for bit in range((depth - 1).bit_length()))]
    places = [*ends, *(tb.rng.randrange(depth) for _ in range(PLACES))]
    content, expected = dict.fromkeys(places, 0), []
    for _ in range(1500):
        at, to = tb.rng.choice(places), tb.rng.choice(places)
        data, enables = tb.rng.getrandbits(width), 0 if to == at else tb.rng.getrandbits(width // 8)
        dut.at.value, dut.to.value, dut.data.value, dut.enables.value = at, to, data, enables
        await FallingEdge(dut.clk)
        expected.append(Bank.model(content, at, to, data, enables))
        if len(expected) > 1:
            assert harness.peek(dut.word) == expected[-2]


@pytest.mark.parametrize("size", SIZES)
def test_bank(sim, size):
    harness.run(Bank(*SIZES[size]), __name__, sim=sim, parameters=size)


@pytest.mark.one_is_enough
@pytest.mark.parametrize("size", SIZES)
def test_ecp5_bank(size):
    harness.run(Ecp5Bank(*SIZES[size]), __name__, sim="icarus", parameters=size, cells=[ECP5_CELLS])


def test_limits():
    with pytest.raises(ValueError, match="whole bytes"):
        Bank(12, 64)
    with pytest.raises(ValueError, match="16384 at most"):
        Ecp5Bank(8, 16385)
