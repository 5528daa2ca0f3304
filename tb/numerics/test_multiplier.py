"""The multiplier, and each vendor's in its place: every bit, when the register stands still and when it moves."""

from pathlib import Path

import cocotb
import harness
import pytest
import scoville_sim
from amaranth.hdl import signed, unsigned
from cocotb.triggers import FallingEdge
from scoville.numerics.multiplier import Multiplier
from scoville.vendor.ecp5_multiplier import Ecp5Multiplier

ECP5_CELLS = Path(scoville_sim.__file__).parent / "boards" / "trellis_cells.v"
SHAPES = {"whole": (unsigned(18), unsigned(18)), "signed": (signed(18), signed(18)), "mixed": (unsigned(17), signed(9)),
          "dot": (signed(8), signed(12))}


STAGES = (1, 3)


@cocotb.test()
async def products(dut):
    shape, stages = harness.parameters()
    a_shape, b_shape = SHAPES[shape]
    o_shape = Multiplier(a_shape, b_shape).o.shape()
    tb = harness.Bench(dut, 1)
    await tb.reset()
    await FallingEdge(dut.clk)
    expected = []  # of the products that the registers hold, oldest last
    for number in range(400):
        edges = number < 16  # the factors of the largest and the smallest products first
        a, b = (tb.rng.choice([-1 << shape.width - 1, (1 << shape.width - 1) - 1] if shape.signed else
                              [0, (1 << shape.width) - 1]) if edges else
                harness.unpack(shape, tb.rng.getrandbits(shape.width)) for shape in (a_shape, b_shape))
        enable = tb.rng.random() < 0.7
        dut.a.value, dut.b.value = harness.pack(a_shape, a), harness.pack(b_shape, b)
        dut.enable.value = int(enable)
        await FallingEdge(dut.clk)
        if enable:
            expected = [Multiplier.model(a, b), *expected][:stages]
        if len(expected) == stages:
            assert harness.unpack(o_shape, harness.peek(dut.o)) == expected[-1]


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_multiplier(sim, shape, stages):
    harness.run(Multiplier(*SHAPES[shape], stages), __name__, sim=sim, parameters=(shape, stages))


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_ecp5_multiplier(shape, stages):
    harness.run(Ecp5Multiplier(*SHAPES[shape], stages), __name__, sim="icarus", parameters=(shape, stages),
                cells=[ECP5_CELLS])


def test_too_wide():
    with pytest.raises(ValueError, match="a multiplier takes 18"):
        Multiplier(unsigned(19), unsigned(4))


def test_stages():
    with pytest.raises(ValueError, match="it has 1 or 3"):
        Multiplier(unsigned(8), unsigned(8), 2)
