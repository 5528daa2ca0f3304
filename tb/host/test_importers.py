"""Importers: the same weights through every kind of file."""

import gguf
import numpy as np
import pytest
from checkpoints import ODD, SIZES, interleaved, random_tensors, to_bf16, write_gguf, write_huggingface
from scoville.config import get_config
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler.compiler import compile_model

BIASES = ("q", "k", "v", "o", "gate", "up", "down")


@pytest.mark.parametrize("dtype, shards", [
    (np.float32, 1), (np.float32, 3), (np.float16, 1), (np.float16, 2), ("bf16", 1)])
def test_huggingface(tmp_path, dtype, shards):
    tensors = random_tensors(tied=False, biases=BIASES)
    bf16 = dtype == "bf16"
    write_huggingface(tmp_path, tensors, dtype=np.float32 if bf16 else dtype, shards=shards)
    if bf16:
        to_bf16(tmp_path)
    model = load_checkpoint(tmp_path)
    assert set(model.tensors) == set(tensors)
    for name, values in tensors.items():
        assert np.array_equal(model.tensors[name].floats(), values if not bf16 else _truncated(values)), name
    assert (model.hidden, model.group, model.tied, model.eos_ids) == (64, 2, False, [1])


def _truncated(values):
    return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)


def test_both_spellings_of_rope_settings(tmp_path):
    tensors = random_tensors()
    old = load_checkpoint(write_huggingface(tmp_path / "old", tensors, rope_theta=5e5))
    new = load_checkpoint(write_huggingface(tmp_path / "new", tensors, rope_theta=None,
                                            rope_parameters={"rope_type": "default", "rope_theta": 5e5}))
    assert old.rope_theta == new.rope_theta == 5e5


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0", "Q4_1"])
def test_gguf_keeps_what_is_stored(tmp_path, kind):
    tensors = random_tensors(tied=False)
    model = load_checkpoint(write_gguf(tmp_path / "model.gguf", tensors, kind=kind))
    assert model.rope_layout == "interleaved"
    number = gguf.GGMLQuantizationType[kind]
    for name, values in tensors.items():
        part = name.rpartition(".")[2]
        if part in ("q", "k"):
            values = interleaved(values, SIZES["heads" if part == "q" else "kv_heads"])
        if values.ndim == 2 and kind.startswith("Q"):
            values = gguf.quants.dequantize(gguf.quants.quantize(np.ascontiguousarray(values), number), number)
        assert np.array_equal(model.tensors[name].floats(), values), name


@pytest.mark.parametrize("sizes", [SIZES, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("tied", [True, False])
def test_same_image_from_both_kinds_of_file(tmp_path, sizes, tied):
    """Row order of q and k differs between the files; in memory the rotation pairs must meet all the same."""
    tensors = random_tensors(sizes, tied=tied, biases=("q", "k", "v"))
    images = [compile_model(load_checkpoint(path, "same"), get_config("nano"))
              for path in (write_huggingface(tmp_path / "hf", tensors, sizes),
                           write_gguf(tmp_path / "model.gguf", tensors, sizes))]
    assert images[0].regions == images[1].regions
    assert np.array_equal(images[0].memory, images[1].memory)
