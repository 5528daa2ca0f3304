"""Rotary positions: the table of cosines and sines that the chip reads a row of for each token."""

import math

import numpy as np
from scoville.config import BLOCK

from .layout import head_blocks

__all__ = ["frequencies", "rope_table"]

ROWS_AT_ONCE = 4096  # positions computed together, to bound the memory for float64


def frequencies(model):
    """Radians a position for each rotation pair, float64 ``[head_dim/2]``: theta^(-2j/head_dim), then any scaling.

    Llama 3's scaling divides the slow rotations by `factor`, keeps the fast ones, and blends between (Hugging Face
    transformers, ``modeling_rope_utils.py``).
    """
    freq = model.rope_theta ** (-np.arange(0, model.head_dim, 2) / model.head_dim)
    if model.rope_factors is not None:
        freq = freq / model.rope_factors.astype(np.float64)
    scaling = model.rope_scaling
    if scaling is not None:
        turns = freq * scaling.original_context / (2 * math.pi)
        smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
        smooth = np.clip(smooth, 0, 1)
        freq = freq * (smooth + (1 - smooth) / scaling.factor)
    return freq


def rope_table(model, context):
    """Float32 ``[context, pairs of a padded head, 2]``: cosine and sine, rounded from float64; padding is (1, 0)."""
    turn = frequencies(model)[None, :]
    table = np.zeros((context, head_blocks(model.head_dim) * BLOCK // 2, 2), np.float32)
    table[:, :, 0] = 1
    for start in range(0, context, ROWS_AT_ONCE):
        angle = np.arange(start, min(start + ROWS_AT_ONCE, context))[:, None] * turn
        table[start:start + ROWS_AT_ONCE, :turn.size] = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    return table
