"""exp2, reciprocal, reciprocal square root and log2 by piecewise quadratics in integer arithmetic.

A `Curve` is y(u) = f at the N-bit fraction u, in segments of equal width. With d the bits of u below the segment
index, v = d / 2^D in [0, 1), and coefficients with F = 30 fraction bits::

    t = c1 + floor(c2 * d / 2^D)          y = c0 + t * d / 2^D, exact, then rounded once, half to even

`t * d` is not truncated before the rounding: that is what makes exp2, recip and rsqrt monotonic. Coefficients come
from `Curve.coefficients`, which fills the ROM of the hardware and the table of the model.
Relative error of exp2, recip and rsqrt is at most 2^-22; the tests prove it, and monotonicity, for every mantissa.
"""

from functools import cached_property

import numpy as np
from amaranth.hdl import C, Cat, Mux, signed
from amaranth.hdl import Value as HdlValue
from amaranth.lib.memory import Memory

from . import fp32
from .pipe import PipeUnit, Staged, width_of

__all__ = ["CURVES", "Curve", "Exp2", "Log2", "Recip", "Rsqrt", "exp2", "exp2_fixed", "log2", "log2_fixed", "model",
           "recip", "rsqrt"]

F = 30  # fraction bits of coefficients
LOG2_BITS = 28  # fraction bits of a logarithm before it becomes FP32


class Curve:
    """One function on a fraction.

    Parameters
    ----------
    function : float64 array function of u / 2^input_bits
    input_bits : bits of u
    segment_bits : the table has 2^segment_bits segments
    result_bits : fraction bits of the rounded result
    """

    def __init__(self, function, input_bits, segment_bits, result_bits=23):
        self.function = function
        self.input_bits = input_bits
        self.segment_bits = segment_bits
        self.result_bits = result_bits
        self.rest_bits = input_bits - segment_bits

    @cached_property
    def coefficients(self):
        """int64 arrays (c0, c1, c2): the interpolation at the three Chebyshev nodes of each segment."""
        start = np.arange(1 << self.segment_bits, dtype=np.float64) / (1 << self.segment_bits)
        nodes = [0.5 - np.sqrt(3) / 4, 0.5, 0.5 + np.sqrt(3) / 4]
        y0, y1, y2 = (self.function(start + node / (1 << self.segment_bits)) for node in nodes)
        first = (y1 - y0) / (nodes[1] - nodes[0])
        second = ((y2 - y1) / (nodes[2] - nodes[1]) - first) / (nodes[2] - nodes[0])
        c1 = first - second * (nodes[0] + nodes[1])
        c0 = y0 - first * nodes[0] + second * nodes[0] * nodes[1]
        c0[0] = self.function(np.float64(0))  # exp2(0), 1/1, 1/sqrt(1) and log2(1) are exact
        return tuple(np.rint(c * (1 << F)).astype(np.int64) for c in (c0, c1, second))

    @cached_property
    def shapes(self):
        """Signed shapes that hold each coefficient, and t."""
        _, c1, c2 = self.coefficients
        t = np.stack([c1, c1 + (c2 * ((1 << self.rest_bits) - 1) >> self.rest_bits)])  # at both ends of each segment
        return [signed(max(int(c.max()).bit_length(), int(-c.min()).bit_length()) + 1)
                for c in (*self.coefficients, t)]

    def model(self, u):
        """Rounded y with `result_bits` fraction bits (int64), for an integer array u."""
        u = np.asarray(u, np.int64)
        segment, d = u >> self.rest_bits, u & (1 << self.rest_bits) - 1
        c0, c1, c2 = (c[segment] for c in self.coefficients)
        t = c1 + (c2 * d >> self.rest_bits)
        y = (c0 << self.rest_bits) + t * d
        drop = F + self.rest_bits - self.result_bits
        return y + (1 << drop - 1) - 1 + (y >> drop & 1) >> drop

    def build(self, pipe, u):
        """(y with `result_bits` fraction bits before its rounding, whether it rounds up), from a `Staged` u. Latency 6.

        Stages: table, twice, because block RAM is slow; c2 * d; t; t * d in two parts; the sum.
        """
        at, (u,) = pipe.align(u)
        assert width_of(u) == self.input_bits
        *widths, t_bits = [shape.width for shape in self.shapes]
        rows = [sum((int(c) & (1 << width) - 1) << sum(widths[:k])
                    for k, (c, width) in enumerate(zip(row, widths, strict=True)))
                for row in zip(*self.coefficients, strict=True)]
        rom = Memory(shape=sum(widths), depth=len(rows), init=rows)
        pipe.m.submodules += rom
        port = rom.read_port()
        pipe.m.d.comb += [port.addr.eq(u[self.rest_bits:]), port.en.eq(pipe.enabled(at))]
        row = pipe.reg(port.data, at + 1).value
        c0 = pipe.input(row[:widths[0]].as_signed(), at + 2)
        c1 = pipe.input(row[widths[0]:-widths[2]].as_signed(), at + 2)
        d = pipe.reg(u[:self.rest_bits], at)
        # Without their sign bits, 18 bits fit a multiplier.
        rising, convex = (c.min() >= 0 for c in self.coefficients[1:])
        c2 = row[-widths[2]:-1] if convex else row[-widths[2]:].as_signed()
        product = pipe.product(c2, pipe.delay(d, at + 2), at + 2)
        bend = product.value >> self.rest_bits
        t = pipe.reg((pipe.delay(c1, at + 3) + bend)[:t_bits].as_signed(), at + 3).value
        late = pipe.delay(d, at + 4)
        high = t[17:-1] if rising and convex else t[17:].as_signed()
        low, high = (pipe.product(part, late, at + 4).value for part in (t[:17], high))
        base = (pipe.delay(c0, at + 5) << self.rest_bits) + low
        y = pipe.reg(Cat(base[:17], base[17:].as_signed() + high).as_signed(), at + 5).value
        drop = F + self.rest_bits - self.result_bits
        up = y[drop - 1] & (y[:drop - 1].any() | y[drop])
        return pipe.input(y[drop:][:self.result_bits + 2], at + 6), pipe.input(up, at + 6)


