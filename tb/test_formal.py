"""The quick proofs, and that a proof which proves nothing, or too little, is a failure."""

import dataclasses
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib.wiring import In
from scoville.slices import Skid

from formal.engines import prove
from formal.planted import planted
from formal.proof import INDUCTION, Claim, Proof
from formal.proofs import find

pytestmark = pytest.mark.heavy

FOLDER = Path(__file__).resolve().parents[1] / "build" / "tb" / "formal"


@pytest.mark.parametrize("proof", find(quick=True), ids=lambda proof: proof.name)
def test_quick(proof):
    outcome = prove(proof, FOLDER)
    assert outcome.stands, "\n".join(outcome.problems)


class Counts(Claim):
    """A counter to 5, and a claim about it."""

    def __init__(self, *, below=6, wraps=5, assume=None):
        super().__init__({"up": In(1)})
        self.below, self.wraps, self.assume = below, wraps, assume

    def elaborate(self, platform):
        m = Module()
        count = Signal(4)
        with m.If(self.up):
            m.d.sync += count.eq(count + 1)
            with m.If(count == self.wraps):
                m.d.sync += count.eq(0)
        m.d.comb += [Assert(count < self.below), Cover(count == 3)]
        if self.assume is not None:
            m.d.comb += Assume(self.assume)
        return m


SOUND = Proof(name="counts", says="stays below 6", claim=Counts, broken=lambda: Counts(wraps=9), fault="it goes to 9",
              engine=INDUCTION)


@pytest.mark.parametrize(("name", "changes", "problem"), [
    ("sound", {}, None),
    ("wrong", {"claim": lambda: Counts(below=5), "depth": 8}, "the claim is not proved (FAIL;"),
    ("not_inductive", {"claim": lambda: Counts(below=12)}, "the claim is not proved (UNKNOWN;"),
    ("empty", {"claim": lambda: Counts(assume=0)}, "a cover is not reached"),
    ("unreached", {"reach": 3}, "a cover is not reached"),
    ("weak", {"broken": Counts}, "the planted fault is not noticed"),
])
def test_a_proof_that_says_too_little_fails(name, changes, problem):
    outcome = prove(dataclasses.replace(SOUND, name=name, **changes), FOLDER)
    if problem is None:
        assert outcome.stands, outcome.problems
    else:
        assert not outcome.stands and any(text.startswith(problem) for text in outcome.problems), outcome.problems


def test_a_fault_is_planted_once():
    assert planted(Skid, "spare.eq(coming)", "spare.eq(0)") is not Skid
    with pytest.raises(ValueError, match="0 times"):
        planted(Skid, "spare.eq(going)", "spare.eq(0)")
    with pytest.raises(ValueError, match="4 times"):
        planted(Skid, "coming", "going")
