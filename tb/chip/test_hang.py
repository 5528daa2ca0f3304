"""A chip that hangs fails its test within a minute, and says where its units and its buses stand."""

import dataclasses
import time

import pytest
from llamas import compiled
from machine import FAST, Machine
from scoville.config import get_config

DEAD = 1 - 1e-10  # a channel with this chance of a stall never answers


@pytest.mark.parametrize(("channel", "shown"), [("stall_r", "m_axi.r: valid=0 ready=1"),
                                                ("stall_aw", "m_axi.aw: valid=1 ready=0")])
def test_hung_chip(channel, shown):
    """The memory takes every address and gives no data, or takes no address of a write."""
    with Machine(compiled(get_config("nano"), hidden=32, layers=1, ffn=32, vocab=40)) as machine:
        machine.start([3, 39, 0], 4)
        machine.chip.run(500)
        built = time.monotonic()
        machine.chip.set_timing(dataclasses.replace(FAST, **{channel: DEAD}))
        with pytest.raises(AssertionError) as failure:
            machine.wait()
        assert time.monotonic() - built < 60
    text = str(failure.value)
    assert "no beat on the memory bus for 50000 cycles" in text and "STATUS 0x1\n" in text
    assert shown in text and "busy: " in text and text.count("valid=") == 10
