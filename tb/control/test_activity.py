"""The trace port's word: its members where the layout has them, and an array of words taken apart."""

import harness
import numpy as np
from scoville.control.activity import ACTIVITY, activity_layout, unpack
from scoville.control.monitor import REASON_BITS


def test_layout():
    layout = activity_layout()
    assert list(ACTIVITY)[0] == "charged" and ACTIVITY["charged"] == REASON_BITS
    assert layout.size == sum(ACTIVITY.values()) == REASON_BITS + len(ACTIVITY) - 1


def test_unpack():
    rng = np.random.default_rng(1)
    size = activity_layout().size
    words = np.concatenate([rng.integers(1 << size, size=200), 1 << np.arange(size), [0, (1 << size) - 1]])
    found = unpack(words)
    assert list(found) == list(ACTIVITY)
    for place, word in enumerate(words):
        assert {name: int(values[place]) for name, values in found.items()} == harness.unpack(
            activity_layout(), int(word))
