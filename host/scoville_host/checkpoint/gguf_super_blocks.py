"""Super-blocks of GGUF files, the K-quants and IQ4_XS: 256 weights with scales of two levels, as the chip reads them.

What a type's bytes are is in the package gguf, ``quants.py``, whose dequantisation is the reference. Nothing is
requantised: codes, integers and FP16 factors are the file's, in another order; Q3_K's codes of 3 bits take 4.
"""

from dataclasses import dataclass

import numpy as np
from scoville.config import BLOCK, SUPER_BLOCKS
from scoville.numerics.formats import IQ4_XS, Q3_K, Q4_K, Q5_K, Q6_K, WeightFormat

__all__ = ["SUPER_FORMS", "SuperLayout"]

NEGATIVE = np.uint16(0x8000)  # sign of an FP16: a file subtracts the minimum that the chip adds


@dataclass(frozen=True, kw_only=True)
class SuperLayout:
    """A type of super-blocks.

    Parameters
    ----------
    form : the chip's format
    bytes : of a super-block in the file
    parts : function of its bytes ``[n, bytes]`` to a dict: ``codes`` ``[n, 256]``, ``integers`` ``[n, 8, 2]``,
        ``scales`` ``[n]``; with minimums ``minimums`` ``[n]`` and ``minimum_integers`` ``[n, 8]``
    tested : as of `BlockLayout`
    """

    form: WeightFormat
    bytes: int
    parts: object
    tested: tuple = ()

    def unpack(self, data):
        """`formats.Blocks`' arrays from the bytes of a tensor ``[rows, bytes a row]``."""
        rows = data.shape[0]
        parts = self.parts(np.ascontiguousarray(data).reshape(-1, self.bytes))
        shapes = {"codes": (-1, BLOCK), "integers": (-1, 2), "scales": (-1,), "minimums": (-1,),
                  "minimum_integers": (-1,)}
        return {name: np.ascontiguousarray(part).reshape(rows, *shapes[name]) for name, part in parts.items()}


def _half(data):
    return np.ascontiguousarray(data).view(np.uint16)[:, 0]


def _shifts(data, width, shifts):
    """Fields of bytes: runs of `width` bytes, each shifted by every one of `shifts`, in order: ``[n, values]``."""
    found = data.reshape(len(data), -1, 1, width) >> np.array(shifts, np.uint8).reshape(1, 1, -1, 1)
    return found.reshape(len(data), -1)


def _six_bits(data):
    """Eight scales and eight minimums of 6 bits each, of 12 bytes."""
    low, least, high = data[:, :4], data[:, 4:8], data[:, 8:]
    return (np.concatenate([low & 63, high & 15 | low >> 2 & 48], axis=1),
            np.concatenate([least & 63, high >> 4 | least >> 2 & 48], axis=1))


def _with_minimums(data, codes):
    scale, minimum = _six_bits(data[:, 4:16])
    return {"codes": codes, "integers": np.stack([scale, scale], axis=2).view(np.int8), "scales": _half(data[:, :2]),
            "minimums": _half(data[:, 2:4]) ^ NEGATIVE, "minimum_integers": minimum}


def _q4_k(data):
    return _with_minimums(data, _shifts(data[:, 16:], BLOCK, (0, 4)) & 15)


def _q5_k(data):
    high = _shifts(data[:, 16:48], BLOCK, range(8)) & 1
    return _with_minimums(data, _shifts(data[:, 48:], BLOCK, (0, 4)) & 15 | high << 4)


def _q6_k(data):
    low, high = _shifts(data[:, :128], 64, (0, 4)) & 15, _shifts(data[:, 128:192], BLOCK, (0, 2, 4, 6)) & 3
    return {"codes": low | high << 4, "integers": data[:, 192:208].view(np.int8).reshape(-1, SUPER_BLOCKS, 2),
            "scales": _half(data[:, 208:])}


def _q3_k(data):
    low, high = _shifts(data[:, 32:96], BLOCK, (0, 2, 4, 6)) & 3, _shifts(data[:, :32], BLOCK, range(8)) & 1
    scale = _shifts(data[:, 96:104], 8, (0, 4)) & 15 | (_shifts(data[:, 104:108], 4, (0, 2, 4, 6)) & 3) << 4
    return {"codes": low | high << 2, "integers": (scale.view(np.int8) - np.int8(32)).reshape(-1, SUPER_BLOCKS, 2),
            "scales": _half(data[:, 108:])}


def _iq4_xs(data):
    high = np.ascontiguousarray(data[:, 2:4]).view(np.uint16) >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    low = np.stack([data[:, 4:8] & 15, data[:, 4:8] >> 4], axis=2).reshape(-1, SUPER_BLOCKS)
    scale = (low | high.astype(np.uint8) << 4).view(np.int8) - np.int8(32)
    return {"codes": _shifts(data[:, 8:], 16, (0, 4)) & 15, "integers": np.stack([scale, scale], axis=2),
            "scales": _half(data[:, :2])}


_DECODER = ("the decoder in RTL: any width of codes, scales of two levels", "weights/test_decoder.py")
_RTL = ("whole chips in RTL", "chip/test_k_quants.py")
SUPER_FORMS = {
    "IQ4_XS": SuperLayout(form=IQ4_XS, bytes=136, parts=_iq4_xs, tested=(_DECODER,)),
    "Q3_K": SuperLayout(form=Q3_K, bytes=110, parts=_q3_k, tested=(_DECODER, _RTL)),
    "Q4_K": SuperLayout(form=Q4_K, bytes=144, parts=_q4_k, tested=(_DECODER, _RTL)),
    "Q5_K": SuperLayout(form=Q5_K, bytes=176, parts=_q5_k, tested=(_DECODER, _RTL)),
    "Q6_K": SuperLayout(form=Q6_K, bytes=210, parts=_q6_k, tested=(_DECODER, _RTL)),
}
"""By the name of the type."""
