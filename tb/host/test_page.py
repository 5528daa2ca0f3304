"""The report: what it shows of a build folder, and what it refuses."""

import json

import pytest
from scoville_host.errors import RequestError
from scoville_host.report.benchmark import Row, run
from scoville_host.report.page import collect, main, tables
from scoville_host.runtime.many.bench import bench_many
from scoville_host.runtime.many.measure import distribution
from scoville_host.runtime.many.serve import with_slots
from scoville_host.runtime.many.workload import Arrival
from scoville_host.runtime.session import open_session

ROW = Row(name="tiny/nano, <two> tokens", model="tiny", config="nano", prompt_tokens=2, decode_tokens=2, bar=0.99)
JUNIT = """<testsuites><testsuite tests="7" failures="1" errors="0" time="12.5"/></testsuites>"""


@pytest.fixture
def build(tmp_path):
    return tmp_path / "build"


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def test_tables():
    assert tables([{"unit": "chain", "mhz": 91.5}, {"unit": "drain", "cells": 1200}], "ecp5") == [
        ("ecp5", ["unit", "mhz", "cells"], [["chain", "91.5", ""], ["drain", "", "1,200"]])]
    assert tables({"a": {"x": 1}, "b": {"x": True}}) == [("", ["", "x"], [["a", "1"], ["b", "yes"]])]
    assert tables({"seed": 3, "units": [{"x": 1}]}, "t") == [
        ("t", ["", "value"], [["seed", "3"]]), ("t units", ["x"], [["1"]])]
    assert tables({"nano": {"chain": {"ecp5": {"mhz": 91, "path": ["a", "b"]}, "asap7": {}}}}, "t") == [
        ("t nano", ["", "ecp5 mhz", "ecp5 path"], [["chain", "91", "a → b"]])]
    assert tables({"names": ["p", "q"]}) == [("names", ["value"], [["p"], ["q"]])]
    assert tables(5, "n") == [("n", ["value"], [["5"]])]


def test_page(build, capsys):
    found = run(ROW, build / "bench")
    write(build / "timing" / "timing.json", [{"unit": "chain", "mhz": 91.5}])
    write(build / "sim.xml", JUNIT)
    assert main(["--build", str(build)]) == 0
    path = capsys.readouterr().out.strip()
    text = (build / "report" / "index.html").read_text()
    assert path == str(build / "report" / "index.html")
    assert "tiny/nano, &lt;two&gt; tokens" in text and "<two>" not in text
    assert f"{found['cycles_per_token']:,.0f}" in text and "bus_utilisation 0.99: missed" in text
    assert f'href="../bench/{found["trace"]}"' in text
    assert text.count("<svg") == 3  # stalls, one configuration, one trace
    assert "gate_up (3)" in text and "dependency_kv" in text
    assert "make timing" in text and "91.5" in text
    assert "7 tests" in text and "1 failed" in text


def test_many_sequences(build):
    """Times to tokens, and the pool over time where the chip has an account of it."""
    found = bench_many(open_session("tiny", "nano", adapt=lambda chip: with_slots(chip, 3), text=False),
                       [Arrival(0, 3, 4), Arrival(0, 2, 2), Arrival(9, 1, 1)])
    write(build / "many" / "a <trace>.json", found)
    write(build / "many" / "rtl.json", found | {"pool": None, "most_pages": None, "backend": "rtl", "unit": "cycles"})
    write(build / "many" / "other.json", {"a": 1})
    assert main(["--build", str(build)]) == 0
    text = (build / "report" / "index.html").read_text()
    golden, rtl = text[text.index("<h3>a &lt;trace&gt;: tiny"):].split("<h3>rtl: tiny")
    assert "3 sequences on 4 slots and 2 seats; 7 tokens in" in golden and "other" not in text
    for part, plots in ((golden, 2), (rtl, 1)):
        assert part.count("<svg") == plots and part.count("to the first token</td><td>3</td>") == 1
        assert part.count("between tokens</td><td>4</td>") == 1
    for word in ("running", "shared", "parked", "free"):
        assert f"<!-- {word} -->" in golden or f">{word}<" in golden, "a colour of the pool without a name"
    nothing = found | {"sequences": [each | {"first_token": None, "between_tokens": []} for each in found["sequences"]],
                       "first_token": distribution([]), "between_tokens": distribution([])}
    write(build / "many" / "rtl.json", nothing)
    assert main(["--build", str(build)]) == 0


def test_without_benchmarks(build):
    write(build / "timing" / "timing.json", [{"unit": "chain"}])
    assert main(["--build", str(build)]) == 0
    assert "chain" in (build / "report" / "index.html").read_text()


def test_refused(build, capsys):
    assert main(["--build", str(build)]) == 2
    assert "nothing to report" in capsys.readouterr().err
    write(build / "timing" / "timing.json", "{")
    with pytest.raises(RequestError, match="timing.json"):
        collect(build)
