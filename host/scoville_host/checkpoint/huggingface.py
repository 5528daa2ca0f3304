"""Import of Hugging Face checkpoint directories: config.json and safetensors."""

import json
from pathlib import Path

from ..errors import RequestError
from .model import LINEARS, Model, RopeScaling
from .safetensors_file import SafetensorsFile

__all__ = ["load_huggingface", "model_of", "read_config", "read_json"]

SUPPORTED = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
_LAYER = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_LAYER |= {name: f"{'self_attn' if name in 'qkvo' else 'mlp'}.{name}_proj" for name in LINEARS}
_TOP = {"embedding": "model.embed_tokens", "norm": "model.norm", "lm_head": "lm_head"}


def read_json(path):
    """A JSON file; RequestError if it is missing or broken."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise RequestError(f"{path}: not valid JSON") from None


def _rope(source, config):
    """The base of the rotation frequencies and their scaling, from either spelling of the settings."""
    settings = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = float(settings.get("rope_theta") or config.get("rope_theta") or 10000.0)
    kind = settings.get("rope_type") or settings.get("type") or "default"
    if float(settings.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1) != 1:
        raise RequestError(f"{source}: rotary positions over a part of the head are not supported")
    if kind == "default":
        return theta, None
    if kind == "llama3":
        try:
            return theta, RopeScaling(
                factor=float(settings["factor"]), low_freq_factor=float(settings["low_freq_factor"]),
                high_freq_factor=float(settings["high_freq_factor"]),
                original_context=int(settings["original_max_position_embeddings"]))
        except KeyError as error:
            raise RequestError(f"{source}: llama3 RoPE scaling lacks {error}") from None
    raise RequestError(f"{source}: RoPE scaling {kind!r} is not supported; supported are default and llama3")


def _refuse_variants(source, config, context):
    """Settings that change the arithmetic and that the compiler has no lowering for."""
    act = config.get("hidden_act", "silu")
    if act not in ("silu", "swish"):
        raise RequestError(f"{source}: activation {act!r} is not supported; supported is silu")
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    if window is not None and window < context:
        raise RequestError(f"{source}: a sliding window of {window} tokens is not supported")


def load_huggingface(path):
    """The `Model` of a checkpoint directory.

    Raises
    ------
    RequestError
        If a file is missing or broken, or the architecture is none of `SUPPORTED`.
    """
    model = read_config(path / "config.json")
    model.name, model.source = path.resolve().name, str(path)
    _read_tensors(model, _files(path))
    model.check()
    return model


def read_config(path):
    """The `Model` of a config.json, without its tensors; RequestError as `load_huggingface`."""
    return model_of(read_json(path), path)


def model_of(config, path):
    """The same of its contents; `path` is what errors name."""
    kind = config.get("model_type")
    if kind not in SUPPORTED:
        raise RequestError(f"{path}: architecture {kind!r} is not supported; supported are {', '.join(SUPPORTED)}")
    try:
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        context = config.get("max_position_embeddings", 2048)
        _refuse_variants(path, config, context)
        theta, scaling = _rope(path, config)
        eos = config.get("eos_token_id")
        return Model(
            name=Path(path).stem, source=str(path), hidden=hidden, layers=config["num_hidden_layers"], heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads, head_dim=config.get("head_dim") or hidden // heads,
            ffn=config["intermediate_size"], vocab=config["vocab_size"], context=context,
            epsilon=float(config.get("rms_norm_eps", 1e-6)), rope_theta=theta, rope_layout="half", rope_scaling=scaling,
            tied=bool(config.get("tie_word_embeddings", False)),
            eos_ids=[] if eos is None else list(eos) if isinstance(eos, list) else [eos])
    except KeyError as error:
        raise RequestError(f"{path}: {error} is missing") from None


def _files(path):
    """Where each tensor is: dict of checkpoint name to `SafetensorsFile`."""
    index = path / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
    else:
        names = [file.name for file in sorted(path.glob("*.safetensors"))]
    if not names:
        raise RequestError(f"{path}: there are no *.safetensors files")
    return {tensor: file for file in (SafetensorsFile(path / name) for name in names) for tensor in file}


def _read_tensors(model, files):
    used = set()
    for name in model.shapes():
        layer, _, part = name.rpartition(".")
        part, kind = (part.removesuffix("_bias"), "bias") if part.endswith("_bias") else (part, "weight")
        place = f"model.layers.{layer}.{_LAYER[part]}" if layer else _TOP[part]
        stored = f"{place}.{kind}"
        if stored in files:
            model.tensors[name] = files[stored].read(stored)
            used.add(stored)
    for stored in files:
        if stored not in used and not stored.endswith("rotary_emb.inv_freq") and stored != "lm_head.weight":
            raise RequestError(f"{model.source}: tensor {stored!r} has no place in this architecture")
