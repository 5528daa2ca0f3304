"""Import of Hugging Face checkpoint directories: config.json and safetensors."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from ..errors import RequestError
from .families import family_of
from .model import Model
from .refusals import AT_ONCE
from .rope_settings import rope_of_config
from .safetensors_file import SafetensorsFile
from .schema import read_json, read_settings, refuse_others, shown, validate
from .stored import place

__all__ = ["list_huggingface", "load_huggingface", "model_of", "read_config", "read_json"]

_READ = ("hidden_act", "rope_scaling", "rope_parameters", "rope_theta")


class Index(BaseModel):
    """model.safetensors.index.json: the file, beside it, of each tensor."""

    weight_map: Annotated[dict[str, Annotated[str, Field(pattern=r"^[^/\\\x00]+\.safetensors$")]],
                          Field(min_length=1)]


def _ids(source, settings, key):
    """One token id, or several, or none."""
    found = settings.get(key) if isinstance(settings, dict) else None
    found = [] if found is None else found if isinstance(found, list) else [found]
    if not all(type(token) is int for token in found):
        raise RequestError(f"{source}: {key} is {found}; it must be a token id, or a list of them")
    return found


def _activation(source, config, family):
    act = config.get("hidden_act") or family.activations[0]
    if act not in family.activations:
        raise RequestError(f"{source}: activation {shown(act)} is not supported; supported is {family.activations[0]}")


def list_huggingface(path):
    """(config.json as a dict, `StoredTensor` by name) of a checkpoint directory; no weights are read.

    Raises
    ------
    RequestError
        If a file is missing or broken, or the directory is an adapter.
    """
    if (path / "adapter_config.json").exists():
        raise RequestError(f"{path}: adapter_config.json makes this an adapter, which is not supported; "
                           "merge it into its model first")
    return read_json(path / "config.json"), {name: file.stored(name) for name, file in _files(path).items()}


def load_huggingface(path, *, refusals=AT_ONCE, outline=False, requantise=False):
    """The `Model` of a checkpoint directory.

    Parameters
    ----------
    refusals : `Refusals` that say what cannot run; by default the first of it is raised.
    outline : have zeros in place of the weights, which are not read.
    requantise : as in `gguf_file.load_gguf`.

    Raises
    ------
    RequestError
        If a file is missing or broken, a setting asks for what the chip does not do, or no family of `FAMILIES` has
        the architecture.
    """
    config, tensors = list_huggingface(path)
    model = model_of(config, path, refusals)
    model.name, model.source = path.resolve().name, str(path)
    generation = path / "generation_config.json"
    if generation.exists():  # transformers stops where it says, in front of config.json
        named = _ids(generation, read_json(generation), "eos_token_id")
        model.eos_ids = list(dict.fromkeys([*named, *model.eos_ids]))
    biases = set(model.family.biases)
    for setting, names in model.dialect.biases.items():
        biases |= {*names} if config.get(setting, model.dialect.defaults.get(setting)) else set()
    place(model, tensors, refusals, biases=biases, outline=outline, requantise=requantise)
    return model


def read_config(path):
    """The `Model` of a config.json, without its tensors; RequestError as `load_huggingface`."""
    return model_of(read_json(path), path)


def model_of(config, path, refusals=AT_ONCE):
    """The same of its contents; `path` is what errors name."""
    family = family_of(path, "huggingface", config.get("model_type"))
    dialect = family.huggingface
    settings = read_settings(path, dialect, config)
    for name in ("embedding_scale", "residual_scale", "attention_scale", "logit_scale"):
        with refusals.of("setting"):
            if getattr(settings, name) == 0:  # which says "none" in a GGUF file alone
                raise RequestError(f"{path}: {dialect.keys[name]} is 0; it must be greater than 0")
    with refusals.of("setting"):
        _activation(path, config, family)
    theta, scaling, rotary = settings.rope_theta, None, 0
    with refusals.of("setting"):
        theta, scaling, rotary = rope_of_config(path, config, family, settings)
    eos = settings.eos_ids
    model = Model.of(settings, name=Path(path).stem, source=str(path), rope_theta=theta, rope_scaling=scaling,
                     rotary=rotary, rope_layout=dialect.rope_layout, tied=settings.tied, family=family, dialect=dialect,
                     eos_ids=[] if eos is None else eos if isinstance(eos, list) else [eos])
    model.check_numbers()
    refuse_others(path, dialect, {key: value for key, value in config.items() if key not in _READ}, model,
                  refusals)
    return model


def _files(path):
    """Where each tensor is: dict of checkpoint name to `SafetensorsFile`.

    As in transformers: model.safetensors, else what model.safetensors.index.json lists; whatever else lies there is
    not looked at.
    """
    whole, index = path / "model.safetensors", path / "model.safetensors.index.json"
    if whole.is_file():
        file = SafetensorsFile(whole)
        return dict.fromkeys(file, file)
    if not index.is_file():
        others = sorted(each.name for each in path.glob("*.safetensors") if not each.name.startswith("."))
        beside = "".join(f"; {shown(name)} is {'an adapter' if name.startswith('adapter') else 'neither'}"
                         for name in others[:1])
        raise RequestError(f"{path}: there are no *.safetensors files of a model (model.safetensors, or "
                           f"model.safetensors.index.json and its shards){beside}")
    where = validate(Index, index, read_json(index)).weight_map
    shards = {name: SafetensorsFile(path / name) for name in sorted(set(where.values()))}
    lost = next((tensor for tensor, name in where.items() if tensor not in shards[name].names), None)
    if lost is not None:
        raise RequestError(f"{path / where[lost]}: tensor {shown(lost)} is missing; the index says that it is here")
    found = {}
    for file in shards.values():
        for tensor in file:
            if found.setdefault(tensor, file) is not file:
                raise RequestError(f"{file.path}: tensor {shown(tensor)} is in {found[tensor].path.name} too")
    return found
