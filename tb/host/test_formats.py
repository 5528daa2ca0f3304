"""Weight formats: the project's quantisers against GGUF's, and against their own definition."""

import gguf
import numpy as np
import pytest
from scoville_host.checkpoint.formats import E2M1, FORMATS, get_format, quantise, stack
from scoville_host.errors import RequestError


@pytest.fixture
def values():
    rng = np.random.default_rng(3)
    return (rng.standard_normal((9, 96)) * np.exp2(rng.integers(-20, 20, (9, 1)))).astype(np.float32)


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_1"])
def test_dequantises_like_gguf(name, values):
    values = values / np.abs(values).max()
    kind = gguf.GGMLQuantizationType[name.upper()]
    expected = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
    assert np.array_equal(quantise(values, FORMATS[name]).dequantise(), expected)


@pytest.mark.parametrize("name, error", [("mxint8", 1 / 127), ("mxfp4", 1 / 4)])
def test_error_is_bounded_by_the_block_maximum(name, error, values):
    found = quantise(values, FORMATS[name]).dequantise()
    top = np.abs(values).reshape(9, -1, 32).max(axis=2).repeat(32, axis=1)
    assert (np.abs(found - values) <= error * top).all()


def test_mxfp4_keeps_its_own_values():
    values = np.concatenate([E2M1, -E2M1, E2M1[::-1], -E2M1]).astype(np.float32)[None] * np.float32(2**-7)
    assert np.array_equal(quantise(values, FORMATS["mxfp4"]).dequantise(), values)


def test_mxfp4_ties_go_to_the_even_code():
    values = np.zeros((1, 32), np.float32)
    values[0, :8] = [6, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5]
    assert quantise(values, FORMATS["mxfp4"]).dequantise()[0, :8].tolist() == [6, 0, 1, 1, 2, 2, 4, 4]


@pytest.mark.parametrize("name", FORMATS)
def test_zeros_stay_zeros(name):
    assert not quantise(np.zeros((2, 64), np.float32), FORMATS[name]).dequantise().any()


@pytest.mark.parametrize("name", FORMATS)
def test_take_moves_rows_and_adds_zeros(name, values):
    blocks = quantise(values / np.abs(values).max(), FORMATS[name])
    taken = blocks.take([3, -1, 0]).dequantise()
    whole = blocks.dequantise()
    assert np.array_equal(taken[[0, 2]], whole[[3, 0]])
    assert not taken[1].any()
    assert np.array_equal(stack([blocks, blocks]).dequantise(), np.concatenate([whole, whole]))


def test_fp16_scale_overflow_is_seen():
    blocks = quantise(np.full((1, 32), 1e30, np.float32), FORMATS["q8_0"])
    assert not blocks.is_finite()


def test_unknown_name_lists_the_known():
    with pytest.raises(RequestError, match="mxint8, q8_0, q4_0, q4_1, mxfp4"):
        get_format("q2_k")
