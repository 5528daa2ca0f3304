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


def leading_zeros(value):
    """Zeros above the top set bit, combinational, by a tree; anything if there is none.

    The width is taken as the next power of two, with ones below.
    """
    width = 1 << (width_of(value) - 1).bit_length()
    found = [(bit, []) for bit in [*[C(1, 1)] * (width - width_of(value)), *value]]  # (some bit set, count bits)
    while len(found) > 1:
        found = [(low | high, [*(Mux(high, *bits) for bits in zip(high_count, low_count, strict=True)), ~high])
                 for (low, low_count), (high, high_count) in zip(found[::2], found[1::2], strict=True)]
    return Cat(found[0][1])


def shift_left(pipe, value, amount):
    """value << amount in the width of `value`, combinational; two bits of the amount at a time, a 4:1 selection."""
    width = width_of(value)
    for low in range(0, len(amount), 2):
        # Not by one shift: it would be as wide as the largest amount of its bits makes it, which a simulator pays for.
        for bit in range(low, min(low + 2, len(amount))):
            value = Mux(amount[bit], Cat(Const(0, 1 << bit), value)[:width], value)
        value = pipe.wire(value)
    return value


def normalise(pipe, value, at, wide=36):
    """(value shifted left until its top bit is set, the shift): one register, or two if wider than `wide` bits.

    Zero stays zero.
    """
    zeros = leading_zeros(value)
    if width_of(value) > wide:
        value, zeros, at = pipe.reg(value, at).value, pipe.reg(zeros, at).value, at + 1
    zeros = pipe.wire(zeros)
    return pipe.reg(shift_left(pipe, value, zeros), at), pipe.reg(zeros, at)


def round_pack(pipe, at, sign, exponent, significand, guard, sticky):
    """The rounded, flushed and saturated FP32 behind one register (and the overflow flag, if asked for).

    Parameters
    ----------
    exponent : signed value, the exponent field before rounding, possibly out of range.
    significand : 24 bits whose top bit is set, or 0 for zero.
    guard, sticky : the next bit, and whether any bit after it is set.
    """
    assert width_of(significand) == 24
    exponent = HdlValue.cast(exponent)
    assert exponent.shape().signed
    # What becomes of the value is decided beside the carry of the rounding, not after it.
    ones = pipe.wire(significand[:23].all())
    up = pipe.wire(guard & (sticky | significand[0]))
    overflow = pipe.wire(significand[23] & ((exponent >= 255) | (exponent == 254) & ones & up))
    # IEEE would round a value of field 0 at one bit less than 24: with 24 ones it reaches 2^-126 and is not flushed
    least = pipe.wire((exponent == 0) & ones)
    flushed = pipe.wire(~significand[23] | (exponent < 0) | (exponent == 0) & ~ones)
    wide = pipe.wire((Cat(significand[:23], exponent[:8]) + up)[:31])
    pipe.flag(overflow, at)
    magnitude = Mux(overflow, C(MAX_BITS, 31), Mux(least, C(1 << 23, 31), wide))
    return pipe.reg(Mux(flushed, C(0, 32), Cat(magnitude, sign)), at)


