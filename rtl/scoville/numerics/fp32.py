"""FP32 arithmetic as pipe functions on raw 32-bit values, with the numpy model that they equal bit for bit.

Zero is always +0; results that are subnormal after IEEE rounding become +0 and inputs with exponent field 0 count as
+0; overflow saturates to the largest finite value. Inputs are finite. Rounding is to nearest, ties to even.
"""

import struct

import numpy as np
from amaranth.hdl import C, Cat, Const, Mux, signed
from amaranth.hdl import Value as HdlValue
from amaranth.lib.data import StructLayout

from .pipe import PipeUnit, width_of

__all__ = ["MAX_BITS", "Fp32Add", "Fp32FromInt", "Fp32Mul", "add", "clipped", "constant", "from_int", "greater",
           "model", "mul", "neg", "normalise", "round_pack", "scale2", "to_fixed", "unpack"]

MAX_BITS = 0x7F7FFFFF  # the largest finite value


def bits_of(x):
    """The FP32 bit pattern of a Python float."""
    return struct.unpack("<I", struct.pack("<f", x))[0]


def constant(x):
    """An HDL constant from a Python float."""
    return Const(bits_of(x), 32)


def unpack(value):
    """(sign, exponent field, 24-bit significand) of an FP32 value; a value with field 0 has significand 0."""
    field = value[23:31]
    return value[31], field, Mux(field.any(), Cat(value[:23], C(1, 1)), 0)


def normalise(pipe, value, steps):
    """(value shifted left until its top bit is set, the shift).

    There is one log-shifter stage for each of `steps`, e.g. 4, 2, 1. Stages can be split over registers by calling
    twice with parts of the steps. Zero stays zero.
    """
    shifts = []
    width = width_of(value)
    for step in steps:
        empty = pipe.wire(~value[max(width - step, 0):].any())
        value = pipe.wire(Mux(empty, Cat(C(0, step), value)[:width], value))
        shifts.append(empty)
    return value, Cat(*reversed(shifts))


def steps_for(width):
    """Log-shifter steps that normalise any nonzero value of `width` bits, largest first."""
    return [1 << bit for bit in reversed(range((width - 1).bit_length()))]


def round_pack(pipe, at, sign, exponent, significand, guard, sticky):
    """The rounded, flushed and saturated FP32 behind one register (and the overflow flag, if asked for).

    Parameters
    ----------
    exponent : signed value, the exponent field before rounding, possibly out of range.
    significand : 24 bits whose top bit is set, or 0 for zero.
    guard, sticky : the next bit, and whether any bit after it is set.
    """
    assert width_of(significand) == 24
    # IEEE would round a value of field 0 at one bit less than 24: with 24 ones it reaches 2^-126 and is not flushed
    up = guard & (sticky | significand[0]) | (exponent == 0) & significand.all()
    exponent = HdlValue.cast(exponent)
    assert exponent.shape().signed
    wide = pipe.wire(Cat(significand[:23], exponent).as_signed() + Cat(up, C(0, 1)).as_signed())
    field = wide[23:].as_signed()
    overflow = pipe.wire(significand[23] & (field >= 255))
    magnitude = Mux(overflow, C(MAX_BITS, 31), wide[:31])
    pipe.flag(overflow, at)
    return pipe.reg(Mux(significand[23] & (field > 0), Cat(magnitude, sign), C(0, 32)), at)


def add(pipe, a, b):
    """a + b. Latency 4."""
    at, (a, b) = pipe.align(a, b)
    # larger magnitude first
    swap = pipe.wire(a[:31] < b[:31])
    sign, field, big = unpack(pipe.wire(Mux(swap, b, a)))
    _, small_field, small = unpack(pipe.wire(Mux(swap, a, b)))
    distance = pipe.wire((field - small_field)[:8])
    distance = pipe.reg(Mux(distance[5:].any(), C(31, 5), distance[:5]), at)
    sign, field, big, small = (pipe.reg(value, at) for value in (sign, field, big, small))
    subtract = pipe.reg(a[31] ^ b[31], at)
    # align the smaller one: 24 bits, guard, round and sticky
    shifted = pipe.wire(Cat(C(0, 27), small.value) >> distance.value)
    aligned = pipe.reg(Cat(shifted[:25].any(), shifted[25:51]), at + 1)
    # add, and the first half of the normalising shift
    big = Cat(C(0, 3), pipe.delay(big, at + 2))
    difference = pipe.wire(Mux(pipe.delay(subtract, at + 2), big - aligned.value, big + aligned.value)[:28])
    total, coarse = normalise(pipe, difference, [16, 8])
    total, coarse = pipe.reg(total, at + 2), pipe.reg(coarse, at + 2)
    # the second half, and the rounding
    total, fine = normalise(pipe, total.value, [4, 2, 1])
    exponent = pipe.wire((pipe.delay(field, at + 3) + 1) - Cat(fine, coarse.value))
    return round_pack(pipe, at + 3, pipe.delay(sign, at + 3), exponent, total[4:], total[3], total[:3].any())


