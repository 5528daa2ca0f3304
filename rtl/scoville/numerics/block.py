"""Blocks of 32 values that share a scale: activation blocks with an exponent byte, and weight scales."""

import numpy as np
from amaranth.hdl import C, Cat, Mux, signed, unsigned
from amaranth.lib.data import ArrayLayout, StructLayout, View

from .. import config
from . import fp32
from .pipe import PipeUnit, width_of

__all__ = ["SCALE_MUL_LATENCY", "Scale", "ScaleMul", "block_layout", "code_limit", "exponent_of", "from_e8m0",
           "from_fp16", "model", "products_layout", "quantise_code", "scale_mul", "scale_one", "scale_products",
           "scale_sum"]

SCALE_MUL_LATENCY = 5

Scale = StructLayout({"sign": 1, "significand": unsigned(11), "exponent": signed(9)})
"""A weight scale or minimum: (-1)^sign * significand * 2^exponent."""


def block_layout(act_bits):
    """An activation block: 32 codes, the exponent byte e + 127, and the sum of the codes."""
    return StructLayout({"q": ArrayLayout(signed(act_bits), config.BLOCK), "e8": unsigned(8),
                         "sum": signed(act_bits + 5)})


def from_e8m0(byte):
    """`Scale` of an E8M0 byte s, 2^(s - 127), combinational; s = 0 counts as zero."""
    exponent = (Cat(byte[:8], C(0, 1)).as_signed() - 127)[:9]
    return View(Scale, Cat(C(0, 1), byte[:8].any(), C(0, 10), exponent))


def from_fp16(bits):
    """`Scale` of an FP16 value, combinational; subnormals are honoured, and infinities and NaN must not occur."""
    field = bits[10:15]
    normal = field.any()
    exponent = (Cat(field, C(0, 4)).as_signed() - 25 + ~normal)[:9]
    return View(Scale, Cat(bits[15], bits[:10], normal, exponent))


def scale_one():
    """`Scale` of 1.0."""
    return View(Scale, C(1 << 1, Scale.size))


def scale_mul(pipe, integer, scale):
    """FP32 of integer * scale, equal to mul(f32(integer), f32(scale)). Latency 5; 4 for integers of at most 17 bits.

    Parameters
    ----------
    integer : signed, up to 26 bits wide, of magnitude at most 2^24 (so that it is exact in FP32)
    scale : `Scale`
    """
    at, (integer, scale) = pipe.align(integer, scale)
    width = width_of(integer)
    assert width <= 26
    sign = pipe.reg(integer[-1] ^ scale.sign, at)
    negative = pipe.reg(integer[-1], at).value
    exponent = pipe.reg(scale.exponent + 127, at)
    # What one 18-bit multiplier takes, and the few bits above
    low = min(17, width - 1)
    product = pipe.product(integer[:low], scale.significand, at).value
    above = pipe.reg(fp32.small_product(scale.significand, integer[low:].as_signed()), at).value
    product = pipe.wire(Cat(product[:low], product[low:] + above)[:width + 11])
    magnitude = pipe.reg(Mux(negative, -product, product)[:width + 10], at + 1).value
    at += 2
    return fp32.from_magnitude(pipe, at, pipe.delay(sign, at), magnitude, pipe.delay(exponent, at), wide=27)


def products_layout(count, bits):
    """Layout of an FP16 scale times `count` signed integers of `bits` bits: each times 2^exponent, exact."""
    return StructLayout({"integers": ArrayLayout(signed(11 + bits), count), "exponent": signed(9)})


def scale_products(pipe, scale, integers):
    """A `Scale` times each of some signed HDL integers of one width: `products_layout`. Latency 1."""
    bits = width_of(integers[0])
    layout = products_layout(len(integers), bits)
    at, (scale, *integers) = pipe.align(scale, *map(pipe.input, integers))
    products = [scale.significand * Mux(scale.sign, -integer, integer) for integer in integers]
    return pipe.reg(View(layout, Cat(*(product[:11 + bits] for product in products), scale.exponent)), at)


def scale_sum(pipe, integers, scales):
    """FP32 of sum(integer * scale) * 2^exponent, exact before its one rounding. Latency 4 or 5.

    Parameters
    ----------
    integers : list of signed Staged values
    scales : Staged of `products_layout`, as many
    """
    at, (scales, *integers) = pipe.align(scales, *integers)
    products = [pipe.reg(integer * scale, at).value for integer, scale in zip(integers, scales.integers, strict=True)]
    exponent = pipe.reg(scales.exponent + 127, at)
    total = pipe.wire(sum(products[1:], products[0]))
    sign = pipe.reg(total[-1], at + 1)
    magnitude = pipe.reg(Mux(total[-1], -total, total)[:width_of(total)], at + 1).value
    at += 2
    return fp32.from_magnitude(pipe, at, sign.value, magnitude, pipe.delay(exponent, at), wide=27)