def add(pipe, a, b):
    """a + b. Latency 4.

    Two ways, so that no stage both cancels and rounds: operands that nearly cancel (opposite signs, exponents at most 1
    apart) need a long normalising shift and no sticky bit; all others move by one place at most.
    """
    at, (a, b) = pipe.align(a, b)
    # larger magnitude first; a value of field 0 counts as 0
    swap = pipe.wire(a[:31] < b[:31])
    a_normal, b_normal = pipe.wire(a[23:31].any()), pipe.wire(b[23:31].any())
    apart = [pipe.wire((x[23:31] - y[23:31])[:8]) for x, y in ((a, b), (b, a))]
    apart = [pipe.wire(Mux(d[5:].any(), C(31, 5), d[:5])) for d in apart]
    distance = pipe.reg(Mux(swap, apart[1], apart[0]), at).value
    fraction = [Cat(x[:23] & normal.replicate(23), normal) for x, normal in ((a, a_normal), (b, b_normal))]
    big = pipe.reg(Mux(swap, fraction[1], fraction[0]), at)
    small = pipe.reg(Mux(swap, fraction[0], fraction[1]), at).value
    field, sign = pipe.reg(Mux(swap, b[23:31], a[23:31]), at), pipe.reg(Mux(swap, b[31], a[31]), at)
    subtract = pipe.reg(a[31] ^ b[31], at).value
    # Far: align the smaller one: 24 bits, guard, round and sticky; its complement if it is to be subtracted
    fill = subtract.replicate(27)
    shifted = pipe.wire(Cat(fill, small ^ subtract.replicate(24), subtract).as_signed() >> distance)
    sticky = pipe.wire((shifted[:25] ^ subtract.replicate(25)).any() ^ subtract)
    aligned = pipe.reg(Cat(sticky, shifted[25:51], subtract), at + 1).value
    # Near: the exact difference, and the first of its normalising shift
    next_field = pipe.reg(Cat(pipe.delay(field, at + 1) + 1, C(0, 1)).as_signed(), at + 1).value
    near = pipe.reg(subtract & ~distance[1:].any(), at + 1)
    difference = pipe.wire((Cat(C(0, 1), big.value) - Mux(distance[0], Cat(small, C(0, 1)), Cat(C(0, 1), small)))[:25])
    coarse = pipe.wire(~difference[9:].any())
    coarse, difference = (pipe.reg(x, at + 1).value for x in (coarse, Mux(coarse, difference << 16, difference)[:25]))
    # Far: add, and move by a place where the top bit is not at the top
    carry = pipe.delay(pipe.input(subtract, at + 1), at + 2)
    total = pipe.wire((Cat(C(1, 1), C(0, 3), pipe.delay(big, at + 2)) + Cat(carry, aligned))[1:29])
    top = (total[27], total[26])
    far = Mux(top[0], total[3:28], Mux(top[1], total[2:27], total[1:26]))
    far_sticky = total[:1].any() | top[1] & total[1] | top[0] & total[1:3].any()
    sign, near = pipe.delay(sign, at + 3), near.value
    # Near: the rest of the shift
    fine = pipe.wire(leading_zeros(difference[9:]))
    close = shift_left(pipe, difference, fine)
    # field + 1 + ~count is field - count
    move = Mux(near, Cat(~fine, ~coarse, C(1, 1)), Mux(top[0], C(0, 6), Cat(top[1], C(-1, 5)))).as_signed()
    exponent = pipe.reg((next_field + move)[:10].as_signed(), at + 2).value
    significand = pipe.reg(Mux(near, close, far), at + 2).value
    sticky = pipe.reg(~near & far_sticky, at + 2).value
    return round_pack(pipe, at + 3, sign, exponent, significand[1:], significand[0], sticky)


def small_product(x, y):
    """x * y for a narrow y, unsigned or signed, of sums of rows: logic, where a multiplier block would be wasted."""
    signed_y = y.shape().signed
    rows = [Cat(C(0, n), x & bit.replicate(width_of(x))) for n, bit in enumerate(y)]
    last = rows.pop() if signed_y else 0
    while len(rows) > 1:
        rows = [sum(rows[n + 1:n + 2], rows[n]) for n in range(0, len(rows), 2)]
    total = sum(rows, -last if signed_y else 0)
    product = total[:width_of(x) + width_of(y)]
    return product.as_signed() if signed_y else product


def multiply(pipe, a, b):
    """a * b, unsigned, 19 to 24 bits each, exact. Latency 2: partial products, for 18-bit multipliers; their sum."""
    at, (a, b) = pipe.align(a, b)
    assert 18 < width_of(a) <= 24 and 18 < width_of(b) <= 24
    low, across, over = (pipe.product(x, y, at).value for x, y in (
        (a[:18], b[:18]), (a[18:], b[:18]), (a[:18], b[18:])))
    high = pipe.reg(small_product(a[18:], b[18:]), at).value
    total = pipe.wire(Cat(low[18:], high) + across + over)
    return pipe.reg(Cat(low[:18], total)[:width_of(a) + width_of(b)], at + 1)


