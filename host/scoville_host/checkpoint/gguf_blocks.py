"""Blocks of GGUF files in forms that the chip reads: the codes as they are, or wider ones, never other weights.

What a type's codes and scales are is in the package gguf, ``quants.py``, whose dequantisation is the reference.
"""

from dataclasses import dataclass

import numpy as np
from scoville.config import BLOCK
from scoville.isa import ScaleFormat
from scoville.numerics.formats import IQ4_NL, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, WeightFormat

from .gguf_super_blocks import SUPER_FORMS

__all__ = ["GGUF_FORMS", "BlockLayout"]


@dataclass(frozen=True, kw_only=True)
class BlockLayout:
    """Bytes of a block of 32 in a GGUF file: scale, minimum, the fifth bits, codes.

    Parameters
    ----------
    form : the chip's format
    bits : of a code in the file. Codes 0 to 15 lie in the low nibbles, 16 to 31 in the high ones; of 5 bits the highest
        lie before them, a bit a code.
    tested : what it was tested on besides random blocks (`catalog`): (what, test under ``tb``)
    """

    form: WeightFormat
    bits: int
    tested: tuple = ()

    @property
    def head(self):
        """Bytes in front of the codes."""
        return self.form.scale_bytes + self.form.minimum_bytes + (4 if self.bits == 5 else 0)

    @property
    def bytes(self):
        """Bytes of a block."""
        return self.head + BLOCK * (8 if self.bits == 8 else 4) // 8

    def unpack(self, data):
        """Codes, scales and minimums, as `formats.Blocks` has them, from the bytes of a tensor ``[rows, bytes a row]``.

        Raises
        ------
        ValueError
            If the chip's form cannot hold a block's scale.
        """
        form = self.form
        data = np.ascontiguousarray(data).reshape(data.shape[0], -1, self.bytes)
        scales, minimums = data[:, :, 0], None
        if form.scale_bytes == 2:
            scales = _halves(data[:, :, :2])
        if form.minimum:
            minimums = _halves(data[:, :, 2:4])
        codes = data[:, :, self.head:]
        if self.bits == 8:
            codes = np.ascontiguousarray(codes).view(np.int8)
        else:
            codes = np.concatenate([codes & 15, codes >> 4], axis=2)
        if self.bits == 5:
            high = np.unpackbits(data[:, :, self.head - 4:self.head], axis=2, bitorder="little")
            codes = codes | high << 4
        if form.scale_format is ScaleFormat.E8M0:
            scales = _exponents(form, codes, scales)
        return {"codes": codes, "scales": scales, "minimums": minimums}


_RTL = ("whole chips in RTL", "chip/test_same_bits.py::test_weight_formats")
_DECODER = ("the decoder in RTL: any width of codes, scale and minimum", "weights/test_decoder.py")
_SMOLLM2 = ("SmolLM2-135M-Instruct beside llama.cpp", "host/test_llama_cpp.py::test_smollm2")
GGUF_FORMS = {
    "Q8_0": BlockLayout(form=Q8_0, bits=8, tested=(_RTL, _SMOLLM2)),
    "Q4_0": BlockLayout(form=Q4_0, bits=4, tested=(_RTL,)),
    "Q4_1": BlockLayout(form=Q4_1, bits=4, tested=(_RTL, _SMOLLM2)),
    "Q5_0": BlockLayout(form=Q5_0, bits=5, tested=(_RTL,)),
    "Q5_1": BlockLayout(form=Q5_1, bits=5, tested=(_DECODER,)),
    "IQ4_NL": BlockLayout(form=IQ4_NL, bits=4, tested=(_DECODER,)),
    "MXFP4": BlockLayout(form=MXFP4, bits=4, tested=(_RTL,)),
} | SUPER_FORMS
"""By the name of the type. Tables of 4-bit codes are the form's."""


def _halves(data):
    return np.ascontiguousarray(data).view(np.uint16)[:, :, 0]


def _exponents(form, codes, scales):
    """Scales as the hardware has them. It has none below 2^-126, and weights beyond FP32 are none."""
    used = form.decode(codes).any(axis=2)
    if (used & (scales < form.scale_shift + 1)).any():
        raise ValueError("has blocks with scales below 2^-125, which the chip takes for 0")
    top = np.abs(form.decode(codes).astype(np.float32)).max(axis=2) if scales.max(initial=0) >= 250 else None
    if top is not None:
        with np.errstate(over="ignore"):
            value = np.ldexp(top, scales.astype(np.int32) - form.scale_shift - 127)
        if not np.isfinite(value).all() or (scales == 255).any():
            raise ValueError("has blocks with weights that are NaN or infinite")
    return form.hardware_scale(np.where(used, scales, 0))
