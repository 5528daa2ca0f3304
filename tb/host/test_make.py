"""The Makefile: what users type reaches the programs as it was typed; which Python .venv is made with."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from simulators import no_spaces

ROOT = Path(__file__).resolve().parents[2]
# A program of .venv: it writes down its arguments.
STUB = '#!/bin/sh\nfor word in "$0" "$@"; do printf "%s\\0" "$word"; done >> "$LOG"\n'
ODD = "it's \"a\" $HOME $(touch made) `touch made` $$ ${X} \\ é;&|#*"
# A Python that is old, and one that makes .venv.
OLD = '#!/bin/sh\ncase "$*" in *exit*) exit 1;; *--version*) echo Python 3.10.1;; *) echo old;; esac\n'
NEW = """#!/bin/sh
case "$*" in
  *exit*) ;;
  *venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp stub .venv/bin/pip; cp stub .venv/bin/ruff
    cp stub .venv/bin/mypy; touch .venv/pyvenv.cfg;;
  *print*) echo new;;
esac
"""


@pytest.fixture
def tree(tmp_path):
    """A tree in which all is installed and every program is a stub."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (tmp_path / "stub").write_text(STUB, encoding="utf-8")
    for path in (tmp_path / "stub", *(binaries / name for name in ("python", "scoville", "pip", "pytest", "ruff"))):
        path.write_text(STUB, encoding="utf-8")
        path.chmod(0o755)
    shutil.copy(tmp_path / "stub", binaries / "mypy")
    for name in ("pyvenv.cfg", "bin/.ready"):
        (tmp_path / ".venv" / name).touch()
    return tmp_path


def make(tree, *arguments, **environment):
    """(`subprocess.CompletedProcess`, words that programs were run with)."""
    log = tree / "log"
    log.write_bytes(b"")
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS", "JOBS", "SIM")}
    done = subprocess.run(["make", *arguments], cwd=tree, env=clean | {"LOG": str(log)} | environment,
                          capture_output=True, encoding="utf-8", timeout=60, check=False)
    return done, log.read_text(encoding="utf-8").split("\0")[:-1]


@pytest.mark.parametrize("target, names", [
    ("demo", {"PROMPT": "--prompt=", "MODEL": "--model=", "CONFIG": "--config=", "TOKENS": "--max-new-tokens="}),
    ("board-sim", {"PROMPT": "--prompt=", "BOARD": "--board="}), ("verilog", {"CONFIG": "--config="}),
    ("sim", {"K": ""}), ("bench", {"K": "--rows="}), ("formal", {"K": ""}), ("synth", {"TARGET": "--target="}),
    ("timing", {"UNIT": "--unit="}), ("mutate", {"UNIT": "--unit=", "N": "--count=", "SEED": "--seed="}),
    ("flash", {"BIT": "--bitstream="}), ("fpga", {"BOARD": "--board="}),
])
def test_variables_are_passed_on_as_typed(tree, target, names):
    done, words = make(tree, target, "SIM=verilator", *(f"{name}={name}{ODD}" for name in names))
    assert done.returncode == 0, done.stderr
    assert {f"{option}{name}{ODD}" for name, option in names.items()} <= set(words)
    assert not (tree / "made").exists()
    _, words = make(tree, target, **{name: f"{name}{ODD}" for name in names}, SIM="verilator")
    assert {f"{option}{name}{ODD}" for name, option in names.items()} <= set(words)


def test_defaults_and_words(tree):
    assert "--prompt=Once upon a time" in make(tree, "demo")[1]
    assert make(tree, "flash", "CABLE=xvc-client --port 5")[1][-4:] == ["--cable", "xvc-client", "--port", "5"]
    assert "--all" not in make(tree, "bench")[1] and "--all" in make(tree, "bench", "ALL=1")[1]


@pytest.mark.parametrize("jobs", ["0", "-1", "many", ""])
def test_jobs(tree, jobs):
    done, words = make(tree, "formal", f"JOBS={jobs}")
    assert done.returncode == 2 and not words
    assert done.stderr.splitlines()[0] == f"JOBS is '{jobs}'; it must be a number, at least 1"


def test_report_runs_what_it_shows(tree):
    (tree / ".venv" / "bin" / ".report").touch()
    assert [word for word in make(tree, "report")[1] if "scoville_host" in word] == [
        "scoville_host.report.benchmark", "scoville_host.report.page"]
    (tree / "build" / "bench").mkdir(parents=True)
    (tree / "build" / "bench" / "row.json").touch()
    assert "scoville_host.report.benchmark" not in make(tree, "report")[1]


def test_python(tree):
    for name, text in (("old", OLD), ("new", NEW)):
        (tree / name).write_text(text, encoding="utf-8")
        (tree / name).chmod(0o755)
    done, words = make(tree, "lint", "PYTHON=./old")
    assert done.returncode == 2 and ".venv/bin/pip" not in words
    assert done.stderr.splitlines()[0] == ("./old is Python 3.10.1; Python 3.11 or newer is needed: "
                                           "make … PYTHON=python3.11")
    assert (tree / ".venv" / "bin" / "pip").exists()
    installs = [".venv/bin/pip" in make(tree, "lint", *arguments)[1] for arguments in (
        ["PYTHON=./new"], ["PYTHON=./new"], [])]
    assert installs == [True, False, False]
    assert (tree / ".venv" / "bin" / "python").read_text(encoding="utf-8") == NEW
    shutil.rmtree(tree / ".venv")
    done, _ = make(tree, "lint", "PYTHON=./old")
    assert done.returncode == 2 and not (tree / ".venv").exists()


def test_a_folder_with_a_space_is_refused_in_one_line():
    no_spaces(Path("/tree/build/tb"))
    with pytest.raises(pytest.UsageError, match="^/my tree/build: .*a space.*; move the tree"):
        no_spaces(Path("/my tree/build"))


@pytest.mark.parametrize("home", ["", "/proc/none"])
def test_no_home(tree, home):
    """Caches of tools go to build/ where there is no home; one that can be written is left alone."""
    (tree / ".venv" / "bin" / "scoville").write_text('#!/bin/sh\nprintf "%s\\0" "$HOME" > "$LOG"\n', encoding="utf-8")
    assert make(tree, "demo", HOME=home)[1] == [str(tree / "build" / "home")] and (tree / "build" / "home").is_dir()
    assert make(tree, "demo", HOME=str(tree))[1] == [str(tree)]
