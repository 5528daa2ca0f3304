"""The table of families: each names all its tensors, and a family that is only a table is read by what is there."""

import json
from dataclasses import replace

import numpy as np
import pytest
from checkpoints import random_tensors, write_gguf, write_huggingface
from safetensors.numpy import load_file, save_file
from scoville.config import get_config
from scoville_host.checkpoint.families import FAMILIES, family_of
from scoville_host.checkpoint.families.llama import HUGGINGFACE, LLAMA
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.checkpoint.model import LINEARS
from scoville_host.compiler.compiler import compile_model
from scoville_host.errors import RequestError

DIALECTS = {f"{family.name}-{kind}": (family, dialect) for family in FAMILIES for kind in ("huggingface", "gguf")
            if (dialect := getattr(family, kind))}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_tensor_has_a_name_of_its_own(tmp_path, name):
    family, dialect = DIALECTS[name]
    model = replace(load_checkpoint(write_huggingface(tmp_path, random_tensors(tied=False))), family=family)
    places = [(dialect.stored(each), dialect.rows(model, each)[0]) for each in model.shapes()]
    assert len(set(places)) == len(places) == 3 + model.layers * (2 + 2 * len(LINEARS))
    named = {part for name in dialect.layer for part in dialect.fused.get(name, (name,))}
    assert set(dialect.top) == set(family.top) and named == set(family.vectors | family.matrices)
    assert set(family.biases) <= set(family.matrices)


@pytest.mark.parametrize("kind", ["huggingface", "gguf"])
def test_unknown(kind):
    there = ", ".join(dialect.architecture for family in FAMILIES if (dialect := getattr(family, kind)))
    with pytest.raises(RequestError, match=f"here: architecture 'mamba' is not supported; supported are {there}$"):
        family_of("here", kind, "mamba")


def test_mistral_is_a_llama_but_for_its_name(tmp_path):
    tensors = random_tensors()
    models = [load_checkpoint(write_huggingface(tmp_path / kind, tensors, model_type=kind))
              for kind in ("llama", "mistral")]
    assert [model.family.name for model in models] == ["llama", "mistral"]
    images = [compile_model(model, get_config("nano")) for model in models]
    assert np.array_equal(images[0].memory, images[1].memory)


def test_qwen2_from_both_kinds_of_file(tmp_path):
    """Its GGUF files leave the rows of q and k as they are."""
    tensors = random_tensors(tied=False, biases=("q", "k", "v"))
    models = [load_checkpoint(path, "same") for path in (
        write_huggingface(tmp_path / "hf", tensors, model_type="qwen2"),
        write_gguf(tmp_path / "model.gguf", tensors, architecture="qwen2"))]
    assert [model.rope_layout for model in models] == ["half", "half"]
    images = [compile_model(model, get_config("nano")) for model in models]
    assert np.array_equal(images[0].memory, images[1].memory)


def test_a_new_family_is_a_table(tmp_path, monkeypatch):
    """Other names of tensors and of a setting, and one more activation."""
    monkeypatch.setattr("scoville_host.checkpoint.families.FAMILIES", [*FAMILIES, replace(
        LLAMA, name="new", gguf=None, activations=("swoosh",),
        huggingface=replace(HUGGINGFACE, architecture="new", keys=HUGGINGFACE.keys | {"hidden": "width"},
                            layer={name: f"block{{}}.{name}" for name in HUGGINGFACE.layer}, ignored=("extra.*",)))])
    tensors = random_tensors()
    plain = load_checkpoint(write_huggingface(tmp_path / "plain", tensors))
    folder = write_huggingface(tmp_path / "new", tensors, model_type="new", width=64, hidden_act="swoosh")
    config = json.loads((folder / "config.json").read_text())
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))
    stored = load_file(folder / "model.safetensors")
    names = {HUGGINGFACE.stored(name): f"block{name.partition('.')[0]}.{name.partition('.')[2]}.weight"
             for name in tensors if "." in name}
    stored = {names.get(name, name): values for name, values in stored.items()}
    save_file(stored | {"extra.one": np.zeros(1, np.float32)}, folder / "model.safetensors")
    model = load_checkpoint(folder)
    assert model.family.name == "new" and list(model.tensors) == list(plain.tensors)
    assert all(np.array_equal(model.tensors[name].floats(), plain.tensors[name].floats()) for name in tensors)
    save_file(stored | {"other": np.zeros(1, np.float32)}, folder / "model.safetensors")
    with pytest.raises(RequestError, match="tensor 'other' has no place in this architecture"):
        load_checkpoint(folder)