CURVES = {
    "exp2": Curve(np.exp2, 24, 6),
    "recip": Curve(lambda u: 2 / (1 + u), 23, 7),
    # the lower half of the table is the octave [1, 2), the upper half [2, 4)
    "rsqrt": Curve(lambda u: 2 / np.sqrt(np.where(u < 0.5, 1 + 2 * u, 4 * u)), 24, 8),
    "log2": Curve(lambda u: np.log2(1 + u), 24, 7, LOG2_BITS),
}
"""The four functions; results are in [1, 2] but for log2's [0, 1]."""


def pack(pipe, sign, field, y, up):
    """FP32 of (-1)^sign * (y + up) * 2^(field - 127) for y + up in [1, 2] with 23 fraction bits: flushed, saturated;
    behind one register. The sign is a `Staged` or a constant, the others are `Staged`.
    """
    at, (sign, field, y, up) = pipe.align(sign, field, y, up)
    wide = pipe.wire(((HdlValue.cast(field) << 23) - (1 << 23) + y + up)[:31])
    # The field that comes out is decided beside the carry of the rounding, not after it.
    before = pipe.wire(HdlValue.cast(field) - 1 + y[23:])
    carry = pipe.wire(up & y[:23].all())
    overflow = pipe.wire((before >= 255) | (before == 254) & carry)
    positive = (before > 0) | (before == 0) & carry
    pipe.flag(overflow, at)
    magnitude = Mux(overflow, C(fp32.MAX_BITS, 31), wide)
    return pipe.reg(Mux(positive, Cat(magnitude, sign), C(0, 32)), at)


def exp2_fixed(pipe, x):
    """2^x as FP32 for signed fixed-point x with 24 fraction bits: 0 below 2^-126, saturating above. Latency 7."""
    at, (x,) = pipe.align(x)
    assert 25 <= width_of(x) <= 42
    y, up = CURVES["exp2"].build(pipe, Staged(x[:24], at))
    exponent = x[24:].as_signed()
    near = C(-256, signed(10))
    field = Mux(exponent < -256, near, Mux(exponent > 255, C(255, signed(10)), exponent)) + 127
    return pack(pipe, C(0, 1), pipe.reg(field, at), y, up)


def exp2(pipe, a):
    """2^a. Latency 9."""
    return exp2_fixed(pipe, fp32.to_fixed(pipe, a, 24, 34))


def recip(pipe, a):
    """1 / a; zero gives +max finite. Latency 7."""
    at, (a,) = pipe.align(a)
    y, up = CURVES["recip"].build(pipe, Staged(a[:23], at))
    # a zero is given an exponent field far out of range, so that it saturates
    field = pipe.reg(Mux(a[23:31].any(), 253 - a[23:31], C(511, signed(11))), at)
    sign = pipe.reg(a[31] & a[23:31].any(), at)
    return pack(pipe, sign, field, y, up)


def rsqrt(pipe, a):
    """1 / sqrt(|a|); zero gives +max finite. Latency 7."""
    at, (a,) = pipe.align(a)
    # a = m * 2^(2k + r) with m in [1, 2): y = 2 / sqrt(m * 2^r), result y * 2^(-k - 1)
    odd = ~a[23]
    y, up = CURVES["rsqrt"].build(pipe, Staged(Cat(a[:23], odd), at))
    half = a[24:31] + a[23]  # k + 64
    field = pipe.reg(Mux(a[23:31].any(), 190 - half, C(511, signed(11))), at)
    return pack(pipe, C(0, 1), field, y, up)


