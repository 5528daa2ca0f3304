"""Rows of FP32 values as the payloads of streams, and test values."""

import numpy as np

SPECIAL = np.array([0, -0.0, 1, -1, 0.5, 3.4e38, -3.4e38, 1.2e-38, -1.2e-38, 2.0**-24], np.float32)


def floats(rng, shape, spread=6, special=0.05):
    """Normal values over about 2^(+-spread), with zeros, extremes and equal neighbours among them."""
    values = (rng.standard_normal(shape) * 2.0 ** rng.uniform(-spread, spread, shape)).astype(np.float32)
    values = np.where(rng.random(shape) < 0.1, np.round(values * 4) / 4, values)
    return np.where(rng.random(shape) < special, rng.choice(SPECIAL, shape), values).astype(np.float32)


def to_ints(rows):
    """float32[rows, T] (or [rows]) as one Python int a row."""
    rows = np.ascontiguousarray(rows, "<f4")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def to_floats(payloads, lanes):
    """The inverse of `to_ints`: float32[rows, lanes]."""
    data = b"".join(payload.to_bytes(4 * lanes, "little") for payload in payloads)
    return np.frombuffer(data, "<f4").reshape(-1, lanes)


def assert_same(actual, expected):
    """Equal bit for bit."""
    actual, expected = np.asarray(actual, np.float32), np.asarray(expected, np.float32)
    assert actual.shape == expected.shape
    wrong = np.argwhere(actual.view(np.uint32) != expected.view(np.uint32))
    assert not len(wrong), f"{len(wrong)} of {actual.size} differ; first at {wrong[0]}: " \
                           f"{actual[tuple(wrong[0])]!r}, expected {expected[tuple(wrong[0])]!r}"
