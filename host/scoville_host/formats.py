"""Weight formats: what a block of 32 weights is made of, and how floats become one.

A block is 32 codes and a scale, sometimes a minimum: ``w = table[code] * scale + minimum`` (8-bit codes are their own
value). `Blocks` holds a matrix of them, exactly as a checkpoint stores them.
"""

from dataclasses import dataclass

import numpy as np
from scoville.config import BLOCK
from scoville.isa import ScaleFormat

from .errors import RequestError

__all__ = ["FORMATS", "Blocks", "WeightFormat", "get_format", "quantise", "stack", "unpack_gguf"]

ROWS_AT_ONCE = 4096  # rows quantised together, to bound the memory for intermediate results

E2M1 = (0, 1, 2, 3, 4, 6, 8, 12)  # twice the magnitudes of the eight codes, so that they are integers


@dataclass(frozen=True, kw_only=True)
class WeightFormat:
    """One way to store a block of 32 weights.

    Parameters
    ----------
    code_bits : 4 or 8.
    scale : E8M0 (one byte) or FP16 (two).
    minimum : whether the block has an FP16 minimum too.
    table : the int8 value of each 4-bit code; empty for 8-bit codes.
    exponent_offset : added to the E8M0 byte of the checkpoint to get the chip's (-1 where the table holds doubles).
    """

    name: str
    code_bits: int
    scale: ScaleFormat
    minimum: bool = False
    table: tuple = ()
    exponent_offset: int = 0

    @property
    def scale_bytes(self):
        return 2 if self.scale is ScaleFormat.FP16 else 1

    @property
    def block_bytes(self):
        """Bytes a block takes in a checkpoint."""
        return BLOCK * self.code_bits // 8 + self.scale_bytes + 2 * self.minimum