def mul(pipe, a, b):
    """a * b. Latency 3."""
    at, (a, b) = pipe.align(a, b)
    (a_sign, a_field, a), (b_sign, b_field, b) = unpack(a), unpack(b)
    sign = pipe.reg(a_sign ^ b_sign, at)
    exponent = pipe.reg(a_field + b_field - 127, at)
    product = pipe.reg(pipe.reg(a, at).value * pipe.reg(b, at).value, at + 1).value
    top = product[47]
    return round_pack(
        pipe, at + 2, pipe.delay(sign, at + 2), pipe.wire(pipe.delay(exponent, at + 2) + top),
        pipe.wire(Mux(top, product[24:], product[23:47])), Mux(top, product[23], product[22]),
        Mux(top, product[22], 0) | product[:22].any())


def from_magnitude(pipe, at, sign, magnitude, exponent):
    """sign * magnitude * 2^(exponent - 127), rounded once, from HDL values of age `at`. Latency 2."""
    width = width_of(magnitude)
    shifted, zeros = normalise(pipe, magnitude, steps_for(width))
    shifted, zeros = pipe.reg(shifted, at).value, pipe.reg(zeros, at).value
    sign, exponent = pipe.reg(sign, at).value, pipe.reg(exponent, at).value
    if width < 26:
        shifted, spare = Cat(C(0, 26 - width), shifted), 2
    else:
        spare = width - 24
    return round_pack(pipe, at + 1, sign, pipe.wire((exponent + (width - 1)) - zeros), shifted[spare:],
                      shifted[spare - 1], shifted[:spare - 1].any())


def from_int(pipe, x, exponent=0):
    """The FP32 nearest to x * 2^exponent. Latency 3.

    Parameters
    ----------
    x : signed or unsigned integer up to 64 bits wide
    exponent : Python int, -126 to 100
    """
    if not -126 <= exponent <= 100:
        raise ValueError(f"exponent is {exponent}; it must be -126 to 100")
    at, (x,) = pipe.align(x)
    x = HdlValue.cast(x)
    sign = x[-1] if x.shape().signed else C(0, 1)
    magnitude = Mux(sign, -x, x)[:len(x)]  # the most negative value is its own magnitude when read as unsigned
    sign, magnitude = pipe.reg(sign, at), pipe.reg(magnitude, at)
    return from_magnitude(pipe, at + 1, sign.value, magnitude.value, C(127 + exponent, signed(9)))


def scale2(pipe, a, e):
    """a * 2^e by exponent-field addition; e is an integer value. Latency 1."""
    at, (a, e) = pipe.align(a, e)
    field = pipe.wire(a[23:31] + e)
    normal = a[23:31].any()
    overflow = pipe.wire(normal & (field >= 255))
    magnitude = Mux(overflow, C(MAX_BITS, 31), Cat(a[:23], field[:8]))
    pipe.flag(overflow, at)
    return pipe.reg(Mux(normal & (field > 0), Cat(magnitude, a[31]), C(0, 32)), at)


def to_fixed(pipe, a, fraction_bits, width):
    """a * 2^fraction_bits as a signed integer of `width` bits, ties to even, saturated. Latency 2."""
    at, (a,) = pipe.align(a)
    sign, field, significand = unpack(a)
    window = max(width, 25)
    # the significand at the top of a window, whose lowest bit weighs 1, then shifted right; 24 bits below keep the rest
    distance = pipe.wire(C(window - 24 + 150 - fraction_bits, signed(12)) - field)
    huge = distance < 0
    clipped = Mux(distance > window + 1, window + 1, distance)[:(window + 1).bit_length()]
    shifted = pipe.reg(Cat(C(0, window), significand) >> clipped, at).value
    sign = pipe.reg(sign, at).value
    huge = pipe.reg(huge & significand[23], at).value
    magnitude = pipe.wire(shifted[24:] + (shifted[23] & (shifted[:23].any() | shifted[24])))
    limit = (1 << width - 1) - 1
    over = huge | (magnitude > limit)
    value = Mux(sign, Mux(over, -limit - 1, -magnitude), Mux(over, limit, magnitude))
    return pipe.reg(value[:width].as_signed(), at + 1)


def neg(value):
    """-value, combinational; zero stays +0."""
    return Mux(value[23:31].any(), Cat(value[:31], ~value[31]), C(0, 32))


