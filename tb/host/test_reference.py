"""The float reference: a directory and a GGUF file of the same tensors are the same model."""

import sys

import numpy as np
import pytest
from checkpoints import SIZES, random_tensors, write_gguf, write_huggingface
from scoville_host.runtime.reference import load_reference

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 69, 0]


@pytest.fixture
def transformers():
    pytest.importorskip("torch", reason="the optional extra 'float' is not installed")
    return pytest.importorskip("transformers", reason="the optional extra 'float' is not installed")


@pytest.mark.parametrize("tied", [True, False])
def test_gguf_equals_directory(transformers, tmp_path, tied):
    """Within float32 rounding: the formats store the same values in another row order."""
    tensors = random_tensors(tied=tied)
    directory = load_reference(write_huggingface(tmp_path / "hf", tensors))
    gguf = load_reference(write_gguf(tmp_path / "model.gguf", tensors))
    wanted = directory.logits(IDS)
    assert wanted.shape == (len(IDS), SIZES["vocab"]) and wanted.dtype == np.float32
    np.testing.assert_allclose(gguf.logits(IDS), wanted, rtol=1e-5, atol=1e-5)


def test_quantised_gguf_is_dequantised(transformers, tmp_path):
    """Q8_0 keeps seven bits: 2 % of the logits' norm."""
    tensors = random_tensors()
    exact = load_reference(write_gguf(tmp_path / "exact.gguf", tensors)).logits(IDS)
    coarse = load_reference(write_gguf(tmp_path / "coarse.gguf", tensors, kind="Q8_0")).logits(IDS)
    assert 0 < np.linalg.norm(coarse - exact) < 0.02 * np.linalg.norm(exact)


def test_generation_is_the_arg_max_of_teacher_forcing(transformers, tmp_path):
    reference = load_reference(write_huggingface(tmp_path / "hf", random_tensors()))
    tokens = reference.generate(IDS, 5)
    logits = reference.logits(IDS + tokens[:-1])
    assert tokens == list(logits[len(IDS) - 1:].argmax(axis=1))
    assert reference.generate(IDS, 5, stop_ids=[tokens[0]]) == tokens[:1]


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeError, match=r"pip install 'scoville\[float\]'"):
        load_reference(write_huggingface(tmp_path / "hf", random_tensors()))


def test_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither"):
        load_reference(tmp_path)


def test_other_architectures_are_refused(transformers, tmp_path):
    tensors = random_tensors()
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "gpt.gguf", "gpt2")
    writer.add_tensor("token_embd.weight", tensors["embedding"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match="architecture 'gpt2'"):
        load_reference(tmp_path / "gpt.gguf")
