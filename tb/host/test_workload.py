"""Traces of requests: drawn from a seed, written, read; and the distributions of what came of them."""

import json
import math

import numpy as np
import pytest
from scoville_host import cli
from scoville_host.cli import workload
from scoville_host.errors import RequestError
from scoville_host.runtime.many.measure import distribution
from scoville_host.runtime.many.workload import Arrival, poisson, read_trace, write_trace

SHAPE = {"prompt_mean": 161, "output_mean": 338, "sigma": 1.0, "longest": 1 << 30}


def test_lengths_and_arrivals_are_as_asked(run_seed):
    """Within four standard errors: means of lengths and gaps, and the deviations of logarithms and of gaps."""
    count, rate = 40_000, 0.25
    trace = poisson(count, rate, seed=run_seed, **SHAPE)
    for name, mean in (("prompt", 161), ("output", 338)):
        lengths = np.array([getattr(one, name) for one in trace])
        assert abs(lengths.mean() - mean) < 4 * lengths.std() / math.sqrt(count)
        assert abs(np.log(lengths).std() - 1) < 0.03  # rounding to whole tokens included
    gaps = np.diff([0, *(one.arrival for one in trace)])
    assert gaps.min() >= 0 and abs(gaps.mean() * rate - 1) < 4 / math.sqrt(count)
    assert abs(gaps.std() * rate - 1) < 4 * math.sqrt(8 / count) / 2, "a Poisson process's gaps deviate by their mean"
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / math.sqrt(count)


def test_a_seed_is_a_trace():
    first, again, other = (poisson(50, 1, seed=seed, **SHAPE) for seed in (3, 3, 4))
    assert first == again and first != other


def test_long_ones_are_cut():
    trace = poisson(500, 1, seed=1, **SHAPE | {"longest": 100})
    assert max(one.prompt for one in trace) == 50 and max(one.prompt + one.output for one in trace) == 100
    assert min(one.output for one in trace) >= 1


def test_what_is_written_is_read(tmp_path):
    trace = poisson(20, 3, seed=1, **SHAPE)
    write_trace(tmp_path / "t.jsonl", trace)
    assert read_trace(tmp_path / "t.jsonl") == trace


@pytest.mark.parametrize("text", [
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:48.6805900,9,2\n2023-11-16 18:15:46.1805900,374,44\n",
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\r\n7.5,ChatGPT,9,2,11,API log\r\n"
    '5,"GPT-4, new",374,44,418,Conversation log\r\n', "output,prompt,arrival\n2,9,2.5\n44,374,0\n"])
def test_tables_of_public_traces(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, newline="")
    assert read_trace(tmp_path / "t.csv") == [Arrival(0, 374, 44), Arrival(2.5, 9, 2)]


@pytest.mark.parametrize("name, text, message", [
    ("t.csv", "a,b\n1,2\n", "no column arrival or TIMESTAMP or Timestamp"),
    ("t.csv", "arrival,prompt,output\n", "no request"),
    ("t.csv", "arrival,prompt,output\n1,2\n", "line 2: must have a time and two whole numbers"),
    ("t.csv", "arrival,prompt,output\nnan,2,3\n", "line 2: must have a time"),
    ("t.csv", "arrival,prompt,output\n1,2,3\n1,0,3\n", "line 3: 0 prompt and 3 output tokens"),
    ("t.jsonl", '{"arrival": -1, "prompt": 1, "output": 1}', "line 1: arrival is -1"),
    ("t.jsonl", '{"arrival": 0, "prompt": 1}', "line 1: 'output' is missing"),
    ("t.jsonl", '{"arrival": 0, "prompt": 0, "output": 1}', "line 1: prompt is 0"),
    ("t.jsonl", '{"arrival": 0, "prompt": 1, "output": 1, "user": 3}', "'user' is not known; there are: arrival, pro"),
    ("t.jsonl", '{"arrival": NaN, "prompt": 1, "output": 1}', "line 1: arrival is nan"),
    ("t.jsonl", "\n", "no line has")])
def test_wrong_traces(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(RequestError, match=message):
        read_trace(tmp_path / name)


def test_the_command(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["workload", "-o", str(tmp_path / "t.jsonl"), "--requests", "7", "--rate", "2", "--seed", "5"])
    assert not stop.value.code and "7 requests in" in capsys.readouterr().err
    expected = poisson(7, 2, prompt_mean=workload.PROMPT_MEAN, output_mean=workload.OUTPUT_MEAN, sigma=workload.SIGMA,
                       longest=512, seed=5)
    assert [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()] == [
        vars(one) for one in expected]


@pytest.mark.parametrize("arguments, message", [
    (["--requests", "0"], "--requests is 0; it must be at least 1"), (["--rate", "0"], "--rate is 0"),
    (["--rate", "nan"], "--rate is nan"), (["--rate", "inf"], "--rate is inf"), (["--sigma", "-1"], "--sigma is -1"),
    (["--sigma", "99"], "--sigma is 99"), (["--longest", "1"], "--longest is 1; it must be at least 2"),
    (["--prompt-mean", "0"], "--prompt-mean is 0"), (["--output-mean", "-3"], "--output-mean is -3"),
    (["--seed", "-1"], "--seed is -1"), (["-o", "."], "--output .: a folder"), (["--requests", "x"], "--requests")])
def test_wrong_workloads(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        cli.main(["workload", "-o", str(tmp_path / "t.jsonl"), *arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "t.jsonl").exists()


def test_distribution():
    """Quantiles by hand, in any order: each is one of the numbers."""
    values = list(range(100, 0, -1))
    assert distribution(values) == {"count": 100, "mean": 50.5, "p50": 50, "p90": 90, "p99": 99, "max": 100}
    assert distribution([7]) == {"count": 1, "mean": 7, "p50": 7, "p90": 7, "p99": 7, "max": 7}
    assert distribution([]) == {"count": 0, "mean": None, "p50": None, "p90": None, "p99": None, "max": None}
