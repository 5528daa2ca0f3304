"""Rotary positions: the table of cosines and sines that the chip reads a row of for each token.

Any stretch of the frequencies, a factor of attention's, and a rotation of a part of the head are numbers of this table:
the factor multiplies cosines and sines, as in transformers, so that it stands squared in the scores; dimensions that do
not turn have (1, 0).
"""

import math

import numpy as np
from scoville.config import BLOCK

from .layout import head_blocks

__all__ = ["frequencies", "rope_table"]

ROWS_AT_ONCE = 4096  # positions computed together, to bound the memory for float64


def frequencies(model, context=None):
    """Radians a position for each rotation pair, float64 ``[rotary/2]``: theta^(-2j/rotary), then any scaling.

    Formulas are those of Hugging Face transformers, ``modeling_rope_utils.py``.

    Parameters
    ----------
    context : positions that there are to be, for longrope: up to its original context the short divisors hold, beyond
        it the long ones, for all positions. llama.cpp does so; transformers asks for each text's own length.
    """
    freq = model.rope_theta ** (-np.arange(0, model.rotary, 2) / model.rotary)
    if model.rope_factors is not None:
        freq = freq / model.rope_factors.astype(np.float64)
    scaling = model.rope_scaling
    return freq if scaling is None else _STRETCHES[scaling.kind](model, scaling, freq, context)


def _linear(model, scaling, freq, context):
    return freq / scaling.factor


def _llama3(model, scaling, freq, context):
    """Divides the slow rotations by `factor`, keeps the fast ones, and blends between."""
    turns = freq * scaling.original_context / (2 * math.pi)
    smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    smooth = np.clip(smooth, 0, 1)
    return freq * (smooth + (1 - smooth) / scaling.factor)


def _yarn(model, scaling, freq, context):
    """The same, blended along the number of the pair, between those that turn `beta_fast` and `beta_slow` times."""
    def pair(turns):
        return model.rotary * math.log(scaling.original_context / (turns * 2 * math.pi)) / (
            2 * math.log(model.rope_theta))

    low, high = pair(scaling.beta_fast), pair(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, model.rotary - 1)
    ramp = np.clip((np.arange(freq.size) - low) / (high - low or 0.001), 0, 1)
    return freq * (1 - ramp + ramp / scaling.factor)


def _longrope(model, scaling, freq, context):
    long = context is not None and context > scaling.original_context
    return freq / np.float32(scaling.long if long else scaling.short)


_STRETCHES = {"linear": _linear, "llama3": _llama3, "yarn": _yarn, "longrope": _longrope}


def rope_table(model, context):
    """Float32 ``[context, pairs of a padded head, 2]``: cosine and sine, rounded from float64; what does not turn has
    (1, 0)."""
    turn = frequencies(model, context)[None, :]
    size = model.rope_scaling.attention_factor if model.rope_scaling else 1.0
    table = np.zeros((context, head_blocks(model.head_dim) * BLOCK // 2, 2), np.float32)
    table[:, :, 0] = 1
    for start in range(0, context, ROWS_AT_ONCE):
        angle = np.arange(start, min(start + ROWS_AT_ONCE, context))[:, None] * turn
        table[start:start + ROWS_AT_ONCE, :turn.size] = size * np.stack([np.cos(angle), np.sin(angle)], axis=2)
    return table