def mul(pipe, a, b):
    """a * b. Latency 3: partial products, their sum, rounding."""
    at, (a, b) = pipe.align(a, b)
    sign = pipe.reg(a[31] ^ b[31], at)
    zero = pipe.reg(~a[23:31].any() | ~b[23:31].any(), at)
    exponent = pipe.reg(a[23:31] + b[23:31] - 127, at)
    product = multiply(pipe, *(pipe.input(Cat(value[:23], C(1, 1)), at) for value in (a, b)))
    at, product = product.at, product.value
    significand = pipe.wire(Mux(product[47], product[24:], product[23:47]))
    return round_pack(
        pipe, at, pipe.delay(sign, at), pipe.wire(pipe.delay(exponent, at) + product[47]),
        Cat(significand[:23], ~pipe.delay(zero, at)), Mux(product[47], product[23], product[22]),
        Mux(product[47], product[22], 0) | product[:22].any())


def from_magnitude(pipe, at, sign, magnitude, exponent, wide=36):
    """sign * magnitude * 2^(exponent - 127), rounded once, from HDL values of age `at`.

    Latency 2, or 3 if the magnitude is wider than `wide` bits.
    """
    width = width_of(magnitude)
    shifted, zeros = normalise(pipe, magnitude, at, wide)
    sign, exponent = pipe.reg(sign, at), pipe.reg(exponent + (width - 1), at)
    at, (shifted, zeros, sign, exponent) = pipe.align(shifted, zeros, sign, exponent)
    if width < 26:
        shifted, spare = Cat(C(0, 26 - width), shifted), 2
    else:
        spare = width - 24
    return round_pack(pipe, at, sign, pipe.wire(exponent - zeros), shifted[spare:],
                      shifted[spare - 1], shifted[:spare - 1].any())


def from_int(pipe, x, exponent=0):
    """The FP32 nearest to x * 2^exponent. Latency 3, or 4 if x is wider than 36 bits.

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


def shift_right(pipe, value, amount):
    """value >> amount, combinational; 0 where the signed amount is negative or reaches the next power of two."""
    bits = (width_of(value) - 1).bit_length()
    shifted = value
    for low in range(0, bits, 2):
        shifted = pipe.wire(shifted >> (amount[low:min(low + 2, bits)] << low))
    return Mux(amount[bits:].any(), 0, shifted)


def to_fixed(pipe, a, fraction_bits, width):
    """a * 2^fraction_bits as a signed integer of `width` bits, ties to even, saturated. Latency 2."""
    at, (a,) = pipe.align(a)
    sign, field = a[31], a[23:31]
    window = max(width, 25)
    # the significand at the top of a window, whose lowest bit weighs 1, then shifted right; 24 bits below keep the rest
    distance = pipe.wire(C(window - 24 + 150 - fraction_bits, signed(12)) - field)
    shifted = pipe.reg(shift_right(pipe, Cat(C(0, window), a[:23], field.any()), distance), at).value
    huge = pipe.reg(distance[-1], at).value
    sign = pipe.reg(sign, at).value
    magnitude = shifted[24:]
    up = shifted[23] & (shifted[:23].any() | shifted[24])
    # -(magnitude + up) is ~magnitude + ~up; what saturates is decided beside that sum
    value = pipe.wire(((magnitude ^ sign.replicate(window)) + (up ^ sign))[:width])
    over = pipe.wire(huge | magnitude[width - 1:].any() | ~sign & magnitude[:width - 1].all())
    limit = Cat((~sign).replicate(width - 1), sign)
    return pipe.reg(Mux(over, limit, value).as_signed(), at + 1)


def neg(value):
    """-value, combinational; zero stays +0."""
    return Mux(value[23:31].any(), Cat(value[:31], ~value[31]), C(0, 32))


def clipped(values):
    """For each of several values, whether it has the largest magnitude, which only clipping gives; combinational."""
    return Cat(values[index][:31] == MAX_BITS for index in range(len(values)))


def greater(a, b):
    """a > b, combinational."""
    def key(value):
        """An unsigned number in the order of the values."""
        normal = value[23:31].any()
        sign = value[31] & normal
        return Cat((value[:31] & normal.replicate(31)) ^ sign.replicate(31), ~sign)
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
