"""Matrices of weight blocks, and how floats become blocks; the formats themselves are `scoville.numerics.formats`."""

from dataclasses import dataclass

import numpy as np
from scoville.config import BLOCK, SUPER_BLOCKS
from scoville.isa import ScaleFormat
from scoville.numerics import formats
from scoville.numerics.formats import WeightFormat

from ..errors import RequestError
from .gguf_blocks import GGUF_FORMS

__all__ = ["FORMATS", "Blocks", "common_format", "get_format", "quantise", "stack", "wider"]

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
    codes : ``[rows, kblocks, 32]``, int8 (8-bit codes) or uint8 (codes of 4 bits and more, from 0 on).
    scales : ``[rows, kblocks]``, uint8 (E8M0, as the *hardware* reads it) or uint16 (FP16 bits).
    minimums : ``[rows, kblocks]`` uint16 (FP16 bits), or None.
    integers : of scales of two levels, int8 ``[rows, kblocks, 2]``; then scales and minimums are those of super-blocks,
        ``[rows, kblocks / 8]``, and minimum_integers : uint8 ``[rows, kblocks]``, or None.
    """

    format: WeightFormat
    codes: np.ndarray
    scales: np.ndarray
    minimums: np.ndarray | None = None
    integers: np.ndarray | None = None
    minimum_integers: np.ndarray | None = None

    @property
    def parts(self):
        """Its arrays by name, in the order of `WeightFormat.dequantise`."""
        names = ("codes", "scales", "minimums", "integers", "minimum_integers")
        return {name: part for name in names if (part := getattr(self, name)) is not None}

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

        return Blocks(format=self.format, **{name: pick(part) for name, part in self.parts.items()})

    def is_finite(self):
        """Whether no FP16 scale or minimum is infinite or NaN."""
        fp16 = [self.scales] if self.format.scale_bytes == 2 else []
        fp16 += [] if self.minimums is None else [self.minimums]
        return all(np.isfinite(bits.view(np.float16)).all() for bits in fp16)

    @classmethod
    def outline(cls, fmt, rows, columns):
        """Zeros of a shape, which take no memory; ``columns`` are rounded up to whole blocks."""
        shape = rows, -(-columns // BLOCK)

        def zeros(bytes_each, *more, shape=shape):
            return np.broadcast_to(np.uint8(0) if bytes_each == 1 else np.uint16(0), (*shape, *more))

        codes, once = zeros(1, BLOCK), shape
        if fmt.two_level:
            once = rows, shape[1] // SUPER_BLOCKS
        return cls(format=fmt, codes=codes.view(np.int8) if fmt.code_bits == 8 else codes,
                   scales=zeros(fmt.scale_bytes, shape=once), minimums=zeros(2, shape=once) if fmt.minimum else None,
                   integers=zeros(1, 2).view(np.int8) if fmt.two_level else None,
                   minimum_integers=zeros(1) if fmt.two_level and fmt.minimum else None)

    def widened(self, fmt):
        """The same weights, bit for bit, in a `common_format` of theirs and others."""
        if fmt is self.format:
            return self
        minimums = self.minimums
        if fmt.minimum and minimums is None:
            minimums = np.zeros_like(self.scales)
        return Blocks(format=fmt, codes=self.format.decode(self.codes), scales=self.scales, minimums=minimums)

    def dequantise(self):
        """The matrix as float32 ``[rows, columns]``."""
        return self.format.dequantise(**self.parts).reshape(self.shape)


def wider(fmt):
    """The format with 8-bit codes that holds the weights of one with FP16 scales."""
    return formats.Q8_MIN if fmt.minimum else formats.Q8_0


def common_format(kinds):
    """The least format that holds weights of several without a loss, or None: codes as 8 bits under the same scales.

    MXFP4's byte of a scale is that of MXINT8, as the hardware reads it; a minimum that is not there is 0.
    """
    kinds = list(dict.fromkeys(kinds))
    if len(kinds) == 1:
        return kinds[0]
    if len({fmt.scale_format for fmt in kinds}) > 1 or kinds[0].two_level:
        return None
    if kinds[0].scale_format is ScaleFormat.E8M0:
        return formats.MXINT8
    return next((wider(fmt) for fmt in kinds if fmt.minimum), formats.Q8_0)


def stack(parts):
    """Matrices of one format and width, one below the other."""
    first = parts[0]
    return Blocks(format=first.format, **{name: np.concatenate([part.parts[name] for part in parts])
                                          for name in first.parts})


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
        data = gguf.quants.quantize(blocks.reshape(len(values), -1), kind)
        return Blocks(format=fmt, **GGUF_FORMS[fmt.name].unpack(data))


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
