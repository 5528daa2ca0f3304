"""The seat table: what a pass works on."""

from amaranth.lib import data
from amaranth.utils import exact_log2

from scoville.config import PAGE_TOKENS
from scoville.isa import PAGE_BITS, POSITION_BITS

__all__ = ["PAGE_SHIFT", "PassState", "Sampling", "Seat", "of_run", "of_runs"]

PAGE_SHIFT = PAGE_TOKENS.bit_length() - 1
assert PAGE_BITS >= POSITION_BITS - PAGE_SHIFT + 1

Seat = data.StructLayout({"position": POSITION_BITS, "token": 32})
"""A token and its place in its sequence."""


def PassState(config):
    """A pass: its first `tokens` seats are taken; `last` = it produces a token.

    With one slot all seats are one run's, and the last of them samples. With more, each says whose it is, and whether
    it samples; the seats of a slot follow each other.
    """
    several = {"slot": exact_log2(config.slots), "samples": 1} if config.slots > 1 else {}
    return data.StructLayout({
        "tokens": range(config.seats + 1),
        "last": 1,
        "seats": data.ArrayLayout(data.StructLayout(Seat.members | several), config.seats),
    })


def Sampling(config):
    """How a token is chosen, a seat (with one slot: for the only one): the sampler's `seed` and `invt`, and where its
    logits go, 0 for nowhere."""
    one = data.StructLayout({"seed": 64, "invt": 32, "logits": config.addr_bits})
    return data.ArrayLayout(one, config.seats if config.slots > 1 else 1)


def of_run(ids, position, *, last=0):
    """The `PassState`, as a dict, of a run of tokens from `position` on; for one slot."""
    return {"tokens": len(ids), "last": int(last),
            "seats": [{"position": position + seat, "token": token} for seat, token in enumerate(ids)]}


def of_runs(runs):
    """The `PassState`, as a dict, of runs (slot, ids, position of the first, whether the last samples); for more slots.
    """
    seats = [{"position": position + n, "token": token, "slot": slot, "samples": int(samples and n + 1 == len(ids))}
             for slot, ids, position, samples in runs for n, token in enumerate(ids)]
    return {"tokens": len(seats), "last": int(any(samples for *_, samples in runs)), "seats": seats}
