"""Files and tools speak UTF-8, whatever the locale: text and streams that name no encoding would speak the locale's."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from scoville_host.checkpoint.tokenizer import load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("host", "sim", "rtl", "formal", "constraints", "models", "tb")
TEXT_METHODS = {"read_text", "write_text"}
# The locale's own encoding is ASCII, and Python is kept from helping itself.
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
PROMPT = "Änne said “日本”"


def without_encoding(source):
    """Lines of the calls that read or write text without naming its encoding."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        method = isinstance(node.func, ast.Attribute)
        name = node.func.attr if method else getattr(node.func, "id", "")
        named = {each.arg: each.value for each in node.keywords}
        if "encoding" in named:
            continue
        mode = named.get("mode", node.args[1] if len(node.args) > 1 else ast.Constant("r"))
        opens = (not method and name == "open") or name == "fdopen"
        text = opens and isinstance(mode, ast.Constant) and "b" not in str(mode.value)
        if text or (method and name in TEXT_METHODS) or (name in ("run", "Popen", "check_output") and "text" in named):
            yield node.lineno


def test_a_call_without_an_encoding_is_found():
    found = list(without_encoding("p.read_text()\np.write_text(a, encoding='utf-8')\nopen(p)\nopen(p, 'rb')\n"
                                  "open(p, 'w')\nsubprocess.run(c, text=True)\nsubprocess.run(c, encoding='utf-8')\n"))
    assert found == [1, 3, 5, 6]


def test_every_text_names_its_encoding():
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "test_" not in path.name]
    assert len(files) > 200
    wrong = [f"{path.relative_to(ROOT)}:{line}" for path in files
             for line in without_encoding(path.read_text(encoding="utf-8"))]
    assert not wrong


def generate(prompt, model="tiny", **environment):
    return subprocess.run(
        [sys.executable, "-c", "from scoville_host.cli import main; main()", "generate", "--prompt", prompt,
         "--model", model, "--max-new-tokens", "1", "--json", "/dev/stdout"],
        capture_output=True, env=os.environ | environment, timeout=120, check=False)


def test_the_prompt_is_utf8_in_any_locale(tmp_path):
    (tmp_path / "日本").symlink_to(ROOT / "models" / "tiny")  # and so is a name
    done = generate(PROMPT, tmp_path / "日本", **ASCII)
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout[done.stdout.index(b"{"):])
    assert numbers["prompt_tokens"] == len(load_tokenizer(ROOT / "models" / "tiny").encode(PROMPT))
    done = generate(b"\xff", **ASCII)
    assert done.returncode == 2 and b"--prompt is not text" in done.stderr and b"Traceback" not in done.stderr