def clipped(values):
    """For each of several values, whether it has the largest magnitude, which only clipping gives; combinational."""
    return Cat(values[index][:31] == MAX_BITS for index in range(len(values)))


def greater(a, b):
    """a > b, combinational."""
    def key(value):
        magnitude = Mux(value[23:31].any(), value[:31], 0)
        return Mux(value[31], -magnitude, magnitude)
    return key(a) > key(b)


class model:
    """The same functions on float32 arrays (broadcasting); `to_fixed` gives int64."""

    MAX = np.float32(struct.unpack("<f", struct.pack("<I", MAX_BITS))[0])
    TINY = np.float32(2.0**-126)

    @staticmethod
    def _result(x):
        """Saturate and flush a freshly computed float32 array, in place."""
        x = np.asarray(x)
        magnitude = np.abs(x)
        if magnitude.size and not magnitude.max() <= model.MAX:
            x = np.clip(x, -model.MAX, model.MAX)
        small = magnitude < model.TINY
        if small.any():
            x = np.where(small, np.float32(0), x)
        return x

    @staticmethod
    def _input(x):
        """`x` as float32 with subnormals replaced by zero."""
        x = np.asarray(x, np.float32)
        subnormal = ((x.view(np.uint32) << np.uint32(1)) - np.uint32(2)) < np.uint32(0xFFFFFE)
        return np.where(subnormal, np.float32(0), x) if subnormal.any() else x

    @staticmethod
    def flush(x):
        """`x` rounded to float32 with subnormals and -0 made +0 and overflow made the largest finite value."""
        with np.errstate(all="ignore"):
            return model._result(np.asarray(x).astype(np.float32))

    @staticmethod
    def add(a, b):
        with np.errstate(all="ignore"):
            return model._result(np.add(model._input(a), model._input(b)))

    @staticmethod
    def mul(a, b):
        with np.errstate(all="ignore"):
            return model._result(np.multiply(model._input(a), model._input(b)))

    @staticmethod
    def from_int(x, exponent=0):
        return model.scale2(np.asarray(x, np.int64).astype(np.float32), exponent)

    @staticmethod
    def scale2(a, e):
        bits = np.asarray(a, np.float32).view(np.int32)
        e = np.clip(np.asarray(e), -512, 512).astype(np.int32)
        field = bits >> np.int32(23) & np.int32(255)
        moved = field + e
        result = bits + (e << np.int32(23))  # right wherever both fields are in range, as they nearly always are
        unusual = ((moved - np.int32(1)).view(np.uint32) >= 254) | (field == 0)
        if unusual.any():
            result = np.where(moved >= 255, bits & np.int32(-1 << 31) | np.int32(MAX_BITS), result)
            result = np.where((field == 0) | (moved <= 0), np.int32(0), result)
        return result.view(np.float32)

    @staticmethod
    def neg(a):
        return model._result(-model._input(a))

    @staticmethod
    def greater(a, b):
        return model._input(a) > model._input(b)

    @staticmethod
    def to_fixed(a, fraction_bits, width):
        limit = 2.0 ** (width - 1)
        scaled = np.rint(model._input(a).astype(np.float64) * 2.0**fraction_bits)
        top = np.int64((1 << width - 1) - 1)
        return np.where(scaled >= limit, top, np.clip(scaled, -limit, limit - 1).astype(np.int64))


_PAIR = StructLayout({"a": 32, "b": 32})


class Fp32Add(PipeUnit):
    """o = a + b. One result a cycle; latency 4.

    Members
    -------
    i : In(stream of {a, b}), FP32
    o : Out(stream of FP32)
    """

    def __init__(self):
        super().__init__(lambda pipe, i: add(pipe, pipe.input(i.value.a), pipe.input(i.value.b)), _PAIR, 32)

    model = staticmethod(model.add)


class Fp32Mul(PipeUnit):
    """o = a * b. One result a cycle; latency 3.

    Members
    -------
    i : In(stream of {a, b}), FP32
    o : Out(stream of FP32)
    """

    def __init__(self):
        super().__init__(lambda pipe, i: mul(pipe, pipe.input(i.value.a), pipe.input(i.value.b)), _PAIR, 32)

    model = staticmethod(model.mul)


class Fp32FromInt(PipeUnit):
    """o = i as FP32. One result a cycle; latency 3.

    Parameters
    ----------
    shape : shape of the integer, signed or unsigned, up to 64 bits

    Members
    -------
    i : In(stream of the integer)
    o : Out(stream of FP32)
    """

    def __init__(self, shape):
        super().__init__(from_int, shape, 32)

    model = staticmethod(model.from_int)
