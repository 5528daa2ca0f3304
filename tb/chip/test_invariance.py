"""Batch invariance: 200 sequences that come, share, give way and are cancelled; each has the bits that it has alone.

Prompts of 1 to 300 tokens and outputs of 1 to 200.
"""

import dataclasses

import numpy as np
import pytest
from machine import FAST
from many_machine import Alone, image_of, planned, rtl, tokens_for
from scoville.config import get_config
from scoville.schedule.records import Reason
from scoville_host.runtime.many.requests import Requests

COUNT, PROMPTS, OUTPUTS = 200, 300, 200
SHAPE = {"heads": 2, "head_dim": 16, "context": 512}
MANY = {"slots": 16, "pool_pages": 256, "slot_pages": 16}
STALLS = dataclasses.replace(FAST, read_latency=40, stall_ar=0.2, stall_r=0.2, stall_aw=0.2, stall_w=0.2, stall_b=0.2)
CONFIGS = {  # of 8 seats each
    "nano": dataclasses.replace(get_config("nano"), lanes=4, phases=2, **MANY),  # a bus of 16 bytes
    "kria": dataclasses.replace(get_config("kria"), **MANY),  # of 64 bytes
    "slim": dataclasses.replace(get_config("slim"), lanes=2, phases=4, **MANY),  # of 8 bytes, and lanes of one row
}


def arrivals(rng):
    """Arguments of `Requests.submit`: a third begins with one of two stems."""
    stems = [tokens_for(rng, PROMPTS) for _ in range(2)]
    for number in range(COUNT):
        stem = stems[rng.integers(2)][:rng.integers(33, PROMPTS)] if rng.random() < 1 / 3 else []
        prompt = stem + tokens_for(rng, rng.integers(1, PROMPTS - len(stem) + 1))
        yield prompt, int(rng.integers(1, OUTPUTS + 1)), {
            "temperature": float(rng.choice([0.0, 1.0, 3.0])), "seed": number, "priority": int(rng.choice([0, 0, 3])),
            "stops": tokens_for(rng, rng.choice([0, 0, 0, 1])), "park": bool(stem)}


def serve(machine, plan, rng):
    """All sequences, and how many sent requests had a parent."""
    requests, sequences, coming = Requests(machine, plan), [], list(arrivals(rng))
    while coming or requests.open:
        while coming and rng.random() < 0.15:
            prompt, limit, options = coming.pop(0)
            sequences.append(requests.submit(prompt, limit, **options))
        if rng.random() < 0.004 and requests.open:
            rng.choice([each for each in sequences if not each.ended]).cancel()
        if requests.open:
            requests.go_on()
    return sequences


@pytest.mark.slow
@pytest.mark.parametrize(("config", "timing", "pages"), [
    ("nano", FAST, 256), ("nano", STALLS, 64), ("kria", STALLS, 256), ("kria", FAST, 64), ("slim", FAST, 256),
    ("slim", STALLS, 64)], ids=lambda value: ("stalls" if value is STALLS else "fast") if value in (FAST, STALLS)
    else str(value))
def test_invariance(config, timing, pages, run_seed, record_property):
    """With pages for all, and for a quarter of them."""
    config = CONFIGS[config]
    plan = planned(image_of(config, **SHAPE), pages=pages)
    machine, alone = rtl(plan, timing, run_seed), Alone(config, **SHAPE)
    sequences = serve(machine, plan, np.random.default_rng(run_seed))
    wrong = [n for n, sequence in enumerate(sequences) if not alone.same(sequence)]
    figures = {"cycles": machine.time, "tokens": sum(len(each.ids) for each in sequences),
               "preempted": sum(each.preempted for each in sequences),
               "shared": sum(each.shared > 0 for each in sequences),
               "cancelled": sum(each.reason == Reason.CANCELLED for each in sequences)}
    print(figures)
    for name, value in figures.items():
        record_property(name, value)
    assert not wrong and len(sequences) == COUNT
    assert figures["shared"] > 10 and figures["cancelled"] > 2
    assert (figures["preempted"] > 0) == (pages == 64)
    machine.close()
