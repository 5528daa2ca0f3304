"""Settings that change the arithmetic are honoured or refused by name; those that are neutral, or metadata, pass."""

from contextlib import nullcontext

import gguf
import numpy as np
import pytest
from checkpoints import SIZES, random_tensors, write_gguf, write_huggingface
from scoville.config import get_config
from scoville_host.checkpoint.families.settings import GGUF_GLOBAL, GGUF_HARMLESS, GGUF_METADATA, GGUF_NEUTRAL
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler.compiler import compile_model
from scoville_host.errors import RequestError

QKV = ("q", "k", "v")


def load(folder, biases=(), **settings):
    return load_checkpoint(write_huggingface(folder, random_tensors(biases=biases), **settings))


@pytest.mark.parametrize("settings, message", [
    ({"logits_scaling": 8.0}, "'logits_scaling' is not known; it might change the arithmetic"),
    ({"final_logit_softcapping": 30}, "'final_logit_softcapping' is not known"),
    ({"tie_word_embeddings": "false"}, "tie_word_embeddings is 'false'; it must be a valid boolean"),
    ({"num_attention_heads": 0}, "num_attention_heads is 0; it must be greater than or equal to 1"),
    ({"hidden_size": "64"}, "hidden_size is '64'; it must be a valid integer"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; it must be less than"),
    ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan; it must be a finite number"),
    ({"quantization_config": {"quant_method": "gptq"}}, "quantised weights"),
    ({"pruned_heads": {"0": [1]}}, "pruned heads"),
    ({"rope_scaling": {"rope_type": "default", "mscale": 2}}, "rope_scaling: 'mscale' is not known"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 0}}, "rope_scaling: factor is 0; it must be greater"),
    ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "beta_fast": 3.0}}, "'beta_fast' is not known"),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}, "rope_theta": 1.0}, "yarn with a base of 1.0 and 128 pos"),
    ({"model_type": "granite", "residual_multiplier": 0}, "residual_multiplier is 0; it must be greater than 0"),
    ({"model_type": "granite", "logits_scaling": 1e-9}, "logits_scaling is 1e-09; it must be 0 or at least 1e-6"),
    ({"rope_scaling": {"rope_type": "ntk"}}, "'ntk' is not supported; supported are default, linear, dynamic, llama3"),
    ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0, "short_factor": [1.0]}}, "lacks 'long_factor'"),
    ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}},
     "rope_scaling.short_factor has 1 numbers; the 32 dimensions that turn need 16"),
    ({"model_type": "smollm3", "no_rope_layers": [1]}, "1 layers have or lack rotary positions; there are 2"),
    ({"model_type": "granite", "residual_multiplier": -1.0}, "residual_multiplier is -1.0; it must be greater"),
    ({"rope_scaling": {"rope_type": "default"}, "rope_parameters": {"rope_theta": 5.0}}, "differ"),
    ({"attention_bias": False, "biases": QKV}, "q_proj.bias' is there, but config.json speaks of no such bias"),
    ({"model_type": "mistral", "attention_bias": True, "biases": QKV}, "biases"),
    ({"model_type": "qwen2"}, "'model.layers.0.self_attn.q_proj.bias' is missing"),
    ({"model_type": "mistral", "num_key_value_heads": None, "sliding_window": 0}, "sliding_window is 0"),
])
def test_refused_in_config(tmp_path, settings, message):
    with pytest.raises(RequestError, match=message):
        load(tmp_path, **settings)


@pytest.mark.parametrize("settings", [
    {"logits_scaling": None}, {"temperature": 0.6, "do_sample": True}, {"partial_rotary_factor": 1.0},
    {"rope_scaling": {"rope_type": "default", "factor": 1.0}}, {"rope_parameters": {"rope_theta": 10000.0}},
    {"use_mrope": False}, {"layer_types": ["full_attention"] * 2}, {"pruned_heads": {}}])
def test_neutral_in_config(tmp_path, settings):
    plain, other = load(tmp_path / "a"), load(tmp_path / "b", **settings)
    for name in ("rope_theta", "rope_scaling", "window", "tied"):
        assert getattr(plain, name) == getattr(other, name)


