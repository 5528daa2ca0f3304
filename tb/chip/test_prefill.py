"""A prompt of 2,048 tokens, SmolLM2's shape on `kria`: passes at five places of it, with one layer and with two.

A pass's cycles grow with its pages, and so do its products; between the places, and for thirty layers, they follow.
"""

import numpy as np
import pytest
from llamas import compiled
from scoville.config import get_config
from scoville_host.runtime.rtl import RtlBackend
from test_many_smollm2 import LAYERS, SMOLLM2

TOKENS = 2048
PLACES = (0, 512, 1024, 1536, TOKENS - 24)


def passes_at(image, position):
    """Cycles and multiply-adds of two passes of all seats from `position` on."""
    seats, backend = image.config.seats, RtlBackend()
    found = []
    for start, count in ((position, 3), (position + 2 * seats, 1)):
        prompt = np.random.default_rng(start).integers(0, image.vocab, count * seats).tolist()
        result = backend.generate(image, prompt, 1, position=start)
        found.append(np.array([result.prefill_cycles, sum(
            image.traffic.pass_macs(start + seats * number, seats, number == count - 1) for number in range(count))]))
    return found[0] - found[1]


@pytest.mark.heavy
def test_long_prompt(record_property):
    config, shape = get_config("kria"), SMOLLM2 | {"vocab": 512, "context": TOKENS + 32}
    images = [compiled(config, weights="q4_1", **shape, layers=layers) for layers in (1, 2)]
    cycles, macs = np.array([
        one + (LAYERS - 1) * (two - one)
        for one, two in ([passes_at(image, place) for image in images] for place in PLACES)], float).T
    used = macs / cycles / config.multipliers
    print("of the multipliers, of passes at", dict(zip(PLACES, used.round(4).tolist(), strict=True)))
    share = np.trapezoid(macs, PLACES) / np.trapezoid(cycles, PLACES) / config.multipliers
    print("of 2,048 tokens", share)
    record_property("share of the multipliers", float(share))
    assert share >= 0.93, (cycles, macs)
