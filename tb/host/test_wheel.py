"""The package as pip installs it: all its files, and a text without the source tree."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("rtl", "host", "sim")
BUILD = "import sys, setuptools.build_meta as backend; print(backend.build_wheel(sys.argv[1]))"


def run(*command, **options):
    done = subprocess.run([sys.executable, *command], capture_output=True, encoding="utf-8", timeout=300, check=False,
                          **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    for folder in (*PACKAGES, "models"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree / "dist" / run("-c", BUILD, str(tree / "dist"), cwd=tree).split()[-1]


def test_every_file_of_the_packages_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
    files = {str(path.relative_to(ROOT / folder)) for folder in PACKAGES for path in (ROOT / folder).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)}
    assert len(files) > 150 and not files - there


def test_text_without_the_source_tree(wheel, tmp_path):
    run("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "site"), str(wheel))
    command = ("-c", "from scoville_host.cli import main; main()")
    options = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(tmp_path / "site")}}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert run(*command, "--version", **options) == f"scoville {version}\n"
    assert run(*command, "generate", "--prompt", "Once", "--max-new-tokens", "2", "--json", "run.json", **options)
    path = run("-c", "from scoville_host.checkpoint.models import resolve; print(*resolve('tiny'))", **options)
    assert path.startswith(f"tiny {tmp_path}/site/share/")
