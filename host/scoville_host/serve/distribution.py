"""Logarithms of probabilities from a row of the chip's logits."""

import numpy as np

__all__ = ["distribution"]


def distribution(row, token, top):
    """What a token's row of logits says, before temperature.

    Parameters
    ----------
    row : float32 ``[vocab]``
    token : id that was sampled
    top : how many of the likeliest tokens to name; of equals the lower id first

    Returns
    -------
    (natural logarithm of the token's probability, list of (id, logarithm) of the likeliest)
    """
    logits = row.astype(np.float64)
    largest = logits.max()
    logs = logits - (largest + np.log(np.exp(logits - largest).sum()))
    best = np.argsort(-logs, kind="stable")[:top]
    return float(logs[token]), [(int(each), float(logs[each])) for each in best]
