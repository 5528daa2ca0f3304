"""The pipeline builder: values that meet are of one age, the registers hold together, overflow flags line up."""

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.data import StructLayout
from scoville.numerics import fp32
from scoville.numerics.pipe import Pipe, PipeUnit, width_of
from units import Units, as_float, check_stream

TRIPLE = StructLayout({"a": 8, "b": 8, "late": 8})


def mixed_ages(pipe, i):
    """b twice delayed, a once, late one cycle after the input, a constant: all meet at age 4."""
    a = pipe.reg(i.value.a + 1, 0)
    b = pipe.reg(pipe.reg(i.value.b ^ 0x55, 0).value, 1)
    c = pipe.reg(pipe.reg(i.value.late, 0).value + pipe.delay(a, 1), 1)
    at, (a, b, c, k) = pipe.align(a, b, c, pipe.input(Const(3, 8), None))
    total = pipe.reg(a + b + c + k, at)
    return pipe.reg(Cat(total.value[:10], pipe.delay(i, at + 1).as_value()[:8]), at + 1)


def mixed_model(payloads):
    for value in payloads:
        a, b, late = value & 255, value >> 8 & 255, value >> 16
        yield (a + 1 + (b ^ 0x55) + late + a + 1 + 3) & 1023 | a << 10


def overflow(pipe, i):
    """The saturation flags of a sum and of the product with it, as one bit."""
    pipe.flags = []
    a = pipe.input(i.value[:32])
    fp32.mul(pipe, fp32.add(pipe, a, pipe.input(i.value[32:])), a)
    return pipe.any_flag()


def overflow_model(payloads):
    a, b = (np.array([value >> shift & 0xFFFFFFFF for value in payloads]) for shift in (0, 32))
    with np.errstate(all="ignore"):
        total = as_float(a) + as_float(b)
        return np.isinf(total) | np.isinf(fp32.model.add(as_float(a), as_float(b)) * as_float(a))


def units():
    return {"mixed": PipeUnit(mixed_ages, TRIPLE, 18), "overflow": PipeUnit(overflow, 64, 1)}


@cocotb.test()
async def ages(dut):
    rng = np.random.default_rng(1)
    await check_stream(dut, "mixed", rng.integers(0, 1 << 24, 1000), mixed_model, units()["mixed"].latency)


@cocotb.test()
async def flags(dut):
    rng = np.random.default_rng(2)
    fields = rng.choice([100, 126, 127, 190, 253, 254], (2, 1000))
    a, b = (fields.astype(object) << 23) | rng.integers(0, 1 << 23, (2, 1000)).astype(object)
    await check_stream(dut, "overflow", a | b << 32, overflow_model, 7)


def test_pipe(sim):
    harness.run(lambda: Units(units()), __name__, sim=sim)


def test_ages_are_checked():
    pipe = Pipe(Module())
    late = pipe.reg(Signal(4), 2)
    assert late.at == 3
    with pytest.raises(ValueError, match="age 3 is asked for at age 2"):
        pipe.delay(late, 2)
    assert pipe.delay(late, 5) is pipe.delay(late, 5), "delays of one value share registers"
    pipe.m._MustUse__silence = True


def test_width_of():
    assert width_of(Signal(5) + Signal(9)) == 10
