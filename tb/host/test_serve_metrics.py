"""``/metrics`` and the dashboard: every metric that it names is there, and the chip's cycles are all accounted for."""

import json
import re
import urllib.request

import pytest
import scoville_sim
from fake_chip import FakeChip
from scoville_host.runtime.many.serve import open_requests
from serving import running, session_of

NAME = re.compile(r"\b(?:vllm|scoville):\w+")


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


def metrics(url):
    """Values by name and labels, as text and float."""
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in get(f"{url}/metrics").splitlines()
            if not line.startswith("#")}


def complete(url, prompt="Once upon a time", **more):
    body = {"model": "tiny", "prompt": prompt, "max_tokens": 4, "temperature": 0} | more
    get(urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode()))


@pytest.fixture
def counting(monkeypatch):
    """A server whose chip has counters."""
    monkeypatch.setattr(scoville_sim, "VerilatedChip", FakeChip)
    session = session_of(4)
    with running(chip=lambda: open_requests(session, "rtl", rows=True), session=session) as served:
        complete(served.url)
        served.idle()
        yield served


def test_the_dashboard(counting):
    """Chips on the RTL have no pool that is known, golden ones no cycles: each name is of one of them at least."""
    found = metrics(counting.url)
    with running() as golden:
        complete(golden.url)
        found |= metrics(golden.url)
        dashboard = json.loads(get(f"{golden.url}/grafana.json"))
    there = {NAME.match(name)[0] for name in found}
    named = {name for panel in dashboard["panels"] for target in panel["targets"] for name in NAME.findall(
        target["expr"])} | set(NAME.findall(json.dumps(dashboard["templating"])))
    assert named - there == set() and len(named) > 15
    unseen = {name for name in there - named if not name.endswith(("_created", "_sum", "_count", "_bucket"))}
    assert not unseen, "a metric that the dashboard does not show"


def test_cycles(counting):
    found = metrics(counting.url)
    label = '{model_name="tiny"}'
    cycles = found[f"scoville:cycles_total{label}"]
    assert cycles == counting.engine.seen.cycles["cycles"] > 0
    assert found[f"scoville:cycles_per_token{label}"] == cycles / 4
    assert found[f"scoville:bus_beats_total{label}"] == 0.75 * cycles
    assert found[f"scoville:array_work_cycles_total{label}"] == 0.5 * cycles
    assert sum(name.startswith("scoville:stall_cycles_total{") for name in found) > 20


def test_no_cycles():
    """What a golden chip does not count is not there, nor made up."""
    with running() as served:
        complete(served.url)
        assert not any("cycles" in name or "beats" in name for name in metrics(served.url))


def test_times():
    """On the chip's clock, of each choice, for who asks; others see nothing of it."""
    with running() as served:
        body = json.dumps({"model": "tiny", "prompt": "Once upon a time", "max_tokens": 4, "n": 2,
                           "temperature": 0}).encode()
        where, asks = f"{served.url}/v1/completions", {"Scoville-Times": "yes"}
        told, again, untold = (json.loads(get(urllib.request.Request(where, body, headers)))["usage"]
                               for headers in (asks, asks, {}))
        assert again["scoville"] == told["scoville"], "a request's times begin with it"
        assert "scoville" not in untold and told["scoville"]["unit"] == "passes"
        for times in told["scoville"]["times"]:
            assert times[0] > 0 and times == sorted(set(times)) and 1 <= len(times) <= 4


def test_a_life_more(counting):
    """Counters never go back, though the chip's begin at zero with each start."""
    before = metrics(counting.url)['scoville:cycles_total{model_name="tiny"}']
    FakeChip.made[-1].many.status = 2
    complete(counting.url)
    counting.idle()
    assert counting.engine.counts["restarts"] == 1
    assert metrics(counting.url)['scoville:cycles_total{model_name="tiny"}'] > before


def test_what_vllm_means(counting):
    """A prompt counts once, whatever becomes of the chip; a choice that nobody waits for any more is an abort."""
    label = '{model_name="tiny"}'
    found = metrics(counting.url)
    assert found[f"vllm:prompt_tokens_total{label}"] == found[f"vllm:prefix_cache_queries_total{label}"]
    assert found['vllm:request_success_total{finished_reason="length",model_name="tiny"}'] == 1
    assert found[f"vllm:e2e_request_latency_seconds_count{label}"] == 1
    body = {"model": "tiny", "prompt": "Once", "max_tokens": 50, "stream": True}
    with urllib.request.urlopen(urllib.request.Request(f"{counting.url}/v1/completions", json.dumps(body).encode())):
        pass
    counting.idle()
    assert metrics(counting.url)['vllm:request_success_total{finished_reason="abort",model_name="tiny"}'] == 1