WINDOWS = [
    ({"model_type": "mistral", "sliding_window": 40}, 40),
    ({"model_type": "mistral", "sliding_window": None}, None),
    ({"model_type": "mistral"}, 4096),  # transformers' default
    ({"model_type": "qwen2", "sliding_window": 40, "max_window_layers": 0}, None),  # not asked for
    ({"model_type": "qwen2", "sliding_window": 40, "use_sliding_window": False}, None),
    ({"model_type": "qwen2", "sliding_window": 40, "use_sliding_window": True, "max_window_layers": 1}, 40),
    ({"model_type": "qwen2", "sliding_window": 40, "use_sliding_window": True, "max_window_layers": 2}, None),
    ({"model_type": "qwen2", "sliding_window": 40, "use_sliding_window": True,
      "layer_types": ["full_attention", "sliding_attention"]}, 40),
    ({"sliding_window": 40}, 40)]


@pytest.mark.parametrize("settings, window", WINDOWS)
def test_window_is_an_obstacle_where_it_matters(tmp_path, settings, window):
    model = load(tmp_path, biases=QKV if settings.get("model_type") == "qwen2" else (), **settings)
    assert model.window == window
    compile_model(model, get_config("nano"), context=40)
    if window == 40:
        for context in (None, 41):
            with pytest.raises(RequestError, match="a sliding window of 40 tokens is not supported in a context of"):
                compile_model(model, get_config("nano"), context=context)
    else:
        compile_model(model, get_config("nano"))


def gguf_keys():
    """Every key that the package knows, of the architecture llama."""
    def of(place):
        for name, value in vars(place).items():
            if isinstance(value, type):
                yield from of(value)
            elif isinstance(value, str) and not name.startswith("_") and not value.startswith("clip"):
                yield value.format(arch="llama", id=0, name="x", dense="x")
    return sorted(set(of(gguf.Keys)))


def test_every_key_of_gguf_is_settled(tmp_path):
    """Read, harmless or neutral: else it is refused by name."""
    read = set(load_checkpoint(write_gguf(tmp_path / "a.gguf", random_tensors())).dialect.keys.values())
    tables = [read, set(GGUF_HARMLESS), set(GGUF_NEUTRAL)]
    assert len(set.union(*tables)) == sum(map(len, tables))
    settled = set.union(*tables)
    refused = [key for key in gguf_keys() if not key.startswith(GGUF_METADATA) and key not in GGUF_GLOBAL
               and key.removeprefix("llama.") not in settled]
    known = [key for key in gguf_keys() if key.startswith("llama.") and key.removeprefix("llama.") in settled]
    assert len(known) >= 60 and len(refused) >= 40
    path = tmp_path / "b.gguf"
    for key in [key for key in refused if key.startswith("llama.")][::6]:
        write_gguf(path, random_tensors(), **{key.removeprefix("llama."): 1})
        with pytest.raises(RequestError, match=f"'{key}' is not known; it might change the arithmetic"):
            load_checkpoint(path)


@pytest.mark.parametrize("key, value, what", [
    ("logit_scale", 2, "a scale of the logits .llama.logit_scale = 2."), ("attention.scale", 1, "a scale of attention"),
    ("attention.value_length", 16, "heads of v"), ("expert_used_count", 2, "mixtures of experts"),
    ("rope.scaling.yarn_ext_factor", 1, "RoPE scaling"), ("attention.causal", 0, "not causal"),
    ("attention.max_alibi_bias", 8, "ALiBi"), ("use_parallel_residual", 1, "side by side"),
    ("attention.clamp_kqv", 6, "clamping")])
def test_refused_in_gguf(tmp_path, key, value, what):
    with pytest.raises(RequestError, match=f"not supported: .*{what}"):
        load_checkpoint(write_gguf(tmp_path / "model.gguf", random_tensors(), **{key: value}))


def test_neutral_in_gguf(tmp_path):
    """Neutral values, harmless keys, a window that does not matter."""
    path = write_gguf(tmp_path / "model.gguf", random_tensors(), **{
        "logit_scale": 1, "expert_count": 0, "rope.scaling.factor": 1, "attention.clamp_kqv": 0,
        "attention.sliding_window": 100, "rope.scaling.original_context_length": 64})
    model = load_checkpoint(path)
    assert model.window == 100 and np.isfinite(model.lm_head.floats()).all() and model.vocab == SIZES["vocab"]


@pytest.mark.parametrize("key, value, message", [
    ("other.scale", 2.0, "'other.scale' is not known"), ("general.type", "adapter", "no model .an adapter"),
    ("general.description", "text", None), ("quantize.imatrix.file", "text", None)])
def test_keys_of_the_whole_file(tmp_path, key, value, message):
    path = write_gguf(tmp_path / "model.gguf", random_tensors(), whole={key: value})
    with pytest.raises(RequestError, match=message) if message else nullcontext():
        load_checkpoint(path)
