"""Broken checkpoints: each gives one clear line, never a traceback."""

import json

import numpy as np
import pytest
from checkpoints import random_tensors, write_gguf, write_huggingface
from safetensors.numpy import save_file
from scoville.config import get_config
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler.compiler import compile_model
from scoville_host.errors import RequestError


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def garbage(folder):
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not JSON at all!")


def empty(folder):
    (folder / "model.safetensors").write_bytes(b"")


def integers(folder):
    save_file({"model.embed_tokens.weight": np.zeros((70, 64), np.int32)}, folder / "model.safetensors")


def lost_shard(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))


def setting(**settings):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | settings))
    return change


def drop(key):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        del config[key]
        (folder / "config.json").write_text(json.dumps(config))
    return change


@pytest.mark.parametrize("damage, message", [
    (truncate, "truncated"),
    (garbage, "not a safetensors file .*header"),
    (empty, "truncated, or not a safetensors file"),
    (integers, "has type I32; supported are F32, F16, BF16"),
    (lost_shard, "No such file"),
    (lambda folder: (folder / "model.safetensors").unlink(), "no \\*.safetensors files"),
    (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
    (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    (setting(model_type="mamba"), "architecture 'mamba' is not supported; supported are llama, mistral, qwen2, gra"),
    (setting(hidden_act="gelu"), "activation 'gelu' is not supported"),
    (setting(rope_scaling={"type": "proportional", "factor": 2}), "RoPE scaling 'proportional' is not supported"),
    (setting(rope_scaling={"type": "llama3", "factor": 2}), "lacks 'low_freq_factor'"),
    (setting(partial_rotary_factor=0.5), "a part of the head"),
    (setting(hidden_size=96),
     r"tensor 'model.embed_tokens.weight' has shape \[70, 64\]; the hyper-parameters say \[70, 96\]"),
    (setting(num_hidden_layers=3), "tensor 'model.layers.2.input_layernorm.weight' is missing"),
    (setting(num_hidden_layers=1), "'model.layers.1.*' has no place"),
    (setting(num_key_value_heads=3), "cannot share 3 KV heads"),
    (setting(head_dim=31), "head dimension 31 is odd"),
    (setting(tie_word_embeddings=False), "tensor 'lm_head.weight' is missing"),
    (drop("vocab_size"), "'vocab_size' is missing"),
])
def test_huggingface(tmp_path, damage, message):
    write_huggingface(tmp_path, random_tensors())
    damage(tmp_path)
    with pytest.raises(RequestError, match=message):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(tmp_path, value):
    tensors = random_tensors()
    tensors["1.down"][3, 5] = value
    with pytest.raises(RequestError, match="'model.layers.1.mlp.down_proj.weight' holds NaN or infinity"):
        load_checkpoint(write_huggingface(tmp_path, tensors))


def test_infinite_block_scale(tmp_path):
    tensors = random_tensors()
    tensors["0.up"][0] = 1e30
    with np.errstate(over="ignore"), pytest.raises(RequestError, match="'blk.0.ffn_up.weight' has a block scale"):
        load_checkpoint(write_gguf(tmp_path / "model.gguf", tensors, kind="Q8_0"))


def test_too_large_for_fp16_scales(tmp_path):
    tensors = random_tensors()
    tensors["0.up"][0] = 1e30
    model = load_checkpoint(write_huggingface(tmp_path, tensors))
    with pytest.raises(RequestError, match="too large for the scales of q8_0; use --weights mxint8"):
        compile_model(model, get_config("nano"), weights="q8_0")


@pytest.mark.parametrize("change, message", [
    ({"expert_count": 8}, "mixtures of experts"),
    ({"rope.dimension_count": 15}, "15 dimensions of a head turn; it must be an even number, up to 32"),
    ({"rope.dimension_count": 34}, "34 dimensions of a head turn; it must be an even number, up to 32"),
    ({"rope.scaling.type": "su"}, "RoPE scaling 'su' is not supported; supported are none, linear, yarn, longrope"),
    ({"block_count": 3}, "'blk.2.attn_norm.weight' is missing"),
    ({"block_count": None}, "'llama.block_count' is missing"),
    ({"context_length": None}, "'llama.context_length' is missing"),
    ({"attention.layer_norm_rms_epsilon": None}, "'llama.attention.layer_norm_rms_epsilon' is missing"),
    ({"attention.head_count": 0}, "llama.attention.head_count is 0; it must be greater than or equal to 1"),
    ({"embedding_length": 96}, "has shape"),
])
def test_gguf(tmp_path, change, message):
    path = write_gguf(tmp_path / "model.gguf", random_tensors(), **change)
    with pytest.raises(RequestError, match=message):
        load_checkpoint(path)


def test_gguf_files_that_are_none(tmp_path):
    path = write_gguf(tmp_path / "model.gguf", random_tensors())
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(RequestError, match="truncated, or not a GGUF file"):
        load_checkpoint(path)
    path.write_bytes(b"some text")
    with pytest.raises(RequestError, match="neither a GGUF file nor a checkpoint directory"):
        load_checkpoint(path)
    with pytest.raises(RequestError, match="no such file"):
        load_checkpoint(tmp_path / "gone")


def test_gguf_cut_inside_its_tensors(tmp_path):
    path = write_gguf(tmp_path / "model.gguf", random_tensors())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(RequestError, match="truncated, or not a GGUF file"):
        load_checkpoint(path)
