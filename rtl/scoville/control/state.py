"""What a pass works on."""

from amaranth.lib import data

from scoville.config import PAGE_TOKENS
from scoville.isa import PAGE_BITS, POSITION_BITS

__all__ = ["PAGE_SHIFT", "PassState"]

PAGE_SHIFT = PAGE_TOKENS.bit_length() - 1
assert PAGE_BITS >= POSITION_BITS - PAGE_SHIFT + 1


def PassState(config):
    """What a pass works on: `tokens` seats from `position` on; `last` = it produces a token."""
    return data.StructLayout({
        "tokens": range(config.seats + 1),
        "position": POSITION_BITS,
        "last": 1,
        "ids": data.ArrayLayout(32, config.seats),
    })
