"""Which files are a checkpoint: shards and leftovers of a directory, parts of a split GGUF file, byte order."""

import json
import shutil

import gguf
import numpy as np
import pytest
from checkpoints import random_tensors, write_gguf, write_huggingface
from safetensors.numpy import load_file, save_file
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.checkpoint.tokenizer import load_tokenizer
from scoville_host.errors import RequestError


@pytest.fixture
def other():
    """Tensors that would be seen if they were taken."""
    return random_tensors(seed=9)


def same(model, tensors):
    return all(np.array_equal(model.tensors[name].floats(), values) for name, values in tensors.items())


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", ["._model.safetensors", "consolidated.safetensors", "adapter_model.safetensors",
                                  "model-00001-of-00002.safetensors"])
def test_leftovers_are_not_read(tmp_path, name, shards, other):
    tensors = random_tensors()
    write_huggingface(tmp_path / "other", other)
    folder = write_huggingface(tmp_path / "model", tensors, shards=shards)
    shutil.copy(tmp_path / "other/model.safetensors", folder / name)
    assert same(load_checkpoint(folder), tensors)
    (folder / name).write_bytes(b"\0\5\26\7 resource fork")
    assert same(load_checkpoint(folder), tensors)


def test_whole_file_comes_before_the_index(tmp_path, other):
    tensors = random_tensors()
    folder = write_huggingface(tmp_path, other, shards=2)
    assert same(load_checkpoint(folder), other)
    write_huggingface(tmp_path, tensors)
    assert same(load_checkpoint(folder), tensors)


def index(folder, change):
    path = folder / "model.safetensors.index.json"
    value = json.loads(path.read_text())
    change(value["weight_map"])
    path.write_text(json.dumps(value))


def in_both(folder):
    first, second = (folder / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    save_file(load_file(second) | dict([next(iter(load_file(first).items()))]), second)


@pytest.mark.parametrize("damage, message", [
    (lambda folder: (folder / "model-00002-of-00002.safetensors").unlink(), "model-00002-of-00002.*No such file"),
    (lambda folder: index(folder, lambda where: where.update(a="../a.safetensors")), "should match pattern"),
    (lambda folder: index(folder, lambda where: where.update(a="a\0.safetensors")), "should match pattern"),
    (lambda folder: index(folder, lambda where: where.update(a=3)), "must be a valid string"),
    (lambda folder: index(folder, dict.clear), "at least 1 item"),
    (lambda folder: index(folder, lambda where: where.update(a=next(iter(where.values())))), "tensor 'a' is missing"),
    (in_both, "is in model-00001-of-00002.safetensors too"),
])
def test_broken_index(tmp_path, damage, message):
    folder = write_huggingface(tmp_path, random_tensors(), shards=2)
    damage(folder)
    with pytest.raises(RequestError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("name, message", [
    ("consolidated.safetensors", "no .*.safetensors files of a model.*'consolidated.safetensors' is neither"),
    ("adapter_model.safetensors", "no .*.safetensors files of a model.*'adapter_model.safetensors' is an adapter")])
def test_a_directory_of_other_weights(tmp_path, name, message):
    folder = write_huggingface(tmp_path, random_tensors())
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(RequestError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("base", [True, False])
def test_an_adapter(tmp_path, base):
    if base:
        write_huggingface(tmp_path, random_tensors())
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(RequestError, match="adapter_config.json makes this an adapter"):
        load_checkpoint(tmp_path)


@pytest.fixture
def parts(tmp_path):
    write_gguf(tmp_path / "m.gguf", random_tensors(), split=8)
    found = sorted(tmp_path.glob("m-*.gguf"))
    assert [part.name for part in found] == [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    return found


def test_split_gguf_from_any_part(parts):
    for part in parts:
        assert same(load_checkpoint(part), {"norm": random_tensors()["norm"], "1.down": random_tensors()["1.down"]})
    assert load_tokenizer(parts[2]) is not None  # the first part's


@pytest.mark.parametrize("given", [0, 1])
def test_split_gguf_lacks_a_part(parts, given):
    parts[2].unlink()
    with pytest.raises(RequestError, match="one of 3 parts; m-00003-of-00003.gguf is missing"):
        load_checkpoint(parts[given])


def test_split_gguf_of_other_parts(parts, tmp_path):
    shutil.copy(parts[1], parts[2])
    with pytest.raises(RequestError, match="m-00003-of-00003.gguf: not part 3 of 3 by its own metadata"):
        load_checkpoint(parts[0])
    parts[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(RequestError, match="one of 3 parts of a split file; its name must end in"):
        load_checkpoint(tmp_path / "renamed.gguf")


def test_big_endian_gguf(tmp_path):
    """Its numbers were taken for little-endian ones."""
    path = write_gguf(tmp_path / "model.gguf", random_tensors(), order=gguf.GGUFEndian.BIG)
    for reader in (load_checkpoint, load_tokenizer):
        with pytest.raises(RequestError, match="big-endian; gguf-convert-endian makes it little-endian"):
            reader(path)