FORMATS = {
    fmt.name: fmt
    for fmt in (
        WeightFormat(name="mxint8", code_bits=8, scale=ScaleFormat.E8M0),
        WeightFormat(name="q8_0", code_bits=8, scale=ScaleFormat.FP16),
        WeightFormat(name="q4_0", code_bits=4, scale=ScaleFormat.FP16, table=tuple(range(-8, 8))),
        WeightFormat(name="q4_1", code_bits=4, scale=ScaleFormat.FP16, minimum=True, table=tuple(range(16))),
        WeightFormat(name="mxfp4", code_bits=4, scale=ScaleFormat.E8M0, exponent_offset=-1,
                     table=E2M1 + tuple(-value for value in E2M1)),
    )
}


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
    format : `WeightFormat`.
    codes : ``[rows, kblocks, 32]``, int8 (8-bit codes) or uint8 (4-bit codes, 0 to 15).
    scales : ``[rows, kblocks]``, uint8 (E8M0, the *chip's* exponent) or uint16 (FP16 bits).
    minimums : ``[rows, kblocks]`` uint16 (FP16 bits), or None.
    """

    format: WeightFormat
    codes: np.ndarray
    scales: np.ndarray
    minimums: np.ndarray | None = None

    @property
    def shape(self):
        return self.codes.shape[0], self.codes.shape[1] * BLOCK

    @property
    def stored_bytes(self):
        """Bytes of the matrix in a checkpoint, without any padding."""
        return self.codes.shape[0] * self.codes.shape[1] * self.format.block_bytes

    def take(self, rows):
        """Rows in another order; a row number of -1 gives a row of zeros."""
        rows = np.asarray(rows)

        def pick(array):
            picked = array[rows]
            picked[rows < 0] = 0
            return picked

        return Blocks(format=self.format, codes=pick(self.codes), scales=pick(self.scales),
                      minimums=None if self.minimums is None else pick(self.minimums))

    def scale_values(self):
        """The scales as float32; an E8M0 byte of 0 is a subnormal, which the chip counts as 0."""
        if self.format.scale is ScaleFormat.FP16:
            return self.scales.view(np.float16).astype(np.float32)
        return (self.scales.astype(np.uint32) << 23).view(np.float32)

    def dequantise(self):
        """The matrix as float32 ``[rows, columns]``."""
        if self.format.code_bits == 4:
            values = np.array(self.format.table, np.float32)[self.codes]
        else:
            values = self.codes.astype(np.float32)
        values *= self.scale_values()[:, :, None]
        if self.minimums is not None:
            values += self.minimums.view(np.float16).astype(np.float32)[:, :, None]
        return values.reshape(self.shape)


def quantise(values, fmt):
    """Quantise float32 ``[rows, columns]``, columns a multiple of 32, to `Blocks` of a format.

    MXINT8 and MXFP4 follow OCP MX (the block's largest power of two, round half even, saturate); Q8_0, Q4_0 and
    Q4_1 follow GGUF.
    """
    return stack([_quantise_rows(values[start:start + ROWS_AT_ONCE], fmt) for start in range(0, len(values), ROWS_AT_ONCE)])


def stack(parts):
    """Matrices of one format and width, one below the other."""
    first = parts[0]
    return Blocks(format=first.format, codes=np.concatenate([part.codes for part in parts]),
                  scales=np.concatenate([part.scales for part in parts]),
                  minimums=None if first.minimums is None else np.concatenate([part.minimums for part in parts]))


def _quantise_rows(values, fmt):
    blocks = np.ascontiguousarray(values, np.float32).reshape(len(values), -1, BLOCK)
    if fmt.scale is ScaleFormat.E8M0:
        return (_mxint8 if fmt.code_bits == 8 else _mxfp4)(blocks, fmt)
    import gguf  # slow to import, and needed only here

    kind = gguf.GGMLQuantizationType[fmt.name.upper()]
    return unpack_gguf(gguf.quants.quantize(blocks.reshape(len(values), -1), kind), fmt)


def unpack_gguf(data, fmt):
    """`Blocks` from the bytes of a GGUF tensor, ``[rows, bytes a row]`` uint8, of format Q8_0, Q4_0 or Q4_1."""
    data = data.reshape(data.shape[0], -1, fmt.block_bytes)
    scales = np.ascontiguousarray(data[:, :, :2]).view(np.uint16)[:, :, 0]
    minimums = np.ascontiguousarray(data[:, :, 2:4]).view(np.uint16)[:, :, 0] if fmt.minimum else None
    codes = data[:, :, 2 + 2 * fmt.minimum:]
    if fmt.code_bits == 8:
        codes = np.ascontiguousarray(codes).view(np.int8)
    else:  # GGUF keeps codes 0 to 15 in the low nibbles and 16 to 31 in the high ones
        codes = np.concatenate([codes & 15, codes >> 4], axis=2)
    return Blocks(format=fmt, codes=codes, scales=scales, minimums=minimums)


def _exponent(blocks):
    """floor(log2 max|x|) of each block, -1000 for a block of zeros."""
    top = np.abs(blocks).max(axis=2)
    return np.where(top > 0, np.frexp(top)[1] - 1, -1000)


def _mxint8(blocks, fmt):
    exponent = np.maximum(_exponent(blocks) - 6, -126)
    q = np.rint(np.ldexp(blocks.astype(np.float64), -exponent[:, :, None]))
    codes = np.clip(q, -127, 127).astype(np.int8)
    scales = np.where(codes.any(axis=2), exponent + 127, 0).astype(np.uint8)
    return Blocks(format=fmt, codes=codes, scales=scales)


def _mxfp4(blocks, fmt):
    exponent = np.maximum(_exponent(blocks) - 2, -125)
    x = np.ldexp(np.abs(blocks.astype(np.float64)), 1 - exponent[:, :, None])  # in units of half the scale
    # Between neighbours of the table, round to the nearer; at a tie to the even code.
    grid = np.array(E2M1, np.float64)
    middle = (grid[1:] + grid[:-1]) / 2
    low = np.searchsorted(middle, x, side="left")  # a tie stays below ...
    high = np.searchsorted(middle, x, side="right")  # ... or goes above
    magnitude = np.where(low % 2 == 0, low, high)
    codes = (magnitude + 8 * ((blocks < 0) & (magnitude > 0))).astype(np.uint8)
    scales = np.where(codes.any(axis=2), exponent + 127 + fmt.exponent_offset, 0).astype(np.uint8)
    return Blocks(format=fmt, codes=codes, scales=scales)
