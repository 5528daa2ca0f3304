"""FP32 units against the numpy model, and the model against exact arithmetic in float64 and integers."""

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Cat, signed, unsigned
from amaranth.lib.data import StructLayout
from scoville.numerics import fp32
from scoville.numerics.pipe import PipeUnit
from units import CORNERS, Units, as_float, check_model, check_stream, random_floats

PAIR = StructLayout({"a": 32, "b": 32})
SCALE = StructLayout({"a": 32, "e": signed(10)})
INTEGERS = {"int40": signed(40), "int36": unsigned(36), "int8": signed(8)}
FIXED = {"fixed40": (24, 40), "fixed8": (0, 8), "fixed34": (24, 34)}
COUNT = 2500


def compare_unit(pipe, i):
    """-a and a > b behind one register."""
    return pipe.reg(Cat(fp32.neg(i.value.a), fp32.greater(i.value.a, i.value.b)), 0)


def units():
    made = {"add": fp32.Fp32Add(), "mul": fp32.Fp32Mul(), "compare": PipeUnit(compare_unit, PAIR, 33)}
    made["scale2"] = PipeUnit(
        lambda pipe, i: fp32.scale2(pipe, pipe.input(i.value.a), pipe.input(i.value.e)), SCALE, 32)
    for name, shape in INTEGERS.items():
        made[name] = fp32.Fp32FromInt(shape)
    for name, (fraction, width) in FIXED.items():
        made[name] = PipeUnit(
            lambda pipe, i, fraction=fraction, width=width: fp32.to_fixed(pipe, i, fraction, width), 32, signed(width))
    return made


