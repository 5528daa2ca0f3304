"""Block formats: hardware scales and codes against the model, and the model against float64."""

import cocotb
import gguf
import harness
import numpy as np
import pytest
from amaranth.hdl import signed
from amaranth.lib.data import StructLayout
from scoville.numerics import block, fp32
from scoville.numerics.formats import FORMATS, MXFP4, MXINT8, Q4_0, Q4_1, Q8_0, quantise_mxint8
from scoville.numerics.pipe import PipeUnit
from units import Units, as_float, check_model, check_stream, random_floats

SCALED = StructLayout({"integer": signed(26), "scale": 16})
VALUE = StructLayout({"a": 32, "max_field": 8, "narrow": 1})
BITS = (8, 9, 12)
COUNT = 2000


def quantiser(bits):
    def function(pipe, i):
        narrow = None if bits == 8 else pipe.input(i.value.narrow)
        e8 = block.exponent_of(i.value.max_field, bits, None if bits == 8 else i.value.narrow)
        return block.quantise_code(pipe, pipe.input(i.value.a), pipe.input(e8), bits, narrow)
    return PipeUnit(function, VALUE, signed(bits))


def scaler(decode):
    return PipeUnit(lambda pipe, i: block.scale_mul(
        pipe, pipe.input(i.value.integer), pipe.input(decode(i.value.scale))), SCALED, 32)


def units():
    made = {"any": block.ScaleMul(), "e8m0": scaler(block.from_e8m0), "fp16": scaler(block.from_fp16),
            "one": scaler(lambda _: block.scale_one())}
    return made | {f"quantise{bits}": quantiser(bits) for bits in BITS}


def integers(rng, count):
    x = rng.integers(-(1 << 24), (1 << 24) + 1, count) >> rng.integers(0, 25, count)
    x[:4] = 0, 1 << 24, -(1 << 24), -1
    return x


def packed(x, scales):
    return [int(a) & (1 << 26) - 1 | int(b) << 26 for a, b in zip(x, scales, strict=True)]


def fp16_patterns(rng, count):
    bits = rng.integers(0, 1 << 16, count)
    bits[4:200] &= 0x83FF  # subnormals and zeros
    return np.where((bits >> 10 & 31) == 31, bits & 0x83FF, bits).astype(np.uint16)


@cocotb.test()
async def scale_e8m0(dut):
    rng = np.random.default_rng(1)
    x, scales = integers(rng, COUNT), rng.integers(0, 256, COUNT)
    scales[:8] = 0, 254, 254, 255, 1, 1, 0, 0
    wanted = block.model.scale_mul(x, block.model.scale_e8m0(scales)).view(np.uint32)
    await check_stream(dut, "e8m0", packed(x, scales), lambda taken: wanted[:len(taken)], 5)


@cocotb.test()
async def scale_fp16(dut):
    rng = np.random.default_rng(2)
    x, scales = integers(rng, COUNT), fp16_patterns(rng, COUNT)
    wanted = block.model.scale_mul(x, block.model.scale_fp16(scales)).view(np.uint32)
    await check_stream(dut, "fp16", packed(x, scales), lambda taken: wanted[:len(taken)], 5)


@cocotb.test()
async def scale_none(dut):
    x = integers(np.random.default_rng(3), 500)
    wanted = fp32.model.from_int(x).view(np.uint32)
    await check_stream(dut, "one", packed(x, 0 * x), lambda taken: wanted[:len(taken)], 5)


@cocotb.test()
async def scale_any(dut):
    """Any scale that FP32 can hold, products near both ends of the range among them."""
    rng = np.random.default_rng(4)
    x = integers(rng, COUNT)
    sign, significand = rng.integers(0, 2, COUNT), rng.integers(0, 2048, COUNT)
    exponent = rng.integers(-126, 118, COUNT)
    low = COUNT // 2
    exponent[:low] = rng.integers(-136, -124, low)  # results about 2^-126
    significand[:low] |= 1024
    x[:low] = rng.choice([1, -1, 2, 3], low)
    values = np.ldexp(significand.astype(np.float64), exponent) * np.where(sign, -1.0, 1.0)
    wanted = block.model.scale_mul(x, fp32.model.flush(values)).view(np.uint32)
    shape = block.ScaleMul().i.payload.shape()
    payloads = [harness.pack(shape, {
        "integer": a, "scale": {"sign": s, "significand": m, "exponent": e}})
        for a, s, m, e in zip(x.tolist(), sign.tolist(), significand.tolist(), exponent.tolist(), strict=True)]
    keep = (np.abs(values) >= 2.0**-126) | (significand == 0)
    chosen = np.flatnonzero(keep)
    await check_stream(dut, "any", [payloads[k] for k in chosen], lambda taken: wanted[chosen][:len(taken)], 5)


