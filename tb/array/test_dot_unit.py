"""rtl/scoville/array/dot_unit.py: a dot unit against its model, and the model of a linear layer against float64."""

from dataclasses import replace

import cocotb
import harness
import numpy as np
import pytest
from scoville.array.dot_unit import DotUnit, linear
from scoville.config import ChipConfig, get_config
from scoville.numerics import block

ODD = ChipConfig(name="odd", bus_bytes=16, rows=8, lanes=1, dot_width=8, act_bits=12)
STAGED = replace(ODD, name="staged", product_stages=3)
HALVES = replace(ODD, name="halves", bus_bytes=64, k_quants=True)
CONFIGS = {config.name: config for config in (get_config("nano"), get_config("kria"), ODD, STAGED, HALVES)}


def random_scales(rng, shape):
    """FP16 bit patterns: any finite value, subnormals and both zeros among them."""
    bits = rng.integers(0, 1 << 16, shape, dtype=np.uint16)
    bits = np.where((bits >> 10 & 31) == 31, bits & 0x83FF, bits).astype(np.uint16)
    return np.where(rng.random(shape) < 0.05, bits & 0x8000, bits).astype(np.uint16)


def scale_fields(bits):
    """Fields of `Scale` of an FP16 bit pattern."""
    bits = int(bits)
    field = bits >> 10 & 31
    return {"sign": bits >> 15, "significand": (field != 0) << 10 | bits & 1023, "exponent": max(field, 1) - 25}


def random_integers(rng, n):
    """Integers of n scales of two halves, and of n minimums: 1 in half of them; extremes are frequent."""
    extremes = [-128, -127, -1, 0, 1, 63, 127]
    scale = rng.choice(extremes, (n, 2)) if rng.random() < 0.3 else rng.integers(-128, 128, (n, 2))
    minimum = rng.choice([0, 1, 63], n) if rng.random() < 0.3 else rng.integers(0, 64, n)
    plain = rng.random(n) < 0.5
    return np.where(plain[:, None], 1, scale), np.where(plain, 1, minimum)


def products_fields(bits, integers):
    """Fields of `block.products_layout`: an FP16 bit pattern times integers."""
    scale = scale_fields(bits)
    signed = (-1) ** scale["sign"] * scale["significand"]
    return {"integers": [signed * int(integer) for integer in integers], "exponent": scale["exponent"]}


def row_fields(config, scale, minimum, integers, minimum_integer):
    """What a lane takes of a row's scale and minimum, as `scale_layout` and `minimum_layout` have it."""
    if not config.k_quants:
        return scale_fields(scale), scale_fields(minimum)
    return products_fields(scale, integers), products_fields(minimum, [minimum_integer])


def whole_codes(codes, integers):
    """Codes [n, 32] times the integers [n, 2] of their halves, for the models."""
    return codes.astype(np.int64) * np.repeat(integers, 16, axis=1)


def random_items(rng, n, act_bits):
    """n items: codes, FP16 scale and minimum, activation block; extremes are frequent."""
    codes = rng.integers(-128, 128, (n, 32), dtype=np.int8)
    x = (rng.standard_normal((n, 32)) * 2.0 ** rng.integers(-40, 40, (n, 1))).astype(np.float32)
    x[rng.random(n) < 0.05] = 0
    q, e8, total = block.model.quantise(x, act_bits)
    extreme = rng.random(n) < 0.1
    codes[extreme] = -128
    q[extreme] = (1 << act_bits - 1) - 1
    total = q.sum(-1, dtype=np.int32)
    scale, minimum = random_scales(rng, n), random_scales(rng, n)
    minimum[rng.random(n) < 0.5] = 0
    return codes, scale, minimum, q, e8, total


@cocotb.test()
async def terms(dut):
    config = CONFIGS[harness.parameters()]
    tb = harness.Bench(dut, seed=1)
    source, sink = tb.source("i"), tb.sink("o")
    layout = DotUnit(config).i.payload.shape()
    count = 200 // config.block_cycles * 4
    for stalls in (0.3, 0.0):
        source.stalls = sink.stalls = stalls
        await tb.reset()
        codes, scale, minimum, q, e8, total = random_items(tb.np_rng, count, config.act_bits)
        integers, least = random_integers(tb.np_rng, count)
        if not config.k_quants:
            integers[:], least[:] = 1, 1
        expected = DotUnit.model(whole_codes(codes, integers), block.model.scale_fp16(scale),
                                 block.model.scale_fp16(minimum) * least.astype(np.float32), q, e8, total)
        rows = [row_fields(config, *row) for row in zip(scale, minimum, integers, least, strict=True)]
        source.send([harness.pack(layout, {
            "codes": codes[n], "scale": rows[n][0], "minimum": rows[n][1],
            "block": {"q": q[n], "e8": e8[n], "sum": total[n]}}) for n in range(count)])
        received = np.array(await sink.receive(count), np.uint32)
        np.testing.assert_array_equal(received, expected.view(np.uint32))
    assert sink.cycles[-1] - sink.cycles[0] == (count - 1) * config.block_cycles


@pytest.mark.parametrize("name", CONFIGS)
def test_terms(sim, name):
    harness.run(lambda: DotUnit(CONFIGS[name]), __name__, sim=sim, parameters=name)


def test_linear_close_to_float64():
    rng = np.random.default_rng(1)
    k, n, t = 18, 64, 3
    codes = rng.integers(-8, 8, (k, n, 32), dtype=np.int8)
    scales = rng.random((k, n), np.float32).astype(np.float16).astype(np.float32)
    minimums = -scales * 8
    q, e8, total = block.model.quantise(rng.standard_normal((k, t, 32)).astype(np.float32), 8)
    result = linear(codes, scales, minimums, q, e8, total)
    weights = codes * scales[..., None].astype(np.float64) + minimums[..., None]
    x = q * 2.0 ** (e8.astype(np.float64) - 127)[..., None]
    exact = np.einsum("kni,kti->nt", weights, x)
    size = np.einsum("kni,kti->nt", abs(codes * scales[..., None]) + abs(minimums[..., None]), abs(x))
    assert result.dtype == np.float32
    # k additions and four roundings a term, each half a unit of 2^-23
    assert (abs(result - exact) <= (k + 4) * 2.0**-24 * size).all()


def test_linear_continues_from_accumulators():
    rng = np.random.default_rng(2)
    codes, scales = rng.integers(-128, 128, (6, 32, 32), dtype=np.int8), rng.random((6, 32)).astype(np.float32)
    q, e8, total = block.model.quantise(rng.standard_normal((6, 2, 32)).astype(np.float32), 8)
    half = linear(codes[:3], scales[:3], None, q[:3], e8[:3], total[:3])
    whole = linear(codes[3:], scales[3:], None, q[3:], e8[3:], total[3:], half)
    np.testing.assert_array_equal(whole, linear(codes, scales, None, q, e8, total))
