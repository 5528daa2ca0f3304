"""The comparison with the golden model is of every bit: the lowest bit of one logit is enough, and one token."""

import dataclasses

import numpy as np
import pytest
import test_same_bits
from llamas import compiled, golden
from scoville.config import get_config

PROMPT = [3, 39, 0]


def spoiled(result, what):
    """A golden result with one thing changed."""
    if what == "token":
        return dataclasses.replace(result, tokens=[*result.tokens[:-1], result.tokens[-1] ^ 1])
    logits = result.logits.copy()
    logits.view(np.uint32)[-1, 17] ^= 1
    return dataclasses.replace(result, logits=logits)


@pytest.mark.parametrize("what", ["logit", "token"])
def test_a_difference_fails(monkeypatch, what):
    image = compiled(get_config("nano"), hidden=32, layers=1, ffn=32, vocab=40)
    assert test_same_bits.check(image, PROMPT, 2)
    monkeypatch.setattr(test_same_bits, "golden", lambda *given, **options: spoiled(golden(*given, **options), what))
    with pytest.raises(AssertionError):
        test_same_bits.check(image, PROMPT, 2)
