"""Table functions: hardware against model; the model against float64, for every mantissa where a proof is claimed."""

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import signed
from hard_fractions import HARD
from scoville.numerics import fp32, table
from scoville.numerics.pipe import PipeUnit
from units import CORNERS, Units, as_float, check_stream, random_floats

FIXED = {"fixed40": 40, "fixed42": 42, "fixed25": 25}
INTEGERS = {"log32": (32, 32), "log48": (48, 0), "log12": (12, 12)}
CHUNK = 1 << 20
BOUND = 2.0**-22


def units():
    made = {"exp2": table.Exp2(), "recip": table.Recip(), "rsqrt": table.Rsqrt(), "log2": table.Log2()}
    for name, width in FIXED.items():
        made[name] = PipeUnit(table.exp2_fixed, signed(width), 32)
    for name, (width, fraction) in INTEGERS.items():
        made[name] = PipeUnit(lambda pipe, i, fraction=fraction: table.log2_fixed(pipe, i, fraction), width, 32)
    return made


def fractions(name):
    """u at both ends of every segment of a curve, and those that are hard to round."""
    rest = table.CURVES[name].rest_bits
    first = np.arange(1 << table.CURVES[name].segment_bits) << rest
    return np.concatenate([first, first + 1, first + (1 << rest) - 1, HARD[name]])


def on_floats(function):
    return lambda payloads: function(as_float(payloads)).view(np.uint32)


@cocotb.test()
async def exp2(dut):
    rng = np.random.default_rng(1)
    near = (rng.random(1500) * 290 - 145).astype(np.float32).view(np.uint32)
    ends = (fractions("exp2") / 2.0**24).astype(np.float32).view(np.uint32)
    await check_stream(dut, "exp2", np.concatenate([random_floats(rng, 800), near, ends]),
                       on_floats(table.model.exp2), 9)


@cocotb.test()
async def recip(dut):
    a = np.concatenate([random_floats(np.random.default_rng(2), 2500), 127 << 23 | fractions("recip")])
    await check_stream(dut, "recip", a, on_floats(table.model.recip), 7)


@cocotb.test()
async def rsqrt(dut):
    # u is the mantissa with the inverted lowest bit of the exponent field above it.
    ends = (126 << 23) + (fractions("rsqrt") ^ 1 << 23)
    a = np.concatenate([random_floats(np.random.default_rng(3), 2500), ends])
    await check_stream(dut, "rsqrt", a, on_floats(table.model.rsqrt), 7)


@cocotb.test()
async def log2(dut):
    bits = random_floats(np.random.default_rng(4), 2500, 1, 255) & np.uint32(0x7FFFFFFF)
    bits = np.concatenate([bits, 127 << 23 | fractions("log2") >> 1])
    await check_stream(dut, "log2", bits, on_floats(table.model.log2), 11)


@cocotb.test()
@cocotb.parametrize(name=list(FIXED))
async def exp2_fixed(dut, name):
    rng, width = np.random.default_rng(5), FIXED[name]
    x = rng.integers(-(1 << width - 1), 1 << width - 1, 2000) >> rng.integers(0, width - 18, 2000)
    if width > 32:
        x[:600] = rng.integers(-128 << 24, -124 << 24, 600)
        x[600:900] = rng.integers(126 << 24, 130 << 24, 300)
        edges = np.array([-127, -126, 0, 127, 128]) << 24
        x[900:915] = np.concatenate([edges, edges - 1, edges + 1])
    x[-2:] = -(1 << width - 1), (1 << width - 1) - 1
    x = np.concatenate([x, fractions("exp2"), fractions("exp2") - (1 << 24)])
    await check_stream(dut, name, [int(v) & (1 << width) - 1 for v in x],
                       lambda taken: table.model.exp2_fixed(x[:len(taken)]).view(np.uint32), 7)


@cocotb.test()
@cocotb.parametrize(name=list(INTEGERS))
async def log2_fixed(dut, name):
    rng, (width, fraction) = np.random.default_rng(6), INTEGERS[name]
    u = np.maximum(rng.integers(0, 1 << width, 1500) >> rng.integers(0, width, 1500), 1)
    u[:2] = 1, (1 << width) - 1
    ends = 1 << 24 | fractions("log2")
    u = np.concatenate([u, ends << width - 25 if width > 25 else ends >> 25 - width])
    wanted = table.model.log2_fixed(u, fraction).view(np.uint32)
    await check_stream(dut, name, u, lambda taken: wanted[:len(taken)],
                       13 if width > 36 else 12)


def test_table(sim):
    harness.run(lambda: Units(units()), __name__, sim=sim)


# the model, exhaustively

def chunks(bits):
    for start in range(0, 1 << bits, CHUNK):
        # one more at the end, so that monotonicity is checked across chunks
        yield np.arange(start, min(start + CHUNK + 1, 1 << bits))


def prove(function, reference, inputs, rising):
    """Relative error and monotonicity over all inputs that `inputs` yields."""
    worst = 0
    for x in inputs:
        got, wanted = function(x).astype(np.float64), reference(x)
        worst = max(worst, np.abs(got / wanted - 1).max())
        steps = np.diff(got) if rising else -np.diff(got)
        assert (steps >= 0).all(), "not monotonic"
    assert worst <= BOUND, f"relative error 2^{np.log2(worst):.2f}"