def log2_fixed(pipe, u, fraction_bits=0):
    """log2(u * 2^-fraction_bits) as FP32 for an unsigned integer u > 0; absolute error at most 2^-22 before the
    rounding to FP32. Latency 12, or 13 if u is wider than 32 bits.

    Only the 25 leading bits of u count.
    """
    at, (u,) = pipe.align(u)
    width = width_of(u)
    shifted, zeros = fp32.normalise(pipe, u, at, wide=32)
    at, shifted = shifted.at, shifted.value
    mantissa = shifted[width - 25:width - 1] if width >= 25 else Cat(C(0, 25 - width), shifted[:width - 1])
    exponent = pipe.input((width - 1 - fraction_bits) - zeros.value, at)
    return _log2(pipe, pipe.input(mantissa, at), exponent)


def log2(pipe, a):
    """log2(a) of a positive FP32, absolute error at most 2^-22 before the rounding to FP32. Latency 11."""
    at, (a,) = pipe.align(a)
    exponent = Cat(a[23:31], C(0, 1)).as_signed() - 127
    return _log2(pipe, Staged(Cat(C(0, 1), a[:23]), at), Staged(exponent, at))


def _log2(pipe, mantissa, exponent):
    """FP32 of exponent + log2(1 + mantissa / 2^24). Latency 11."""
    y, up = CURVES["log2"].build(pipe, mantissa)
    total = (pipe.delay(exponent, y.at) << LOG2_BITS) + y.value[:LOG2_BITS + 1] + up.value
    return fp32.from_int(pipe, pipe.reg(total, y.at), -LOG2_BITS)


class model:
    """The same functions on numpy arrays."""

    @staticmethod
    def _pack(sign, field, y):
        wide = (np.asarray(field, np.int64) << 23) + y - (1 << 23)
        field = wide >> 23
        wide = np.where(field >= 255, fp32.MAX_BITS, wide) | np.asarray(sign, np.int64) << 31
        return np.where(field > 0, wide, 0).astype(np.uint32).view(np.float32)

    @staticmethod
    def _fields(a):
        bits = np.asarray(a, np.float32).view(np.uint32).astype(np.int64)
        return bits >> 31, bits >> 23 & 255, bits & 0x7FFFFF

    @staticmethod
    def exp2_fixed(x):
        x = np.asarray(x, np.int64)
        return model._pack(0, np.clip(x >> 24, -256, 255) + 127, CURVES["exp2"].model(x & 0xFFFFFF))

    @staticmethod
    def exp2(a):
        return model.exp2_fixed(fp32.model.to_fixed(a, 24, 34))

    @staticmethod
    def recip(a):
        sign, field, mantissa = model._fields(a)
        normal = field > 0
        return model._pack(sign & normal, np.where(normal, 253 - field, 511), CURVES["recip"].model(mantissa))

    @staticmethod
    def rsqrt(a):
        _, field, mantissa = model._fields(a)
        u = (~field & 1) << 23 | mantissa
        return model._pack(0, np.where(field > 0, 190 - (field + 1 >> 1), 511), CURVES["rsqrt"].model(u))

    @staticmethod
    def log2_fixed(u, fraction_bits=0):
        u = np.asarray(u, np.uint64)
        length = np.zeros(u.shape, np.int64)  # bit length, exactly
        rest = u.copy()
        for step in (32, 16, 8, 4, 2, 1):
            big = rest >> np.uint64(step) > 0
            length += np.where(big, step, 0)
            rest = np.where(big, rest >> np.uint64(step), rest)
        exponent = length  # of the leading one
        left = np.maximum(24 - exponent, 0).astype(np.uint64)
        right = np.maximum(exponent - 24, 0).astype(np.uint64)
        return model._log2((u << left >> right).astype(np.int64) & 0xFFFFFF, exponent - fraction_bits)

    @staticmethod
    def log2(a):
        _, field, mantissa = model._fields(a)
        return model._log2(mantissa << 1, field - 127)

    @staticmethod
    def _log2(mantissa, exponent):
        return fp32.model.from_int((exponent << LOG2_BITS) + CURVES["log2"].model(mantissa), -LOG2_BITS)


def _unit(name, function, equation, latency):
    """A stream component round a pipe function of one FP32 value."""
    def init(self):
        PipeUnit.__init__(self, function, 32, 32)

    doc = f"""o = {equation}. One result a cycle; latency {latency}.

    Members
    -------
    i : In(stream of FP32)
    o : Out(stream of FP32)
    """
    return type(name, (PipeUnit,), {"__init__": init, "__doc__": doc, "model": staticmethod(
        getattr(model, function.__name__))})


Exp2 = _unit("Exp2", exp2, "2^i", 9)
Recip = _unit("Recip", recip, "1 / i", 7)
Rsqrt = _unit("Rsqrt", rsqrt, "1 / sqrt(i), i > 0", 7)
Log2 = _unit("Log2", log2, "log2(i), i > 0", 11)
