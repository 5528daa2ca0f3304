"""Fuzzing of the readers: whatever bytes a file has, it is taken, or refused in one line."""

import resource
import time
import warnings

import pytest
from fuzz import Directory, Gguf, Pick
from scoville_host.errors import RequestError
from scoville_host.predict.outline import read_outline
from scoville_host.runtime.session import open_session

DIRECTORY = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
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
    directory = Directory(tmp_path / "model")
    files = {f"gguf-{name}": Gguf(tmp_path, name) for name in ("llama", "qwen2")}
    assert attempt(directory.folder, directory.folder / "config.json")
    taken = dict.fromkeys(kinds, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in kinds:
            for seed in seeds:
                pick = Pick([seed, len(kind)])
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
    fuzz(tmp_path, KINDS, range(run_seed * 1000, run_seed * 1000 + 40))


@pytest.mark.slow
def test_twenty_thousand(tmp_path, run_seed):
    taken = fuzz(tmp_path, KINDS, range(run_seed * 100_000, run_seed * 100_000 + 3400))
    assert all(taken.values()), taken  # faults that do no harm are met too
