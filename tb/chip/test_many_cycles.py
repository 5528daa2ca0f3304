"""What many sequences cost: cycles between two passes, and of a pass that decodes as many as there are seats."""

import numpy as np
import pytest
from many_machine import Host, image_of, planned, rtl, tokens_for
from scoville.control.activity import unpack
from scoville.registers import STALLS
from scoville_sim import MemoryTiming
from test_invariance import CONFIGS

SHAPE = {"hidden": 576, "layers": 1, "heads": 9, "kv_heads": 3, "head_dim": 64, "ffn": 576, "vocab": 512}
PASSES = 7


def decoding(image, plan, count):
    """Cycles of passes with `count` sequences of few tokens, one each, and between two such; and what they went to."""
    machine = rtl(plan, MemoryTiming())
    host, rng = Host(machine, plan), np.random.default_rng(count)
    machine.chip.record(1 << 20)
    for name in range(count):
        host.request(name, tokens_for(rng, 1, image.vocab), PASSES, temperature=1.0, seed=name)
    host.ring()
    host.serve()
    cycles, words, lost = machine.chip.recorded
    counters = machine.driver.counters()
    machine.close()
    assert not lost and {len(told.tokens) for told in host.told.values()} == {PASSES}
    found = unpack(words)
    begins, dones = (cycles[found[name] == 1].astype(int) for name in ("begin", "done"))
    assert len(begins) == len(dones) == PASSES
    waits = {name: counters["stalls"][name] for name in STALLS if counters["stalls"][name]}
    return dones - begins, begins[1:] - dones[:-1], {"work": counters["work"]} | waits


@pytest.mark.heavy
def test_decoding(record_property):
    config = CONFIGS["kria"]
    image = image_of(config, **SHAPE)
    plan = planned(image, pages=64)
    figures = {}
    for count in (1, config.seats):
        passes, gaps, spent = decoding(image, plan, count)
        figures[count] = passes[2:].mean() + gaps[2:].mean()
        print(count, "passes", passes.tolist(), "gaps", gaps.tolist(), spent)
        assert count == 1 or max(gaps) <= 200, gaps
        record_property(f"cycles of a pass of {count}", figures[count])
    print(figures, figures[config.seats] / figures[1])
    assert figures[config.seats] <= 1.14 * figures[1], figures
