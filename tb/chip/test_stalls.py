"""Cycles are charged to what caused them: a slower memory or host shows under its own names, and nowhere else."""

import dataclasses

import pytest
from llamas import compiled, prompt_for, random_llama
from machine import FAST, Machine
from scoville.config import get_config
from scoville_sim import MemoryTiming

SHAPE = {"layers": 2, "heads": 2, "kv_heads": 1, "hidden": 64, "ffn": 96}
WAITS = {"memory", "prompt", "fetch", "page_lookup"}  # what a slow read may cost


@pytest.fixture(scope="module")
def image():
    return compiled(get_config("nano"), **SHAPE)


def counters(image, timing, prompt=5, new=3):
    """work and stalls of a run."""
    with Machine(image, timing=timing) as machine:
        machine.run(prompt_for(random_llama(**SHAPE), prompt), new)
        assert machine.counters_add_up()
        found = machine.driver.counters()
    return found["work"], found["stalls"]


def growth(image, timing, **workload):
    """What a timing costs more than `FAST`; the work is the same."""
    (work, before), (same, after) = counters(image, FAST, **workload), counters(image, timing, **workload)
    assert work == same
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def test_slow_reads(image):
    grown = growth(image, dataclasses.replace(FAST, read_latency=150))
    total = sum(grown.values())
    assert total > 1000
    assert all(grown[name] > 0 for name in ("memory", "prompt", "fetch"))
    # The rest is what the queue of items in front of the array no longer hides.
    assert sum(grown.get(name, 0) for name in WAITS) >= 0.9 * total


def test_narrow_memory(image):
    grown = growth(image, MemoryTiming(read_latency=5, write_latency=5, beats=1, period=4))
    assert grown["memory"] > 1000 and max(grown, key=grown.get) == "memory"


def test_slow_writes(image):
    grown = growth(image, dataclasses.replace(FAST, write_latency=400))
    assert grown["kv_write"] > 1000
    # The page walk and the read behind a write are no longer hidden.
    named = ("kv_write", "pass_end", "page_lookup", "memory")
    assert sum(grown.get(name, 0) for name in named) >= 0.9 * sum(grown.values())


def test_a_host_that_takes_no_tokens(image):
    """The token queue holds 16; then the sequence waits."""
    with Machine(image) as machine:
        machine.start([1, 2], 24)
        machine.chip.write("IRQ_ENABLE", 0)
        for _ in range(200):
            machine.chip.step(2000)
            if (stalls := machine.driver.counters()["stalls"])["sampling"] > 5000:
                break
        before = machine.driver.counters()
        machine.chip.step(10_000)
        after = machine.driver.counters()
        grown = {name: after["stalls"][name] - before["stalls"][name] for name in stalls}
        assert {name for name, count in grown.items() if count} == {"sampling"} and grown["sampling"] >= 10_000
        assert after["work"] == before["work"]
