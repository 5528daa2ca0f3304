"""How the queries of a pass spread over the seats of attention.

Attention serves S (token, query head) pairs at a time, one a seat: a turn. Of the query heads of a KV head, head h of
token t of the pass is pair ``t * places + h``; pair n is in turn n div S at seat n mod S. A pass of one run has nothing
between its pairs. Of several runs each reads pages of its own in a turn, so a token gets as many places as keep it from
lying in more turns than it must, and leave no whole phase of a turn to nobody between two pairs.
"""

from itertools import groupby
from typing import NamedTuple

from amaranth.hdl import Signal
from amaranth.utils import exact_log2

__all__ = ["Run", "pass_places", "places", "runs"]


def places(config, group, several=1):
    """Places of a token where a KV head has `group` query heads: the next power of two up to 2 T, beyond it the next
    multiple of S; `group` itself in a pass that has not `several` runs. Numbers and HDL values alike.

    As many turns, ``places(config, group)``, does a KV head have in the operand buffer, whatever runs the pass has.
    """
    if config.slots == 1:
        return group
    last = most = group - 1  # head of the group; place
    for bit in range(exact_log2(config.seats)):
        most = most | (several & ((last >> min(bit, config.lane_bits + 1)) != 0)) << bit
    return most + 1


def pass_places(m, config, state, group):
    """The places of a token of this pass: an HDL value, good in the cycle behind the one in which `group` is."""
    if config.slots == 1:
        return group
    last, found = Signal(range(config.seats), name="last_of_pass"), Signal(len(group) + 1, name="places")
    m.d.comb += last.eq(state.tokens - 1)
    m.d.sync += found.eq(places(config, group, state.seats[last].slot != state.seats[0].slot))
    return found


class Run(NamedTuple):
    """Seats that follow each other, first to last, and belong to one slot."""

    slot: int
    first: int
    last: int


def runs(state):
    """The runs of a pass, in the order of its seats, of a dict of `PassState`."""
    found = []
    for slot, group in groupby(seat.get("slot", 0) for seat in state["seats"][:state["tokens"]]):
        first = found[-1].last + 1 if found else 0
        found.append(Run(slot, first, first + len(list(group)) - 1))
    return found