def blocks(rng, count, bits):
    """Blocks of every magnitude: normal deviates, ties, codes that clamp, subnormals, zero."""
    x = as_float(random_floats(rng, count * 32)).reshape(count, 32).copy()
    part = count // 4
    x[:part] = rng.standard_normal((part, 32)) * np.ldexp(1.0, rng.integers(-130, 120, part))[:, None]
    x[part:2 * part] = np.ldexp(rng.integers(-(4 << bits), 4 << bits, (part, 32)), rng.integers(-90, 90, part)[:, None])
    x[2 * part:2 * part + 8, ::3] = as_float([0x44FFFFFF])[0]  # all ones: rounds beyond the largest code
    x[-1] = 0
    x[-2] = as_float([0x00400000])[0]
    x[-3, :] = as_float([0x00800000])[0]
    return x


def edges(rng, bits):
    """Blocks in which each of these stands alone: codes about the largest, all ones but for one bit, what clamps, every
    bit behind a tie, every bit of the exponent's field."""
    limit = block.code_limit(bits)
    codes = np.concatenate([np.arange(limit - 8, limit + 1), limit - (1 << np.arange(3, bits - 1))])
    ties = [code + 0.5 + 2.0 ** -k for code, most in ((0, 24), (2, 22), (limit - 1, 24 - bits))
            for k in range(2, most + 1)]
    values = np.concatenate([codes, codes + 0.5, [limit + 0.75], ties])
    values = np.concatenate([values, -values])
    values = np.pad(values, (0, -len(values) % 31)).reshape(-1, 31)
    first = np.full((len(values), 1), 2 ** (bits - 2))  # makes the step 1
    powers = as_float((1 << 23 << np.arange(8))[:, None] | rng.integers(0, 1 << 23, (8, 32)))
    return np.concatenate([np.concatenate([first, values], axis=1), powers]).astype(np.float32)


@cocotb.test()
@cocotb.parametrize(bits=list(BITS), narrow=[0, 1])
async def quantise(dut, bits, narrow):
    rng = np.random.default_rng(5)
    x = np.concatenate([edges(rng, 8 if narrow else bits), blocks(rng, 40, bits)])
    wanted, _, _ = block.model.quantise(x, 8 if narrow else bits)
    fields = np.repeat((x.view(np.uint32) >> 23 & 255).max(-1), 32)
    payloads = [int(a) | int(field) << 32 | narrow << 40
                for a, field in zip(x.view(np.uint32).ravel(), fields, strict=True)]
    await check_stream(dut, f"quantise{bits}", payloads,
                       lambda taken: wanted.ravel()[:len(taken)].astype(int) & (1 << bits) - 1, 2)


def test_block(sim):
    harness.run(lambda: Units(units()), __name__, sim=sim)


# the model, against float64

@pytest.mark.parametrize("bits", [8, 9, 10, 11, 12])
def test_model_quantise(bits):
    x = blocks(np.random.default_rng(6), 10_000, bits)
    q, e8, total = block.model.quantise(x, bits)
    exact = np.where(np.abs(x) < 2.0**-126, 0, x.astype(np.float64))
    largest = np.abs(exact).max(-1)
    exponent = np.where(largest > 0, np.floor(np.log2(np.where(largest > 0, largest, 1))) - (bits - 2), -127)
    exponent = np.maximum(exponent, -127)
    assert (e8 == exponent + 127).all()
    limit = 2 ** (bits - 1) - 1
    assert (q == np.clip(np.rint(exact * np.exp2(-exponent)[:, None]), -limit, limit)).all()
    assert (total == q.astype(int).sum(-1)).all()
    assert q.dtype == (np.int8 if bits == 8 else np.int16) and e8.dtype == np.uint8
    assert (q[-1] == 0).all() and e8[-1] == 0 and (q[-2] == 0).all(), "zero and subnormal blocks are zero"
    # half a code, and up to one more where the largest code clamps
    error = np.abs(q * np.exp2(exponent)[:, None] - exact) / np.exp2(exponent)[:, None]
    assert error.max() <= 1 and (error[np.abs(q) < limit] <= 0.5).all()


