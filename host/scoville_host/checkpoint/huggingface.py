"""Import of Hugging Face checkpoint directories: config.json and safetensors."""

import json
from pathlib import Path

from ..errors import RequestError
from .families import family_of
from .model import Model, RopeScaling
from .safetensors_file import SafetensorsFile

__all__ = ["load_huggingface", "model_of", "read_config", "read_json"]


def read_json(path):
    """A JSON file; RequestError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise RequestError(f"{path}: not valid JSON") from None


def _ids(source, settings, key):
    """One token id, or several, or none."""
    found = settings.get(key) if isinstance(settings, dict) else None
    found = [] if found is None else found if isinstance(found, list) else [found]
    if not all(type(token) is int for token in found):
        raise RequestError(f"{source}: {key} is {found}; it must be a token id, or a list of them")
    return found


def _rope(source, config, family):
    """The base of the rotation frequencies and their scaling, from either spelling of the settings."""
    settings = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = float(settings.get("rope_theta") or config.get("rope_theta") or 10000.0)
    kind = settings.get("rope_type") or settings.get("type") or "default"
    if float(settings.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1) != 1:
        raise RequestError(f"{source}: rotary positions over a part of the head are not supported")
    if kind not in family.rope_scalings:
        raise RequestError(f"{source}: RoPE scaling {kind!r} is not supported; "
                           f"supported are {' and '.join(family.rope_scalings)}")
    if kind == "llama3":
        try:
            return theta, RopeScaling(
                factor=float(settings["factor"]), low_freq_factor=float(settings["low_freq_factor"]),
                high_freq_factor=float(settings["high_freq_factor"]),
                original_context=int(settings["original_max_position_embeddings"]))
        except KeyError as error:
            raise RequestError(f"{source}: llama3 RoPE scaling lacks {error}") from None
    return theta, None


def _refuse_variants(source, config, family, context):
    """Settings that change the arithmetic and that the compiler has no lowering for."""
    act = config.get("hidden_act", family.activations[0])
    if act not in family.activations:
        raise RequestError(f"{source}: activation {act!r} is not supported; supported is {family.activations[0]}")
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    if window is not None and window < context:
        raise RequestError(f"{source}: a sliding window of {window} tokens is not supported")


def load_huggingface(path):
    """The `Model` of a checkpoint directory.

    Raises
    ------
    RequestError
        If a file is missing or broken, or no family of `FAMILIES` has the architecture.
    """
    model = read_config(path / "config.json")
    model.name, model.source = path.resolve().name, str(path)
    generation = path / "generation_config.json"
    if generation.exists():  # transformers stops where it says, in front of config.json
        named = _ids(generation, read_json(generation), "eos_token_id")
        model.eos_ids = list(dict.fromkeys([*named, *model.eos_ids]))
    _read_tensors(model, _files(path))
    model.check()
    return model


def read_config(path):
    """The `Model` of a config.json, without its tensors; RequestError as `load_huggingface`."""
    return model_of(read_json(path), path)


def model_of(config, path):
    """The same of its contents; `path` is what errors name."""
    family = family_of(path, "huggingface", config.get("model_type"))
    dialect = family.huggingface

    def needed(name):
        return config[dialect.keys[name]]

    def value(name, default=None):
        return config.get(dialect.keys[name], default)

    try:
        hidden, heads = needed("hidden"), needed("heads")
        context = value("context", 2048)
        _refuse_variants(path, config, family, context)
        theta, scaling = _rope(path, config, family)
        return Model(
            name=Path(path).stem, source=str(path), hidden=hidden, layers=needed("layers"), heads=heads,
            kv_heads=value("kv_heads") or heads, head_dim=value("head_dim") or hidden // heads, ffn=needed("ffn"),
            vocab=needed("vocab"), context=context, epsilon=float(value("epsilon", 1e-6)), rope_theta=theta,
            rope_layout=dialect.rope_layout, rope_scaling=scaling, tied=bool(value("tied", False)), family=family,
            eos_ids=_ids(path, config, dialect.keys["eos_ids"]))
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
    found, spare = model.family.huggingface.match(model, files)
    for name, stored in found.items():
        model.tensors[name] = files[stored].read(stored)
    if spare:
        raise RequestError(f"{model.source}: tensor {spare!r} has no place in this architecture")
