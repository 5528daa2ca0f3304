"""Fuzzing of the readers: whatever bytes a file has, it is taken, or refused in one line."""

import json
import resource
import struct
import time
import warnings

import gguf
import pytest
from fuzz import GRANITE, Directory, Gguf, Pick
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.cli import main
from scoville_host.errors import RequestError
from scoville_host.predict.outline import read_outline
from scoville_host.runtime.session import open_session

DIRECTORY = ("config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json",
             "tokenizer_config.json")
SECONDS, MEMORY = 10, 2 << 30


def attempt(path, outline=None):
    """Whether the commands' way from a path to something that runs takes it; fails on all but one line."""
    start = time.perf_counter()
    try:
        if outline is not None:
            read_outline(outline)
        session = open_session(str(path), "nano", context=32)
        taken = session.tokenizer is not None
    except RequestError as error:
        taken = False
        assert str(error).strip() and len(str(error)) < 2000
    assert time.perf_counter() - start < SECONDS
    return taken


def fuzz(tmp_path, kinds, seeds):
    """Faults in each kind of file; the count of those that are taken all the same, by kind."""
    whole, sharded = Directory(tmp_path / "model", **GRANITE), Directory(tmp_path / "sharded", shards=2)
    files = {f"gguf-{name}": Gguf(tmp_path, name) for name in ("llama", "qwen2")}
    assert all(attempt(each.folder, each.folder / "config.json") for each in (whole, sharded))
    taken = dict.fromkeys(kinds, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in kinds:
            for seed in seeds:
                pick, directory = Pick([seed, len(kind)]), whole if kind in whole.files else sharded
                if kind in files:
                    path, outline = tmp_path / "model.gguf", None
                    path.write_bytes(files[kind].spoil(pick))
                else:
                    path, outline = directory.folder, directory.folder / kind if kind == "config.json" else None
                    (path / kind).write_bytes(directory.spoil(kind, pick))
                try:
                    taken[kind] += attempt(path, outline)
                except BaseException as error:
                    error.add_note(f"{kind}, seed {seed}")
                    raise
            if kind not in files:
                (directory.folder / kind).write_bytes(directory.files[kind])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < MEMORY
    return taken


KINDS = ("gguf-llama", "gguf-qwen2", *DIRECTORY)


def test_a_sample(tmp_path, run_seed):
    fuzz(tmp_path, KINDS, range(run_seed * 1000, run_seed * 1000 + 30))


HUGE = 2**62


def huge_gguf(files):
    """Files whose headers speak of more than there is."""
    kinds, values = gguf.GGUFValueType, files.values
    data = files.pack(values)
    yield data[:8] + struct.pack("<QQ", HUGE, HUGE) + data[24:]
    for kind in (kinds.UINT8, kinds.UINT64, kinds.STRING, kinds.ARRAY):
        head = struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 1, 1, 1, b"a", kinds.ARRAY, kind, HUGE)
        yield head + bytes(100)
        yield head[:-8] + struct.pack("<Q", 2**21 + 1) + bytes(2**21 + 100)
        yield head[:-12] + (struct.pack("<I", kinds.ARRAY) + struct.pack("<Q", 1))[4:] + (
            struct.pack("<IQ", kinds.ARRAY, 1) * 50_000)  # an array in an array, and so on
    yield files.pack(values | {"llama.block_count": ([kinds.UINT64], HUGE)})
    yield files.pack(values | {"llama.block_count": ([kinds.UINT32], 1024), "llama.vocab_size": ([kinds.UINT64], HUGE)})
    yield files.pack(values | {"general.alignment": ([kinds.UINT32], 2**31)})


def huge_safetensors(directory):
    """The same of safetensors."""
    data = directory.files["model.safetensors"]
    yield struct.pack("<Q", HUGE) + data[8:]
    for entry in ({"shape": [HUGE, HUGE]}, {"data_offsets": [0, HUGE]}, {"shape": [2**31] * 2}, {"shape": [0, HUGE]}):
        head = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | entry}).encode()
        yield struct.pack("<Q", len(head)) + head + bytes(64)


def test_huge_counts_take_nothing(tmp_path):
    directory, files = Directory(tmp_path / "model"), Gguf(tmp_path)
    path = tmp_path / "model.gguf"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in huge_gguf(files):
        path.write_bytes(data)
        assert not attempt(path)
    path.write_bytes(struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"a", 9, 0, 2**21 + 1) + bytes(2**21 + 100))
    with pytest.raises(RequestError, match="its arrays have 2,097,153 elements; at most 2,097,152 are read"):
        load_checkpoint(path)  # though the file holds them
    for data in huge_safetensors(directory):
        (directory.folder / "model.safetensors").write_bytes(data)
        assert not attempt(directory.folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_the_command_says_one_line(tmp_path, capsys, run_seed):
    """Exit status 0 or 2, and nothing but a line on standard error."""
    directory, out = Directory(tmp_path / "model"), str(tmp_path / "image")
    for seed in range(run_seed * 1000, run_seed * 1000 + 10):
        for kind in DIRECTORY[:2]:
            (directory.folder / kind).write_bytes(directory.spoil(kind, Pick(seed)))
            with pytest.raises(SystemExit) as ended:
                main(["compile", "--model", str(directory.folder), "--config", "nano", "-o", out, "--quiet"])
            (directory.folder / kind).write_bytes(directory.files[kind])
            said = capsys.readouterr().err
            assert ended.value.code in (0, 2)
            if ended.value.code:
                assert said.startswith("scoville: error: ") and said.count("\n") == 1, said


@pytest.mark.slow
def test_twenty_thousand(tmp_path, run_seed):
    taken = fuzz(tmp_path, KINDS, range(run_seed * 100_000, run_seed * 100_000 + 2900))
    assert all(taken.values()), taken  # faults that do no harm are met too
