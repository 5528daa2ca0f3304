"""Control: every kind of instruction that the front end is given, and what the rest of the machine answers."""

from cocotb_coverage.coverage import CoverPoint
from scoville.isa import INSTRUCTION_BYTES, Opcode, decode

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


@observes("test_front_end", "found")
@CoverPoint("control.front_end.page_fault", xf=lambda item: item["fault"], bins=[0, 1])
def found(item):
    pass


@observes("test_instruction_fetch", "response")
@CoverPoint("control.instruction_fetch.error", xf=lambda item: item["error"], bins=[0, 1])
def fetched(item):
    pass
