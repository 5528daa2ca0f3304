"""Weight formats as the hardware reads them: code width, code table, scale and minimum."""

from dataclasses import dataclass

import numpy as np

from ..config import BLOCK
from ..isa import ScaleFormat
from . import block

__all__ = ["FORMATS", "INT4", "MXFP4", "MXINT8", "Q4_0", "Q4_1", "Q8_0", "WeightFormat", "quantise_mxint8"]

_SCALE_BYTES = {ScaleFormat.NONE: 0, ScaleFormat.E8M0: 1, ScaleFormat.FP16: 2}


@dataclass(frozen=True, kw_only=True)
class WeightFormat:
    """A block of 32 weights: value = table[code] * scale (+ minimum), with table[code] = code for 8-bit codes.

    Parameters
    ----------
    code_bits : 8 (signed codes) or 4 (codes 0 to 15 that index `table`)
    scale_format : how a block's scale is stored
    minimum : whether a block has a minimum, FP16
    table : 16 int8 values of 4-bit codes, or None
    scale_shift : a checkpoint's E8M0 byte minus this is the byte that the hardware needs, because `table` or the codes
        hold 2^scale_shift times the format's own numbers
    """

    name: str
    code_bits: int
    scale_format: ScaleFormat
    minimum: bool = False
    table: tuple | None = None
    scale_shift: int = 0

    @property
    def code_bytes(self):
        return BLOCK * self.code_bits // 8

    @property
    def scale_bytes(self):
        return _SCALE_BYTES[self.scale_format]

    @property
    def minimum_bytes(self):
        return 2 if self.minimum else 0

    @property
    def block_bytes(self):
        """Bytes of a block in memory: codes, scale and minimum."""
        return self.code_bytes + self.scale_bytes + self.minimum_bytes

    def decode(self, codes):
        """The int8 integers that the multipliers see, from codes (uint8 0 to 15, or int8)."""
        if self.table is None:
            return np.asarray(codes).astype(np.int8)
        return np.array(self.table, np.int8)[np.asarray(codes)]

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

    def dequantise(self, codes, scales=None, minimums=None):
        """float32 weights [..., 32] from codes [..., 32] and stored scales [...] and minimums [...] (FP16 patterns)."""
        scale = np.asarray(self.scale(scales))
        values = self.decode(codes).astype(np.float32) * scale[..., None]
        return values + block.model.scale_fp16(minimums)[..., None] if self.minimum else values


MXINT8 = WeightFormat(name="MXINT8", code_bits=8, scale_format=ScaleFormat.E8M0, scale_shift=6)
MXFP4 = WeightFormat(name="MXFP4", code_bits=4, scale_format=ScaleFormat.E8M0, scale_shift=1,
                     table=(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12))  # twice the E2M1 values
Q8_0 = WeightFormat(name="Q8_0", code_bits=8, scale_format=ScaleFormat.FP16)
Q4_0 = WeightFormat(name="Q4_0", code_bits=4, scale_format=ScaleFormat.FP16, table=tuple(range(-8, 8)))
Q4_1 = WeightFormat(name="Q4_1", code_bits=4, scale_format=ScaleFormat.FP16, minimum=True, table=tuple(range(16)))
INT4 = WeightFormat(name="INT4", code_bits=4, scale_format=ScaleFormat.FP16,
                    table=(*range(8), *range(-8, 0)))  # two's complement nibbles

FORMATS = {entry.name: entry for entry in (MXINT8, MXFP4, Q8_0, Q4_0, Q4_1, INT4)}


def quantise_mxint8(x):
    """(codes int8 [..., 32], scales uint8 [...]) of float x[..., 32], ready for the hardware.

    The shared exponent is floor(log2 max|x|) - 6; codes round half to even and clamp to +-127; the scale byte is the
    exponent + 127, at least 1, for byte 0 counts as zero (OCP Microscaling Formats v1.0, with its 2^-6 in the scale).
    """
    x = np.asarray(x, np.float32)
    scales = np.maximum(block.model.exponent_of(x, 8), 1).astype(np.uint8)
    return block.model.codes(x, scales, 8), scales
