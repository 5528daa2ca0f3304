"""Control: every kind of instruction that the two ends are given, and what the rest of the machine answers them."""

from cocotb_coverage.coverage import CoverCross, CoverPoint
from scoville.isa import INSTRUCTION_BYTES, Dest, LoadDest, Mode, Opcode, decode

from cover.observe import observes

KINDS = [opcode.name for opcode in Opcode]


def of(word):
    """The decoded instruction, or None if its opcode is none."""
    try:
        return decode(word.to_bytes(INSTRUCTION_BYTES, "little"))
    except ValueError:
        return None


@observes("test_front_end", "i")
def front_end(item):
    if (instruction := of(item["word"])) is not None:
        front(instruction)


@CoverPoint("control.front_end.kind", xf=lambda it: Opcode(it["opcode"]).name, bins=KINDS)
@CoverPoint("control.front_end.only_last", xf=lambda it: it.get("only_last", 0), bins=[0, 1])
def front(instruction):
    pass


@observes("test_back_end", "i")
def back_end(item):
    if (instruction := of(item[""])) is not None:
        back(instruction)
        if Opcode(instruction["opcode"]) is Opcode.LINEAR:
            linear(instruction)
        if Opcode(instruction["opcode"]) is Opcode.LOAD:
            load(instruction)


@CoverPoint("control.back_end.kind", xf=lambda it: Opcode(it["opcode"]).name, bins=KINDS)
@CoverPoint("control.back_end.wait", xf=lambda it: it.get("wait", 0), bins=[0, 1])
@CoverCross("control.back_end.kind_wait", items=["control.back_end.kind", "control.back_end.wait"])
def back(instruction):
    pass


@CoverPoint("control.back_end.load", xf=lambda it: LoadDest(it["load_dest"]).name, bins=[it.name for it in LoadDest])
def load(instruction):
    pass


@CoverPoint("control.back_end.mode", xf=lambda it: Mode(it["mode"]).name, bins=[it.name for it in Mode])
@CoverPoint("control.back_end.dest", xf=lambda it: Dest(it["dest"]).name,
            bins=[it.name for it in Dest if it is not Dest.NONE])  # NONE is refused before it comes here
@CoverPoint("control.back_end.norm", xf=lambda it: it["norm"], bins=[0, 1])
@CoverPoint("control.back_end.residual", xf=lambda it: it["residual"], bins=[0, 1])
@CoverCross("control.back_end.mode_dest", items=["control.back_end.mode", "control.back_end.dest"])
def linear(instruction):
    pass


@observes("test_front_end", "found")
@CoverPoint("control.front_end.page_fault", xf=lambda item: item["fault"], bins=[0, 1])
def found(item):
    pass


@observes("test_instruction_fetch", "response")
@CoverPoint("control.instruction_fetch.error", xf=lambda item: item["error"], bins=[0, 1])
def fetched(item):
    pass
