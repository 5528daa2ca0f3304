"""The gates of `make test` are shut for a planted fault, each in a copy of the tree: a gate that nothing fails is none.

Others are shown where they are: failed assertions in `test_harness.py`, processes that stay in `test_processes.py`,
proofs in `test_formal.py`, the reference's bounds in `host/test_llama_cpp.py`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("rtl", "host", "sim", "tb", "formal", "models", "constraints", "docs", "benchmarks")
# What is planted: file, text there (None: the end of the file) and what takes its place, target, what it says.
FAULTS = {
    "unused import": ("rtl/scoville/config.py", None, "import os\n", "lint", "F401"),
    "wrong type": ("host/scoville_host/files.py", None, "\n\ndef planted() -> int:\n    return 'no'\n", "lint",
                   "Incompatible return value type"),
    "test in no plan": ("tb/test_planted.py", None, "def test_planted():\n    pass\n", "check",
                        "test_planted.py is in no"),
    "page changed by hand": ("docs/registers.md", "TOKEN", "TOKENS", "check", "registers.md"),
    "register without its page": ("rtl/scoville/registers.py", "Cycles without progress", "Time without progress",
                                  "check", "registers.md"),
}


def make(target, folder):
    """`make` in a copy of the tree, with the environment of this one."""
    folders = Path(sys.executable).parent
    paths = os.pathsep.join(str(folder / name) for name in ("rtl", "host", "sim", "formal"))
    return subprocess.run(["make", "-s", "-o", folders / ".ready", target, f"BIN={folders}"], cwd=folder, text=True,
                          env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    for name in ("Makefile", "pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return folder


def test_gates_are_open(tree):
    """On the tree as it is: what follows is due to what is planted."""
    for target in ("lint", "check"):
        done = make(target, tree)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_gate(tree, fault):
    file, old, new, target, message = FAULTS[fault]
    path = tree / file
    before = path.read_text() if path.exists() else ""
    assert old is None or old in before
    path.write_text(before + new if old is None else before.replace(old, new, 1))
    try:
        done = make(target, tree)
    finally:
        if before:
            path.write_text(before)
        else:
            path.unlink()
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
