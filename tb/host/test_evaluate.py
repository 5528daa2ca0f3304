"""Evaluation: the measures on known distributions, and the shipped model against its float reference."""

import numpy as np
import pytest
from scoville_host.errors import RequestError
from scoville_host.runtime import evaluate as module
from scoville_host.runtime.evaluate import compare, evaluate, perplexity

STORY = "Once upon a time there was a little fox. The fox had a red ball. One day, the fox went to the park with mom. "


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(STORY * 6, encoding="utf-8")
    return path


def test_perplexity_of_a_uniform_distribution_is_the_vocabulary():
    ids = np.arange(200) % 7
    assert perplexity(np.full((200, 50), 3.0, np.float32), ids) == pytest.approx(50)


def test_perplexity_looks_one_token_ahead():
    ids = np.array([2, 0, 1])
    logits = np.zeros((3, 3), np.float32)
    logits[0, 0] = logits[1, 1] = np.log(2)  # probability 1/2 for what comes next
    assert perplexity(logits, ids) == pytest.approx(2)


def test_divergence():
    rng = np.random.default_rng(0)
    p, q = rng.random((100, 9)), rng.random((100, 9))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    kl, same = compare(np.log(p) + 5, np.log(q))
    assert kl == pytest.approx((p * np.log(p / q)).sum(1).mean())
    assert same == (p.argmax(1) == q.argmax(1)).mean()
    assert compare(np.log(p), np.log(p)) == pytest.approx((0, 1))


@pytest.mark.parametrize(("act_bits", "bar"), [(8, 0.010), (10, 0.003)])
def test_tiny_model_stays_close_to_float(text, act_bits, bar):
    """The contract's bars for activations of 8 and 10 bits with a KV cache of 8; MXINT8 weights cost their share."""
    pytest.importorskip("transformers", reason="the optional extra 'float' is not installed")
    done = []
    result = evaluate("tiny", text, "golden", "float", act_bits=act_bits, tokens=200,
                      progress=lambda count, total: done.append((count, total)))
    assert result["model"] == "tiny" and result["tokens"] == 200 and result["act_bits"] == act_bits
    assert 0 < result["kl"] <= bar
    assert result["top1"] >= 0.9
    assert result["perplexity"] == pytest.approx(result["reference_perplexity"], rel=0.05)
    assert done[-1] == (200, 200)


def test_float_against_itself(text):
    pytest.importorskip("transformers", reason="the optional extra 'float' is not installed")
    result = evaluate("tiny", text, "float", "float", tokens=50)
    assert result["kl"] == pytest.approx(0, abs=1e-12) and result["top1"] == 1 and result["act_bits"] is None


def test_a_sequence_for_each_position_gives_the_same(text, monkeypatch):
    """The way of the RTL, tried with the golden model in its place."""
    from scoville_host.runtime import registry

    monkeypatch.setattr(registry, "get_backend", lambda name: registry.GoldenBackend())
    assert evaluate("tiny", text, "rtl", tokens=12)["perplexity"] == evaluate("tiny", text, tokens=12)["perplexity"]


@pytest.mark.parametrize(("options", "message"), [
    ({"backend": "paper"}, "unknown backend 'paper'; there are: golden, rtl, float"),
    ({"against": "rtl"}, "must be 'float' or 'llama.cpp'"),
    ({"config_name": "huge"}, "unknown configuration 'huge'"),
    ({"act_bits": 7}, "act_bits is 7"),
    ({"tokens": 1}, "at least 2"),
])
def test_bad_requests(text, options, message):
    with pytest.raises(RequestError, match=message):
        evaluate("tiny", text, **options)


def test_bad_texts(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(RequestError, match="needs at least 2"):
        evaluate("tiny", tmp_path / "empty.txt")
    with pytest.raises(RequestError, match="No such file"):
        evaluate("tiny", tmp_path / "missing.txt")


def test_missing_float_packages(text, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RequestError, match=r"scoville\[float\]"):
        evaluate("tiny", text, "golden", "float", tokens=4)
    assert module.BACKENDS == ("golden", "rtl", "float")