def pairs(rng, count):
    """Pairs of finite floats: corners with corners, cancellations, products near both ends of the range."""
    a, b = random_floats(rng, count), random_floats(rng, count)
    third = count // 3
    close = slice(0, third)  # nearly equal magnitudes, opposite signs, exponents a little apart
    b[close] = a[close] ^ np.uint32(0x80000000)
    b[close] += rng.integers(-3, 4, third).astype(np.uint32)
    b[:third // 2] += (rng.integers(0, 30, third // 2) << 23).astype(np.uint32)
    b = np.where((b >> 23 & 255) == 255, np.uint32(0x3F800001), b)
    ends = slice(third, 2 * third)  # the product's field is near 0 or near 255
    target = rng.choice([-1, 0, 1, 254, 255], third)
    field = np.clip(target + 127 - (a[ends] >> 23 & 255).astype(int), 1, 254).astype(np.uint32)
    b[ends] = b[ends] & np.uint32(0x807FFFFF) | field << np.uint32(23)
    b[third:third + third // 4] &= np.uint32(0xFF800003)  # products of nearly only ones: the flush decided by rounding
    a[third:third + third // 4] |= np.uint32(0x7FFFFC)
    both = np.array(np.meshgrid(CORNERS, CORNERS), np.uint32).reshape(2, -1)
    return np.concatenate([both, np.stack([a, b])], 1)


def split(payloads):
    return (np.array([value >> shift & 0xFFFFFFFF for value in payloads], np.uint32).view(np.float32)
            for shift in (0, 32))


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32)


def binary(function):
    return lambda payloads: bits(function(*split(payloads)))


def joined(a, b):
    return [int(x) | int(y) << 32 for x, y in zip(a, b, strict=True)]


@cocotb.test()
async def add(dut):
    await check_stream(dut, "add", joined(*pairs(np.random.default_rng(1), COUNT)), binary(fp32.model.add), 4)


@cocotb.test()
async def mul(dut):
    await check_stream(dut, "mul", joined(*pairs(np.random.default_rng(2), COUNT)), binary(fp32.model.mul), 3)


@cocotb.test()
async def compare(dut):
    def expected(payloads):
        a, b = split(payloads)
        return bits(fp32.model.neg(a)).astype(np.int64) | fp32.model.greater(a, b).astype(np.int64) << 32

    await check_stream(dut, "compare", joined(*pairs(np.random.default_rng(3), 500)), expected)


@cocotb.test()
async def scale2(dut):
    rng = np.random.default_rng(4)
    a, e = random_floats(rng, COUNT), rng.integers(-300, 300, COUNT)
    await check_stream(dut, "scale2", [int(x) | (int(y) & 1023) << 32 for x, y in zip(a, e, strict=True)],
                       lambda _: bits(fp32.model.scale2(as_float(a), e))[:len(_)], 1)


@cocotb.test()
@cocotb.parametrize(name=list(INTEGERS))
async def from_int(dut, name):
    rng, shape = np.random.default_rng(5), INTEGERS[name]
    low, high = (-(1 << shape.width - 1), 1 << shape.width - 1) if shape.signed else (0, 1 << shape.width)
    x = rng.integers(low, high, COUNT) >> rng.integers(0, shape.width, COUNT)
    x[:4] = low, high - 1, 0, 1
    await check_stream(dut, name, [int(v) & (1 << shape.width) - 1 for v in x],
                       lambda taken: bits(fp32.model.from_int(x[:len(taken)])), 4 if shape.width > 36 else 3)


@cocotb.test()
@cocotb.parametrize(name=list(FIXED))
async def to_fixed(dut, name):
    rng, (fraction, width) = np.random.default_rng(6), FIXED[name]
    a = random_floats(rng, COUNT)
    a[100:2000] = random_floats(rng, 1900, 125 - fraction, 128 + width - fraction)
    a[2000:2300] &= np.uint32(0xFFFF0000)  # ties
    await check_stream(dut, name, a, lambda taken: fp32.model.to_fixed(as_float(taken), fraction, width)
                       & (1 << width) - 1, 2)


def test_fp32(sim):
    harness.run(lambda: Units(units()), __name__, sim=sim)


# the model itself, against exact arithmetic

def exact(value):
    """The contract of one result, from an exact float64 value: IEEE single rounding, then saturation and flush."""
    with np.errstate(all="ignore"):
        single = np.clip(value.astype(np.float32), -fp32.model.MAX, fp32.model.MAX)
    return np.where(np.abs(single) < np.float32(2.0**-126), np.float32(0), single)


def inputs_as_float64(bits_of_x):
    x = as_float(bits_of_x)
    return np.where(np.abs(x) < np.float32(2.0**-126), 0, x.astype(np.float64))


def test_model_mul_is_exact():
    a, b = pairs(np.random.default_rng(11), 1_500_000)
    check_model(fp32.model.mul(as_float(a), as_float(b)), exact(inputs_as_float64(a) * inputs_as_float64(b)), a, b)


def test_model_add_is_exact():
    a, b = pairs(np.random.default_rng(12), 1_500_000)
    x, y = inputs_as_float64(a), inputs_as_float64(b)
    total = x + y
    # rounding twice: make the float64 sum odd where it is inexact (round to odd), which float32 then rounds correctly
    back = total - x
    error = (x - (total - back)) + (y - back)
    inexact = error != 0
    even = total.view(np.int64) & 1 == 0
    towards = np.where((error > 0) == (total > 0), 1, -1)
    total = np.where(inexact & even, (total.view(np.int64) + towards).view(np.float64), total)
    check_model(fp32.model.add(as_float(a), as_float(b)), exact(total), a, b)


def test_model_flush_decided_after_rounding():
    just_below = as_float([0x00FFFFFF]), as_float([0x3F000000])  # 2^-126 (1 - 2^-24): a tie that rounds up
    assert fp32.model.mul(*just_below)[0] == np.float32(2.0**-126)
    below = as_float([0x00FFFFFE]), as_float([0x3F000000])
    assert bits(fp32.model.mul(*below))[0] == 0
    assert bits(fp32.model.mul(as_float([0x80800000]), as_float([0x3F000000])))[0] == 0, "-0 becomes +0"


@pytest.mark.parametrize("exponent", [0, -30, 20, -126, 100])
def test_model_from_int(exponent):
    rng = np.random.default_rng(13)
    x = rng.integers(-(1 << 62), 1 << 62, 1_000_000) >> rng.integers(0, 62, 1_000_000)
    got = fp32.model.from_int(x, exponent)
    # correctly rounded: no other float is nearer; |x| < 2^53 is exact in float64
    small = np.abs(x) < 1 << 53
    check_model(got[small], exact(np.ldexp(x[small].astype(np.float64), exponent)), x[small])
    ties = (1 << 24) + np.arange(8)
    assert fp32.model.from_int(ties).astype(int).tolist() == [2**24 + k for k in (0, 0, 2, 4, 4, 4, 6, 8)]


def test_model_scale2():
    rng = np.random.default_rng(14)
    a, e = random_floats(rng, 1_000_000), rng.integers(-300, 300, 1_000_000)
    x = inputs_as_float64(a)
    wanted = np.ldexp(x, e)
    wanted = np.where(np.abs(wanted) < 2.0**-126, 0, np.clip(wanted, -float(fp32.model.MAX), float(fp32.model.MAX)))
    check_model(fp32.model.scale2(as_float(a), e), wanted.astype(np.float32), a, e)


def test_model_to_fixed():
    rng = np.random.default_rng(15)
    a = random_floats(rng, 1_000_000, 80, 180)
    got = fp32.model.to_fixed(as_float(a), 24, 40)
    scaled = as_float(a).astype(np.float64) * 2**24
    inside = (scaled > -(2.0**39) - 0.25) & (scaled < 2**39 - 1)
    assert (np.abs(got[inside] - scaled[inside]) <= 0.5).all()
    half = np.abs(scaled - np.floor(scaled)) == 0.5
    assert half[inside].any() and (got[half & inside] % 2 == 0).all()
    assert (got[scaled >= 2**39 - 1] == 2**39 - 1).all() and (got[scaled < -(2.0**39)] == -(2**39)).all()


def test_model_shapes_and_scalars():
    assert fp32.model.add(1.0, 2.0) == 3
    assert fp32.model.mul(np.ones((3, 1), np.float32), np.ones(4, np.float32)).shape == (3, 4)
    assert fp32.model.add(np.zeros(0, np.float32), 1.0).shape == (0,)
    assert bits(fp32.model.flush(np.array([-0.0, 1e-40, 1e300, -1e300]))).tolist() == [0, 0, 0x7F7FFFFF, 0xFF7FFFFF]


def test_from_int_refuses_exponents():
    with pytest.raises(ValueError, match="-126 to 100"):
        fp32.from_int(None, None, 101)
