"""The seat table: what a pass works on."""

from amaranth.lib import data

from scoville.config import PAGE_TOKENS
from scoville.isa import PAGE_BITS, POSITION_BITS

__all__ = ["PAGE_SHIFT", "PassState", "Seat", "of_run"]

PAGE_SHIFT = PAGE_TOKENS.bit_length() - 1
assert PAGE_BITS >= POSITION_BITS - PAGE_SHIFT + 1

Seat = data.StructLayout({"position": POSITION_BITS, "token": 32})
"""A token and its place in its sequence."""


def PassState(config):
    """A pass: its first `tokens` seats are taken; `last` = it produces a token, from the last of them."""
    return data.StructLayout({
        "tokens": range(config.seats + 1),
        "last": 1,
        "seats": data.ArrayLayout(Seat, config.seats),
    })


def of_run(ids, position, *, last=0):
    """The `PassState`, as a dict, of a run of tokens from `position` on."""
    return {"tokens": len(ids), "last": int(last),
            "seats": [{"position": position + seat, "token": token} for seat, token in enumerate(ids)]}
