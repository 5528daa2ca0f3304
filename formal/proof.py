"""What a proof is: a claim that must hold, a cover that must be reached, a planted fault that must make it fail."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.lib import wiring

__all__ = ["INDUCTION", "PDR", "Claim", "Proof"]

INDUCTION = "smtbmc yices"  # k-induction
PDR = "abc pdr"  # finds invariants itself, for all time


class Claim(wiring.Component):
    """A component beside assumptions about its environment, assertions and covers.

    Every In member is free, and so is the reset: what is claimed holds after a reset at any time, from whatever a
    `reset_less` register then has.
    """


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One line of the report.

    Parameters
    ----------
    name : the folder's, file's and unit's names, and the size
    says : the property, in a sentence
    claim, broken : make the `Claim`, and the same with a planted fault
    fault : the planted fault, in a sentence
    engine : `INDUCTION` or `PDR`, both unbounded; a bounded claim has a `bound`
    depth : k of the induction
    bound : None, or the cycles for which the claim is proved
    reach : cycles within which all covers must be reached
    fails : cycles within which the planted fault must show; None: it lies too deep, the induction must fail of it
    others : further planted faults, (sentence, what makes it) each
    covered : None, or makes the claim whose covers are reached, where those of `claim` lie too deep
    quick : `make test` runs it too
    alone : the RTL's own assertions are left out: they are simulated, and no part of what is claimed
    """

    name: str
    says: str
    claim: Callable[[], Any]
    broken: Callable[[], Any]
    fault: str
    engine: str = INDUCTION
    depth: int = 2
    bound: int | None = None
    reach: int = 12
    fails: int | None = 12
    others: tuple[tuple[str, Callable[[], Any]], ...] = ()
    covered: Callable[[], Any] | None = None
    quick: bool = False
    alone: bool = False
