"""Linear layers at the golden model's speed: the dot unit's roundings, without its checks where they cannot matter."""

from dataclasses import dataclass

import numpy as np

from .array import dot_unit

__all__ = ["Weights", "linear"]

CACHED_VALUES = 1 << 17  # values of a temporary, so that it stays in the processor's cache


@dataclass(frozen=True, eq=False)
class Weights:
    """A decoded matrix.

    Parameters
    ----------
    codes : float32 ``[kblocks, rows, 32]``; float64, times the integers of their halves' scales
    scales, minimums : float32 ``[kblocks, rows]``; None for scales of 1.0, and for no minimums
    step : all scales and minimums are multiples of 2^step
    """

    codes: np.ndarray
    scales: np.ndarray | None
    minimums: np.ndarray | None
    step: int


def linear(weights, q, e8, sums):
    """Accumulators of a matrix, equal to `dot_unit.linear` bit for bit: float32 ``[rows, lanes]``.

    If the exponents show that no value can be below 2^-126, and no result is infinite, then nothing was flushed or
    saturated on the way, and IEEE arithmetic alone gives the same bits; otherwise the dot unit's model does the work.

    Parameters
    ----------
    weights : Weights
    q : codes ``[lanes, kblocks, 32]``
    e8, sums : exponent bytes and sums of the codes ``[lanes, kblocks]``
    """
    q, e8, sums = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in (q, e8, sums))
    used = e8[q.any(axis=2)]
    if not used.size or int(used.min()) - 127 + weights.step >= -126:
        result = _ieee(weights, q.astype(weights.codes.dtype), e8, sums.astype(np.float32))
        if np.isfinite(result).all():
            return result
    scales = np.ones(weights.codes.shape[:2], np.float32) if weights.scales is None else weights.scales
    return dot_unit.linear(weights.codes, scales, weights.minimums, q, e8, sums)


def _ieee(weights, q, e8, sums):
    kblocks, rows, _ = weights.codes.shape
    lanes = q.shape[1]
    factors = (e8.astype(np.uint32) << 23).view(np.float32)[:, :, None]  # 2^(e8 - 127); a block of zeros may have any
    result = np.empty((lanes, rows), np.float32)
    step = max(64, CACHED_VALUES // (kblocks * lanes))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, rows, step):
            part = slice(start, start + step)
            terms = q @ weights.codes[:, part].swapaxes(1, 2)  # a block's product is below 2^24: exact in float32
            if weights.scales is not None:
                terms *= weights.scales[:, None, part]
            terms = terms.astype(np.float32, copy=False)  # of float64, exact up to here: its one rounding
            if weights.minimums is not None:
                terms += weights.minimums[:, None, part] * sums[:, :, None]
            terms *= factors
            acc = terms[0] + np.float32(0)  # -0 becomes +0
            for term in terms[1:]:
                acc += term
            result[:, part] = acc
    return result.T
