"""The table of workloads, and what counts as worse."""

import dataclasses
import json

import pytest
from scoville_host.errors import RequestError
from scoville_host.report import benchmark
from scoville_host.report.benchmark import ROWS, Row, chosen_rows, grown, main, run

QUICK = Row(name="tiny/nano, two tokens", model="tiny", config="nano", prompt_tokens=2, decode_tokens=2, bar=0.5)


@pytest.fixture
def table(monkeypatch, tmp_path):
    """A table of one row, and an empty baseline."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmark, "ROWS", (QUICK,))
    monkeypatch.setattr(benchmark, "BASELINE", tmp_path / "baseline.json")
    return tmp_path


def test_rows():
    assert len({row.slug for row in ROWS}) == len({row.name for row in ROWS}) == len(ROWS)
    quick = chosen_rows()
    assert {row.model for row in quick} == {"tiny"} and {"nano", "kria"} <= {row.config for row in quick}
    assert chosen_rows(everything=True) == list(ROWS)
    assert all("nano" in row.name for row in chosen_rows("nano"))
    with pytest.raises(RequestError, match="no row has 'gone' in its name; there are: tiny/nano"):
        chosen_rows("gone")


def test_bars():
    assert QUICK.reached(0.5) and not QUICK.reached(0.49)
    assert dataclasses.replace(QUICK, bar=None).reached(0.1) is None
    cycles = dataclasses.replace(QUICK, metric="cycles_per_token", bar=2e6)
    assert cycles.reached(1e6) and not cycles.reached(3e6)


def test_growth():
    before = {"cycles": 1000, "prefill_cycles": 100, "cycles_per_token": 50.0}
    assert not grown(before, before)
    assert not grown(before | {"cycles": 1005}, before)
    assert grown(before | {"cycles": 1006}, before) == ["cycles 1,000 -> 1,006"]
    assert not grown(before, {})


def test_run(tmp_path):
    found = run(QUICK, tmp_path)
    stored = json.loads((tmp_path / f"{QUICK.slug}.json").read_text())
    assert stored == json.loads(json.dumps(found))
    assert stored["row"]["reached"] and stored["golden_match"]
    assert abs(stored["prediction_error"]) < 0.02 and set(stored["predicted"]) == set(benchmark.COUNTS)
    assert stored["work_cycles"] + sum(stored["stalls"].values()) == stored["cycles"]
    trace = json.loads((tmp_path / stored["trace"]).read_text())
    assert trace["otherData"]["cycles"] == stored["decode_cycles"]


def test_baseline(table, capsys):
    assert main([]) == 0
    assert "without a baseline" in capsys.readouterr().err
    assert main(["--save"]) == 0
    stored = json.loads((table / "baseline.json").read_text())
    assert list(stored) == [QUICK.name]
    assert main([]) == 0
    stored[QUICK.name]["prefill_cycles"] *= 0.99
    (table / "baseline.json").write_text(json.dumps(stored))
    assert main([]) == 1
    assert "more cycles than the baseline allows: tiny/nano, two tokens: prefill_cycles" in capsys.readouterr().err
    assert main(["--rows", "gone"]) == 2
