"""Matrices of weight blocks, and how floats become blocks; the formats themselves are `scoville.numerics.formats`."""

from dataclasses import dataclass

import numpy as np
from scoville.config import BLOCK
from scoville.isa import ScaleFormat
from scoville.numerics import formats
from scoville.numerics.formats import WeightFormat

from ..errors import RequestError

__all__ = ["FORMATS", "Blocks", "get_format", "quantise", "stack", "unpack_gguf"]

ROWS_AT_ONCE = 4096  # rows quantised together, to bound the memory for intermediate results
FORMATS = {entry.name.lower(): entry
           for entry in (formats.MXINT8, formats.Q8_0, formats.Q4_0, formats.Q4_1, formats.MXFP4)}
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])  # magnitudes of the codes 0 to 7


def get_format(name):
    """The named format.

    Raises
    ------
    RequestError
        If there is none of that name; the message lists those there are.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise RequestError(f"unknown weight format {name!r}; there are: {', '.join(FORMATS)}") from None


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """A matrix of weight blocks along its columns.

    Parameters
    ----------
    codes : ``[rows, kblocks, 32]``, int8 (8-bit codes) or uint8 (4-bit codes, 0 to 15).
    scales : ``[rows, kblocks]``, uint8 (E8M0, as the *hardware* reads it) or uint16 (FP16 bits).
    minimums : ``[rows, kblocks]`` uint16 (FP16 bits), or None.
    """

    format: WeightFormat
    codes: np.ndarray
    scales: np.ndarray
    minimums: np.ndarray | None = None

    @property
    def shape(self):
        return self.codes.shape[0], self.codes.shape[1] * BLOCK

    def take(self, rows):
        """Rows in another order; a row number of -1 gives a row of zeros."""
        rows = np.asarray(rows)

        def pick(array):
            picked = array[rows]
            picked[rows < 0] = 0
            return picked

        return Blocks(format=self.format, codes=pick(self.codes), scales=pick(self.scales),
                      minimums=None if self.minimums is None else pick(self.minimums))

    def is_finite(self):
        """Whether no FP16 scale or minimum is infinite or NaN."""
        fp16 = [self.scales] if self.format.scale_format is ScaleFormat.FP16 else []
        fp16 += [] if self.minimums is None else [self.minimums]
        return all(np.isfinite(bits.view(np.float16)).all() for bits in fp16)

    def dequantise(self):
        """The matrix as float32 ``[rows, columns]``."""
        return self.format.dequantise(self.codes, self.scales, self.minimums).reshape(self.shape)


def stack(parts):
    """Matrices of one format and width, one below the other."""
    first = parts[0]
    return Blocks(format=first.format, codes=np.concatenate([part.codes for part in parts]),
                  scales=np.concatenate([part.scales for part in parts]),
                  minimums=None if first.minimums is None else np.concatenate([part.minimums for part in parts]))


def quantise(values, fmt):
    """Quantise float32 ``[rows, columns]``, columns a multiple of 32, to `Blocks` of a format.

    MXINT8 and MXFP4 follow OCP MX (the block's largest power of two, round half even, saturate); Q8_0, Q4_0 and
    Q4_1 follow GGUF.
    """
    starts = range(0, len(values), ROWS_AT_ONCE)
    return stack([_quantise_rows(values[start:start + ROWS_AT_ONCE], fmt) for start in starts])


def _quantise_rows(values, fmt):
    blocks = np.ascontiguousarray(values, np.float32).reshape(len(values), -1, BLOCK)
    if fmt is formats.MXINT8:
        codes, scales = formats.quantise_mxint8(blocks)
        return Blocks(format=fmt, codes=np.asarray(codes).astype(np.int8), scales=scales)
    if fmt is formats.MXFP4:
        return _mxfp4(blocks)
    import gguf  # slow to import, and needed only here

    kind = gguf.GGMLQuantizationType[fmt.name]
    with np.errstate(over="ignore"):  # a scale too large for FP16 becomes infinite, which the compiler refuses
        return unpack_gguf(gguf.quants.quantize(blocks.reshape(len(values), -1), kind), fmt)


def unpack_gguf(data, fmt):
    """`Blocks` from the bytes of a GGUF tensor, ``[rows, bytes a row]`` uint8, of format Q8_0, Q4_0 or Q4_1."""
    data = data.reshape(data.shape[0], -1, fmt.block_bytes)
    scales = np.ascontiguousarray(data[:, :, :2]).view(np.uint16)[:, :, 0]
    minimums = np.ascontiguousarray(data[:, :, 2:4]).view(np.uint16)[:, :, 0] if fmt.minimum else None
    codes = data[:, :, fmt.scale_bytes + fmt.minimum_bytes:]
    if fmt.code_bits == 8:
        codes = np.ascontiguousarray(codes).view(np.int8)
    else:  # GGUF keeps codes 0 to 15 in the low nibbles and 16 to 31 in the high ones
        codes = np.concatenate([codes & 15, codes >> 4], axis=2)
    return Blocks(format=fmt, codes=codes, scales=scales, minimums=minimums)


def _mxfp4(blocks):
    """Shared exponent floor(log2 max|x|) - 2 (6.0 is 1.5 * 2^2), codes to nearest, ties to the even code."""
    fmt = formats.MXFP4
    top = np.abs(blocks).max(axis=2)
    exponent = np.maximum(np.frexp(top)[1] - 3, -125)
    x = np.ldexp(np.abs(blocks.astype(np.float64)), -exponent[:, :, None])
    middle = (E2M1[1:] + E2M1[:-1]) / 2
    below = np.searchsorted(middle, x, side="left")  # a tie stays at the smaller code ...
    above = np.searchsorted(middle, x, side="right")  # ... or goes to the larger
    magnitude = np.where(below % 2 == 0, below, above)
    codes = (magnitude + 8 * ((blocks < 0) & (magnitude > 0))).astype(np.uint8)
    scales = fmt.hardware_scale(np.where(codes.any(axis=2), exponent + 127, 0))
    return Blocks(format=fmt, codes=codes, scales=scales)