def test_model_scales():
    bits = np.arange(1 << 16).astype(np.uint16)
    finite = (bits >> 10 & 31) != 31
    assert (block.model.scale_fp16(bits)[finite] == bits.view(np.float16)[finite].astype(np.float64)).all()
    bytes_ = np.arange(1, 255).astype(np.uint8)
    assert (block.model.scale_e8m0(bytes_) == np.exp2(bytes_.astype(float) - 127)).all()
    assert block.model.scale_e8m0(np.uint8(0)) == 0


def test_model_scale_mul():
    rng = np.random.default_rng(7)
    x, bits = integers(rng, 300_000), fp16_patterns(rng, 300_000)
    exact = x.astype(np.float64) * bits.view(np.float16).astype(np.float64)
    wanted = exact.astype(np.float32) + np.float32(0)  # -0 becomes +0
    check_model(block.model.scale_mul(x, block.model.scale_fp16(bits)), wanted, x, bits)


# weight formats

def test_mxint8():
    x = blocks(np.random.default_rng(8), 20_000, 8)
    codes, scales = quantise_mxint8(x)
    assert scales.min() >= 1 and np.abs(codes.astype(int)).max() <= 127
    back = MXINT8.dequantise(codes, scales)
    step = np.exp2(scales.astype(float) - 127)[:, None]
    exact = np.where(np.abs(x) < 2.0**-126, 0, x.astype(np.float64))
    assert (np.abs(back - exact) <= step).all()
    inside = np.abs(codes) < 127
    assert (np.abs(back - exact) <= step / 2)[inside].all()
    again, same = quantise_mxint8(back)
    normal = scales > 1
    assert (MXINT8.dequantise(again, same)[normal] == back[normal]).all(), "quantising twice changes nothing"


def test_mxfp4():
    values = MXFP4.decode(np.arange(16)) / 2
    assert values.tolist() == [0, .5, 1, 1.5, 2, 3, 4, 6, 0, -.5, -1, -1.5, -2, -3, -4, -6]
    checkpoint = np.array([127, 130, 2], np.uint8)
    weights = MXFP4.dequantise(np.tile(np.arange(16), 2) * np.ones((3, 1), int), MXFP4.hardware_scale(checkpoint))
    assert (weights[:, :16] == values * np.exp2(checkpoint.astype(float) - 127)[:, None]).all()


def test_gguf_formats():
    codes = np.tile(np.arange(16), 2)
    scale, minimum = np.float16(0.375).view(np.uint16), np.float16(-1.25).view(np.uint16)
    assert Q4_0.dequantise(codes, scale).tolist() == ((codes - 8) * 0.375).tolist()
    assert Q4_1.dequantise(codes, scale, minimum).tolist() == (codes * 0.375 - 1.25).tolist()
    signed_codes = np.arange(-128, 128, 8).astype(np.int8)
    assert Q8_0.dequantise(signed_codes, scale).tolist() == (signed_codes * 0.375).tolist()
    assert {name: entry.block_bytes for name, entry in FORMATS.items()} == {
        "MXINT8": 33, "MXFP4": 17, "Q8_0": 34, "Q4_0": 18, "Q4_1": 20, "INT4": 18, "Q8_MIN": 36, "Q5_0": 22, "Q5_1": 24,
        "IQ4_NL": 18, "IQ4_XS": 18.25, "Q3_K": 18.25, "Q4_K": 18, "Q5_K": 22, "Q6_K": 26.25}
    for name in ("Q4_K", "Q5_K", "Q6_K", "Q5_0", "Q5_1", "IQ4_NL"):  # as in the file
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
        assert FORMATS[name].block_bytes * block == 32 * size