def test_exp2_every_fraction():
    prove(table.model.exp2_fixed, lambda x: np.exp2(x / 2**24), chunks(24), True)
    assert table.model.exp2_fixed((1 << 24) - 1) <= table.model.exp2_fixed(1 << 24) == 2


def test_recip_every_mantissa():
    def floats(exponent):
        return (as_float((exponent << 23) + u) for u in chunks(23))

    prove(table.model.recip, lambda x: 1 / x.astype(np.float64), floats(127), False)
    prove(table.model.recip, lambda x: 1 / x.astype(np.float64), floats(1), False)
    assert table.model.recip(as_float([0x3FFFFFFF]))[0] >= table.model.recip(as_float([0x40000000]))[0] == 0.5


def test_rsqrt_every_mantissa_of_two_octaves():
    # fields 127 and 128: [1, 4)
    prove(table.model.rsqrt, lambda x: 1 / np.sqrt(x.astype(np.float64)),
          (as_float((127 << 23) + u) for u in chunks(24)), False)
    assert table.model.rsqrt(as_float([0x407FFFFF]))[0] >= table.model.rsqrt(np.float32([4]))[0] == 0.5


def test_log2_every_mantissa():
    for u in chunks(23):
        x = as_float((127 << 23) + u)
        got = table.model.log2(x)
        assert np.abs(got - np.log2(x.astype(np.float64))).max() <= 2.0**-24
        assert (np.diff(got) >= 0).all()


def normal_floats(low, high):
    """Every exponent in [low, high) with the ends of the mantissa range and some random ones, positive, rising."""
    mantissas = np.unique(np.concatenate([[0, 1, 0x7FFFFF, 0x400000],
                                          np.random.default_rng(7).integers(0, 1 << 23, 2000)]))
    return as_float((np.arange(low, high)[:, None] << 23 | mantissas).ravel())


def test_exp2_over_the_range():
    x = np.concatenate([-normal_floats(90, 134)[::-1], normal_floats(90, 134)])
    x = x[(x >= -126) & (x < 128)]
    prove(table.model.exp2, lambda x: np.exp2(x.astype(np.float64)), [x], True)
    every = np.sort(as_float(random_floats(np.random.default_rng(8), 1_000_000)))
    assert (np.diff(table.model.exp2(every)) >= 0).all()
    assert table.model.exp2(np.float32([0, 128, 1e38, -127.5, -1e38])).tolist() == [
        1, fp32.model.MAX, fp32.model.MAX, 0, 0]


def test_recip_over_the_range():
    x = normal_floats(1, 253)
    prove(table.model.recip, lambda x: 1 / x.astype(np.float64), [x], False)
    assert (table.model.recip(-x) == -table.model.recip(x)).all()
    assert table.model.recip(as_float([0, 0x80000000, 1])).tolist() == [fp32.model.MAX] * 3
    assert table.model.recip(np.float32([2.0**126]))[0] == np.float32(2.0**-126)
    tail = table.model.recip(normal_floats(253, 255))
    assert (np.diff(tail) <= 0).all() and tail[1] == 0


def test_rsqrt_over_the_range():
    prove(table.model.rsqrt, lambda x: 1 / np.sqrt(x.astype(np.float64)), [normal_floats(1, 255)], False)
    assert table.model.rsqrt(np.float32([0]))[0] == fp32.model.MAX


@pytest.mark.parametrize(("width", "fraction"), [(24, 24), (32, 32), (48, 0), (62, 10)])
def test_log2_fixed_error(width, fraction):
    rng = np.random.default_rng(9)
    u = np.maximum(rng.integers(0, 1 << width, 1_000_000) >> rng.integers(0, width, 1_000_000), 1)
    wanted = np.log2(u.astype(np.float64)) - fraction
    error = np.abs(table.model.log2_fixed(u, fraction) - wanted)
    assert (error <= 2.0**-22 + np.abs(wanted) * 2.0**-24).all()
    assert (table.model.log2_fixed(1 << np.arange(width), fraction) == np.arange(width) - fraction).all()


def test_rounded_results_stay_in_range():
    for name, curve in table.CURVES.items():
        top = 1 << curve.input_bits
        ends = np.concatenate([np.arange(0, 2000), np.arange(top - 2000, top)])
        y = curve.model(ends)
        low, high = (0, 1 << table.LOG2_BITS) if name == "log2" else (1 << 23, 1 << 24)
        assert y.min() >= low and y.max() <= high


@pytest.mark.parametrize("name", HARD)
def test_hard_fractions(name):
    """Each is a tie, nearly one, or a half and a single bit; and there are some of each kind."""
    curve, u = table.CURVES[name], np.array(HARD[name])
    c0, c1, c2 = (c[u >> curve.rest_bits] for c in curve.coefficients)
    d, drop = u & (1 << curve.rest_bits) - 1, table.F + curve.rest_bits - curve.result_bits
    beyond = ((c0 << curve.rest_bits) + (c1 + (c2 * d >> curve.rest_bits)) * d & (1 << drop) - 1) - (1 << drop - 1)
    single = (beyond > 0) & (beyond & beyond - 1 == 0)
    assert (single | (np.abs(beyond) < 64)).all() and (beyond == 0).sum() > 4 and len(np.unique(beyond[single])) > 15


def test_corners_are_finite():
    with np.errstate(all="raise"):
        for function in (table.model.exp2, table.model.recip, table.model.rsqrt):
            assert np.isfinite(function(as_float(CORNERS))).all()
