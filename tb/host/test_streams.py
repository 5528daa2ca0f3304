"""Standard output and error that fail: exit statuses as docs/cli.md has them, one line, no run lost."""

import json
import subprocess
import sys

import pytest

COMMAND = f'{sys.executable} -c "from scoville_host.cli import main; main()"'
GENERATE = f"{COMMAND} generate -q --prompt Once --max-new-tokens 3 --ignore-eos --json run.json"
WRITES = ("from scoville_host.files import write_json; from scoville_host.streams import as_program; "
          "as_program(lambda: [print('text'), write_json('/dev/stdout', {'a': 1}), print('more')] and 0, '')")


def shell(line, tmp_path):
    """(exit status of the command, standard error) of a line of bash."""
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], cwd=tmp_path, capture_output=True,
                          encoding="utf-8", timeout=120, check=False)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("line, status, error", [
    (f"({COMMAND} registers; echo $? > status) | true; exit $(cat status)", 141, ""),
    (f"{COMMAND} configs > /dev/full", 1, "scoville: failed: standard output: No space left on device\n"),
    (f"{COMMAND} configs >&-", 1, "scoville: failed: standard output: Bad file descriptor\n"),
    (f"{COMMAND} bogus 2> /dev/full", 2, ""),
    (f"{COMMAND} bogus 2>&-", 2, ""),
    (f"{COMMAND} configs 2>&- <&- > /dev/null", 0, ""),
])
def test_statuses(line, status, error, tmp_path):
    assert shell(line, tmp_path) == (status, error)


def test_output_that_is_also_a_file(tmp_path):
    """What went to standard output is still there when its file takes the numbers too."""
    assert shell(f'{sys.executable} -c "{WRITES}" > out', tmp_path) == (0, "")
    assert (tmp_path / "out").read_text(encoding="utf-8") == 'text\n{\n  "a": 1\n}\nmore\n'


@pytest.mark.parametrize("line, status", [
    (f"({GENERATE}; echo $? > status) | true; exit $(cat status)", 141), (f"{GENERATE} > /dev/full", 1),
])
def test_numbers_are_written_though_the_text_is_not(line, status, tmp_path):
    assert shell(line, tmp_path)[0] == status
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["generated_tokens"] == 3


def test_what_the_locale_lacks_is_escaped(tmp_path):
    line = (f"LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 {sys.executable} -c "
            "'from scoville_host.streams import as_program; as_program(lambda: print(chr(233)), str())'")
    assert shell(f"{line} > out", tmp_path) == (0, "")
    assert (tmp_path / "out").read_bytes() == b"\\xe9\n"
