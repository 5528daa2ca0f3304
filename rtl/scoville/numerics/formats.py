"""Weight formats as the hardware reads them: code width, code table, scale and minimum."""

from dataclasses import dataclass

import numpy as np

from ..config import BLOCK, SUPER_BLOCKS
from ..isa import ScaleFormat
from . import block

__all__ = ["FORMATS", "INT4", "IQ4_NL", "IQ4_XS", "MXFP4", "MXINT8", "Q3_K", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1",
           "Q5_K", "Q6_K", "Q8_0", "Q8_MIN", "WeightFormat", "high_values", "quantise_mxint8", "six_bits"]

_SCALE_BYTES = {ScaleFormat.NONE: 0, ScaleFormat.E8M0: 1, ScaleFormat.FP16: 2, ScaleFormat.TWO_LEVEL: 2}


@dataclass(frozen=True, kw_only=True)
class WeightFormat:
    """A block of 32 weights: value = table[code] * scale (+ minimum), with table[code] = code for 8-bit codes.

    With scales of two levels, of a super-block of eight blocks: scale is an FP16 of the super-block times an int8 of
    half a block, minimum another times 6 bits, unsigned, of a block.

    Parameters
    ----------
    code_bits : 8 (signed codes) or 4 (codes 0 to 15 that index `table`)
    scale_format : how a block's scale is stored
    minimum : whether a block has a minimum, FP16
    table : 16 int8 values of 4-bit codes, or None
    high_bits : of a code above its lowest 4: a code is table[code mod 16] + 16 * (code div 16)
    scale_shift : a checkpoint's E8M0 byte minus this is the byte that the hardware needs, because `table` or the codes
        hold 2^scale_shift times the format's own numbers
    """

    name: str
    code_bits: int
    scale_format: ScaleFormat
    minimum: bool = False
    table: tuple | None = None
    scale_shift: int = 0
    high_bits: int = 0

    @property
    def two_level(self):
        return self.scale_format == ScaleFormat.TWO_LEVEL

    @property
    def code_bytes(self):
        return BLOCK * self.code_bits // 8

    @property
    def high_bytes(self):
        return BLOCK * self.high_bits // 8

    @property
    def integer_bytes(self):
        """Bytes of a super-block's integers, a row."""
        return SUPER_BLOCKS * (12 if self.minimum else 16) // 8 if self.two_level else 0

    @property
    def scale_bytes(self):
        return _SCALE_BYTES[self.scale_format]

    @property
    def minimum_bytes(self):
        return 2 if self.minimum else 0

    @property
    def block_bytes(self):
        """Bytes of a block in memory, codes, scale and minimum, with its share of what a super-block has once."""
        headers = self.scale_bytes + self.minimum_bytes + self.integer_bytes
        return self.code_bytes + self.high_bytes + (headers / SUPER_BLOCKS if self.two_level else headers)

    def decode(self, codes):
        """The int8 integers that the multipliers see, from codes (uint8 from 0 on, or int8)."""
        if self.table is None:
            return np.asarray(codes).astype(np.int8)
        values = np.array(self.table, np.int8)
        if self.high_bits:
            values = np.concatenate([values + np.int8(16 * high) for high in range(1 << self.high_bits)])
        return values[np.asarray(codes)]

    def hardware_scale(self, scales):
        """Scales of a checkpoint as the hardware stores them: E8M0 bytes moved by `scale_shift` (below 1 they count as
        zero, which drops blocks under 2^-126), FP16 patterns unchanged.
        """
        if self.scale_format != ScaleFormat.E8M0:
            return np.asarray(scales, np.uint16)
        return np.maximum(np.asarray(scales).astype(np.int32) - self.scale_shift, 0).astype(np.uint8)

    def scale(self, scales):
        """float32 of stored scales: uint8 E8M0 bytes, or uint16 FP16 patterns; 1 if there are none."""
        if self.scale_format == ScaleFormat.NONE:
            return np.float32(1)
        return block.model.scale_e8m0(scales) if self.scale_format == ScaleFormat.E8M0 \
            else block.model.scale_fp16(scales)

    def dequantise(self, codes, scales=None, minimums=None, integers=None, minimum_integers=None):
        """float32 weights [..., 32] from codes [..., 32] and stored scales [...] and minimums [...] (FP16 patterns).

        With scales of two levels: codes [..., n, 32], integers [..., n, 2], minimum_integers [..., n], and scales and
        minimums [..., n / 8].
        """
        scale, values = np.asarray(self.scale(scales)), self.decode(codes).astype(np.float32)
        if not self.two_level:
            values = values * scale[..., None]
            return values + block.model.scale_fp16(minimums)[..., None] if self.minimum else values
        inner = scale.repeat(SUPER_BLOCKS, -1)[..., None] * integers.astype(np.float32)
        values = values * inner.repeat(BLOCK // 2, -1)
        if self.minimum:
            least = block.model.scale_fp16(minimums).repeat(SUPER_BLOCKS, -1) * minimum_integers.astype(np.float32)
            values = values + least[..., None]
        return values


MXINT8 = WeightFormat(name="MXINT8", code_bits=8, scale_format=ScaleFormat.E8M0, scale_shift=6)
MXFP4 = WeightFormat(name="MXFP4", code_bits=4, scale_format=ScaleFormat.E8M0, scale_shift=1,
                     table=(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12))  # twice the E2M1 values
Q8_0 = WeightFormat(name="Q8_0", code_bits=8, scale_format=ScaleFormat.FP16)
Q4_0 = WeightFormat(name="Q4_0", code_bits=4, scale_format=ScaleFormat.FP16, table=tuple(range(-8, 8)))
Q4_1 = WeightFormat(name="Q4_1", code_bits=4, scale_format=ScaleFormat.FP16, minimum=True, table=tuple(range(16)))
INT4 = WeightFormat(name="INT4", code_bits=4, scale_format=ScaleFormat.FP16,
                    table=(*range(8), *range(-8, 0)))  # two's complement nibbles

Q8_MIN = WeightFormat(name="Q8_MIN", code_bits=8, scale_format=ScaleFormat.FP16, minimum=True)
Q5_0 = WeightFormat(name="Q5_0", code_bits=4, scale_format=ScaleFormat.FP16, high_bits=1, table=tuple(range(-16, 0)))
Q5_1 = WeightFormat(name="Q5_1", code_bits=4, scale_format=ScaleFormat.FP16, minimum=True, high_bits=1,
                    table=tuple(range(16)))
Q3_K = WeightFormat(name="Q3_K", code_bits=4, scale_format=ScaleFormat.TWO_LEVEL,
                    table=(*range(-4, 4), *[0] * 8))
_NON_LINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
IQ4_NL = WeightFormat(name="IQ4_NL", code_bits=4, scale_format=ScaleFormat.FP16, table=_NON_LINEAR)
IQ4_XS = WeightFormat(name="IQ4_XS", code_bits=4, scale_format=ScaleFormat.TWO_LEVEL, table=_NON_LINEAR)
Q4_K = WeightFormat(name="Q4_K", code_bits=4, scale_format=ScaleFormat.TWO_LEVEL, minimum=True, table=tuple(range(16)))
Q5_K = WeightFormat(name="Q5_K", code_bits=4, scale_format=ScaleFormat.TWO_LEVEL, minimum=True, high_bits=1,
                    table=tuple(range(16)))
Q6_K = WeightFormat(name="Q6_K", code_bits=4, scale_format=ScaleFormat.TWO_LEVEL, high_bits=2,
                    table=tuple(range(-32, -16)))

FORMATS = {entry.name: entry for entry in (
    MXINT8, MXFP4, Q8_0, Q4_0, Q4_1, INT4, Q8_MIN, Q5_0, Q5_1, IQ4_NL, IQ4_XS, Q3_K, Q4_K, Q5_K, Q6_K)}


def six_bits(raw):
    """Integers of scales and of minimums, int8 [..., n] both, from their bytes uint8 [..., 3n / 2] (docs/design.md)."""
    count = raw.shape[-1] * 2 // 3
    low, high = raw[..., :count], raw[..., count:]
    high = np.stack([high & 15, high >> 4], axis=-1).reshape(low.shape)
    return (low & 15 | (high & 3) << 4).view(np.int8), (low >> 4 | high >> 2 << 4).view(np.int8)


def high_values(raw, bits):
    """What codes' high bits add to them, int8 [..., n], from their bytes uint8 [..., n * bits / 8], low bit first."""
    found = np.unpackbits(raw, axis=-1, bitorder="little").reshape(*raw.shape[:-1], -1, bits)
    return found.view(np.int8) @ np.array([16, 32][:bits], np.int8)


def quantise_mxint8(x):
    """(codes int8 [..., 32], scales uint8 [...]) of float x[..., 32], ready for the hardware.

    The shared exponent is floor(log2 max|x|) - 6; codes round half to even and clamp to +-127; the scale byte is the
    exponent + 127, at least 1, for byte 0 counts as zero (OCP Microscaling Formats v1.0, with its 2^-6 in the scale).
    """
    x = np.asarray(x, np.float32)
    scales = np.maximum(block.model.exponent_of(x, 8), 1).astype(np.uint8)
    return block.model.codes(x, scales, 8), scales