def exponent_of(max_field, bits, narrow=None):
    """Exponent byte of a block from the largest FP32 exponent field in it, combinational: max(field - (bits - 2), 0).

    Parameters
    ----------
    bits : Python int, bits of a code
    narrow : None, or a 1-bit value that chooses 8 bits instead
    """
    drop = C(bits - 2, 4) if narrow is None else Mux(narrow, C(6, 4), C(bits - 2, 4))
    return Mux(max_field > drop, (max_field - drop)[:8], 0)


def code_limit(bits):
    """Largest code: codes are -limit to limit."""
    return (1 << bits - 1) - 1


def quantise_code(pipe, a, e8, bits, narrow=None):
    """The code of one value of a block: round-half-even(a * 2^-(e8 - 127)) clamped to the code limit. Latency 2.

    Parameters
    ----------
    a : FP32
    e8 : exponent byte of the block
    bits : Python int, bits of a code; the result is signed(bits)
    narrow : None, or a 1-bit value that clamps to 8 bits instead
    """
    at, (a, e8) = pipe.align(a, e8)
    sign, field = a[31], a[23:31]
    # the significand above a window of bits + 1 zeros, shifted right: the code, a guard bit and the rest
    distance = pipe.wire((Cat(e8, C(0, 2)) + (bits - 1) - field)[:10].as_signed())
    significand = Cat(C(0, bits + 1), a[:23], field.any())
    shifted = pipe.reg(fp32.shift_right(pipe, significand, distance), at).value
    sign = pipe.reg(sign, at).value
    code, guard, rest = shifted[25:], shifted[24], shifted[:24].any()
    assert len(code) == bits
    # -(code + up) is ~code + ~up; what is clamped is decided beside that sum
    up = guard & (rest | code[0])
    value = pipe.wire(((code ^ sign.replicate(bits)) + (up ^ sign))[:bits])
    limit = C(code_limit(bits), bits)
    over = code[bits - 1] | code[:bits - 1].all()
    if narrow is not None:
        narrow = pipe.delay(narrow, at + 1)
        limit = Mux(narrow, C(code_limit(8), bits), limit)
        over = Mux(narrow, code[7:].any() | code[:7].all(), over)
    clamped = Mux(sign, ~limit + 1, limit)
    return pipe.reg(Mux(over, clamped, value)[:bits].as_signed(), at + 1)


class model:
    """The same on numpy arrays."""

    @staticmethod
    def exponent_of(x, bits):
        """Exponent bytes (uint8) of blocks x[..., 32]."""
        bits_of_x = np.ascontiguousarray(x, np.float32).view(np.uint32)
        field = (bits_of_x & np.uint32(0x7F800000)).max(-1) >> np.uint32(23)
        return np.maximum(field.astype(np.int32) - (bits - 2), 0).astype(np.uint8)

    @staticmethod
    def codes(x, e8, bits):
        """Codes (int8, or int16 if bits > 8) of blocks x[..., 32] with exponent bytes e8[...]."""
        # 2^-(e8 - 127) is a normal float for every e8 that exponent_of can give
        factor = ((254 - np.asarray(e8).astype(np.uint32)) << np.uint32(23)).view(np.float32)
        with np.errstate(all="ignore"):
            scaled = np.rint(fp32.model._input(x) * factor[..., None])
        limit = code_limit(bits)
        return np.clip(scaled, -limit, limit).astype(np.int8 if bits <= 8 else np.int16)

    @staticmethod
    def quantise(x, bits):
        """(q int8 or int16, e8 uint8, sum int32) of x[..., 32] float32."""
        x = np.asarray(x, np.float32)
        assert x.shape[-1] == config.BLOCK
        e8 = model.exponent_of(x, bits)
        q = model.codes(x, e8, bits)
        return q, e8, q.sum(-1, dtype=np.int32)

    @staticmethod
    def scale_e8m0(byte):
        """float32 of E8M0 bytes; 0 counts as zero."""
        byte = np.asarray(byte, np.uint8).astype(np.uint32)
        return np.where(byte == 255, np.uint32(fp32.MAX_BITS), byte << np.uint32(23)).astype(np.uint32).view(np.float32)

    @staticmethod
    def scale_fp16(bits):
        """float32 of FP16 bit patterns (uint16)."""
        return np.asarray(bits, np.uint16).view(np.float16).astype(np.float32)

    @staticmethod
    def scale_mul(integer, scale):
        """float32 of integer * scale, for float32 scales."""
        return fp32.model.mul(np.asarray(integer, np.int64).astype(np.float32), scale)

    @staticmethod
    def scale_integer(integer, scale):
        """float32 of integer * scale, rounded once, for integers below 2^40 and FP16 scales as float32."""
        return fp32.model.flush(np.asarray(integer, np.float64) * np.asarray(scale, np.float64))


class ScaleMul(PipeUnit):
    """o = integer * scale as FP32. One result a cycle; latency 5.

    Parameters
    ----------
    width : bits of the signed integer, at most 26

    Members
    -------
    i : In(stream of {integer, scale})
    o : Out(stream of FP32)
    """

    def __init__(self, width=26):
        layout = StructLayout({"integer": signed(width), "scale": Scale})
        super().__init__(
            lambda pipe, i: scale_mul(pipe, pipe.input(i.value.integer), pipe.input(i.value.scale)), layout, 32)

    model = staticmethod(model.scale_mul)
