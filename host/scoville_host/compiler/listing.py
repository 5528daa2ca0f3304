"""The human-readable form of a program and of the memory map around it."""

from scoville.isa import FIELDS, INSTRUCTION_BYTES, Dest, Element, LoadDest, Mode, ScaleFormat, decode

__all__ = ["fields_text", "instruction_text", "listing"]

_ENUMS = {"dest": Dest, "mode": Mode, "scale_format": ScaleFormat, "element": Element, "load_dest": LoadDest}
_HEX = ("address", "table", "softmax_scale", "inv_n", "epsilon")
_PAGED = (Dest.KEY, Dest.VALUE)


def _shown(fields, name):
    """Whether a field means anything here: zero flags are left out, and so is the unused reading of shared bits."""
    if name in ("inv_n", "epsilon") and "norm" in fields:
        return bool(fields["norm"])
    if name in ("offset", "stride", "cache") and "dest" in fields:
        return fields["dest"] in _PAGED
    return bool(fields[name]) or name in ("address", "src", "dst")


def instruction_text(data):
    """One instruction as ``OPCODE name=value …``."""
    return fields_text(decode(data))


def fields_text(fields):
    """The same of an instruction that is decoded."""
    opcode = fields["opcode"]
    parts = [opcode.name]
    for name in FIELDS[opcode]:
        if name == "opcode" or not _shown(fields, name):
            continue
        value = fields[name]
        text = _ENUMS[name](value).name if name in _ENUMS else f"{value:#x}" if name in _HEX else str(value)
        parts.append(name if name in ("wait", "only_last") else f"{name}={text}")
    return " ".join(parts)


def listing(image):
    """The whole image as text: what it is, the memory map, and the program with a remark for each instruction."""
    lines = [f"model    {image.model}", f"config   {image.config.name}", f"context  {image.context}",
             f"memory   {image.size} bytes from {image.base:#x}, {len(image.memory)} of them initialised", "",
             "registers"]
    lines += [f"  {name:<14} {value:#x}" for name, value in image.registers.items()]
    lines += ["", "memory map"]
    lines += [f"  {region.address:#012x} {region.size:>12}  {name}" for name, region in image.regions.items()]
    lines += ["", "program"]
    program = image.regions["program"]
    start = program.address - image.base
    for index, remark in enumerate(image.listing):
        data = image.memory[start + INSTRUCTION_BYTES * index:][:INSTRUCTION_BYTES].tobytes()
        lines.append(f"  {program.address + INSTRUCTION_BYTES * index:#012x}  {instruction_text(data)}  ; {remark}")
    return "\n".join(lines) + "\n"
