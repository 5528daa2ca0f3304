"""The issuers: every kind of instruction that they are given."""

from cocotb_coverage.coverage import CoverCross, CoverPoint
from scoville.isa import Dest, LoadDest, Mode, Opcode

from cover.observe import observes
from cover.of_control import KINDS, of


@observes("test_issue", "i")
def instructions(item):
    if (instruction := of(item[""])) is not None:
        issued(instruction)
        if Opcode(instruction["opcode"]) is Opcode.LINEAR:
            linear(instruction)
        if Opcode(instruction["opcode"]) is Opcode.LOAD:
            load(instruction)


@CoverPoint("issue.issue.kind", xf=lambda it: Opcode(it["opcode"]).name, bins=KINDS)
@CoverPoint("issue.issue.wait", xf=lambda it: it.get("wait", 0), bins=[0, 1])
@CoverCross("issue.issue.kind_wait", items=["issue.issue.kind", "issue.issue.wait"])
def issued(instruction):
    pass


@CoverPoint("issue.issue.load", xf=lambda it: LoadDest(it["load_dest"]).name, bins=[it.name for it in LoadDest])
def load(instruction):
    pass


@CoverPoint("issue.issue.mode", xf=lambda it: Mode(it["mode"]).name, bins=[it.name for it in Mode])
@CoverPoint("issue.issue.dest", xf=lambda it: Dest(it["dest"]).name,
            bins=[it.name for it in Dest if it is not Dest.NONE])  # NONE is refused before it comes here
@CoverPoint("issue.issue.norm", xf=lambda it: it["norm"], bins=[0, 1])
@CoverPoint("issue.issue.residual", xf=lambda it: it["residual"], bins=[0, 1])
@CoverCross("issue.issue.mode_dest", items=["issue.issue.mode", "issue.issue.dest"])
def linear(instruction):
    pass
