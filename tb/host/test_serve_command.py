"""``scoville serve`` as a process: its address, signals, wrong options in one line, and the RTL behind it."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from serving import alone

COMMAND = [sys.executable, "-c", "from scoville_host.cli import main; main()", "serve", "--port", "0", "--context",
           "64"]


@pytest.fixture
def start():
    """Start the command; (process, its URL)."""
    started = []

    def call(*options):
        process = subprocess.Popen([*COMMAND, *options], stderr=subprocess.PIPE, text=True)
        started.append(process)
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                return process, found[0]
        raise AssertionError(f"ended with status {process.wait()}")

    yield call
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def ask(url, **more):
    body = {"model": "tiny", "prompt": "Once upon a time", "temperature": 0, "max_tokens": 8} | more
    return urllib.request.urlopen(urllib.request.Request(f"{url}/completions", json.dumps(body).encode()), timeout=120)


@pytest.mark.parametrize("signals", [1, 2])
def test_signals(start, signals):
    """At the first one, what is being computed ends; at a second, all ends. Each way with status 0, and soon."""
    process, url = start()
    with ask(url, stream=True, max_tokens=50) as stream:
        stream.readline()
        process.send_signal(signal.SIGTERM)
        assert "once more" in process.stderr.readline()
        if signals == 2:
            process.send_signal(signal.SIGTERM)
        rest = stream.read().decode()
    assert ("[DONE]" in rest) == (signals == 1) and ('"error"' in rest) == (signals == 2)
    assert process.wait(20) == 0


def test_wrong_options(run, tmp_path):
    """One line each, before a model is read."""
    keys = tmp_path / "keys.json"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options, said in (
                (["--host", "0.0.0.0"], "--keys"), (["--host", "here"], "IP address"),
                (["--slots", "3"], "power of two"), (["--backend", "board"], "golden or rtl"),
                (["--keys", tmp_path / "none"], "none"),
                (["--memory", "ddr4"], "--memory"), (["--port", taken.getsockname()[1]], "--port")):
            status, out, err = run("serve", "--quiet", *options)
            assert (status, out, err.count("\n")) == (2, "", 1) and said in err, (options, err)
    for text in ("[", "[]", '[{"name": "a", "sha256": "00"}]', '[{"name": "a"}]',
                 json.dumps([{"name": name, "sha256": "0" * 64} for name in "ab"])):
        keys.write_text(text)
        status, _, err = run("serve", "--quiet", "--keys", keys)
        assert status == 2 and err.count("\n") == 1 and "keys.json" in err, (text, err)


def test_load(start, run, tmp_path):
    """Every request is served and counted; a goal that nobody can meet is met by none."""
    _, url = start()
    arguments = ["load", "--quiet", "--url", url, "--requests", 12, "--rate", 50, "--longest", 24, "--shared", 0.5,
                 "--json", tmp_path / "load.json", "--between-within", 1e-9, "--output-mean", 8]
    status, out, err = run(*arguments)
    found = json.loads((tmp_path / "load.json").read_text())
    assert (status, err) == (0, "") and "served: 12 of 12" in out
    assert found["served"] == 12 and not found["errors"]
    assert found["first_token"]["count"] == 12 and found["generated_tokens"] > found["between_tokens"]["count"] > 12
    chip = found["chip"]  # on the golden chip's clock: a pass has a token of a sequence at most
    assert chip["unit"] == "passes" and "passes" in out and chip["first_token"]["count"] == 12
    assert chip["between_tokens"]["count"] == found["generated_tokens"] - 12 and chip["between_tokens"]["p50"] >= 1
    assert found["served_well"] < 12 and found["tokens_per_second"] == found["generated_tokens"] / found["seconds"]
    status, out, err = run("load", "--quiet", "--url", url, "--model", "other", "--requests", 2, "--rate", 50)
    assert (status, out) == (1, "") and err.count("\n") == 1 and "404" in err
    status, out, err = run("load", "--quiet", "--url", "http://127.0.0.1:9/v1")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "--url" in err


@pytest.mark.slow
def test_on_the_rtl(start):
    process, url = start("--backend", "rtl", "--slots", "4", "--memory", "ideal")
    with ask(url, n=2) as answer:
        assert [each["text"] for each in json.load(answer)["choices"]] == [alone("Once upon a time", 8)[0]] * 2
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
