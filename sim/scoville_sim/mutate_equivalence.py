"""Mutants that no test can tell: a miter of the design and the mutant, both from power-up, which ABC tries to prove.

A payload counts only while its valid is high.
"""

import json
import re
import shutil
import subprocess

from scoville_sim.mutate_netlist import SELECT, SELECT_BITS, yosys

__all__ = ["equivalent"]

ABC = "berkeley-abc"


def _valid_of(name, outputs):
    """The output that says when output `name` means something, or None: a stream's valid, or an AXI channel's."""
    stream, _, field = name.rpartition("__")
    channel = re.match(r"(aw|ar|w|b|r)(?=\w)", field)
    names = [f"{stream}__valid"] if field == "payload" else [f"{stream}__{channel[0]}valid"] if channel else []
    return next((valid for valid in names if valid in outputs and valid != name), None)


def _miter(ports):
    """Verilog of ``miter``: the design and a mutant side by side, and whether they differ."""
    inputs = {name: len(port["bits"]) for name, port in ports.items() if port["direction"] == "input"}
    outputs = {name: len(port["bits"]) for name, port in ports.items() if port["direction"] == "output"}
    lines = [f"module miter({', '.join([*inputs, SELECT])}, differ);", f"input [{SELECT_BITS - 1}:0] {SELECT};",
             "output differ;", *(f"input [{width - 1}:0] {name};" for name, width in inputs.items())]
    for copy, select in (("gold", f"{SELECT_BITS}'d0"), ("gate", SELECT)):
        lines += [f"wire [{width - 1}:0] {copy}_{name};" for name, width in outputs.items()]
        # A port may have the name of a Verilog word, `end`.
        pins = [*(f".{name}({name})" for name in inputs), *(f".\\{name} ({copy}_{name})" for name in outputs),
                f".{SELECT}({select})"]
        lines.append(f"top {copy}({', '.join(pins)});")
    differ = []
    for name in outputs:
        valid = _valid_of(name, outputs)
        differ.append(f"gold_{name} != gate_{name}" + (f" && gold_{valid}" if valid else ""))
    differ = "\n  || ".join(f"({term})" for term in differ)
    return "\n".join([*lines, f"assign differ = {differ};", "endmodule", ""])


def _aiger(text, number):
    """Binary AIGER of the ASCII form in which the inputs `mutsel` are constants: those of `number`."""
    lines = text.splitlines()
    variables, inputs, latches, outputs, ands = map(int, lines[0].split()[1:6])
    at = 1 + inputs
    latch_lines, output_lines = lines[at:at + latches], lines[at + latches:at + latches + outputs]
    at += latches + outputs
    constant = {}
    for line in lines[at + ands:]:
        if found := re.match(rf"i(\d+) {SELECT}\[(\d+)\]$", line):
            constant[int(lines[1 + int(found[1])])] = number >> int(found[2]) & 1
    assert len(constant) == SELECT_BITS

    def value(literal):
        literal = int(literal)
        return constant[literal & ~1] ^ (literal & 1) if literal & ~1 in constant else literal

    data = bytearray(f"aig {variables} {inputs} {latches} {outputs} {ands}\n".encode())
    data += "".join(f"{value(line.split()[1])}\n" for line in latch_lines).encode()
    data += "".join(f"{value(line)}\n" for line in output_lines).encode()
    for line in lines[at:at + ands]:
        left, *right = line.split()
        high, low = sorted(map(value, right), reverse=True)
        for delta in (int(left) - high, high - low):
            while delta > 0x7F:
                data.append(delta & 0x7F | 0x80)
                delta >>= 7
            data.append(delta)
    return bytes(data)


def equivalent(folder, numbers, limit=20):
    """Those of the mutants that are proved to be the same as the design, for any input in any cycle from power-up on.

    Parameters
    ----------
    folder : where `mutate_netlist.mutate` left the mutants
    numbers : of mutants
    limit : seconds of ABC's PDR a mutant

    Returns
    -------
    dict of number to "equivalent", "different", or "unknown" (also for all, where Debian's berkeley-abc is missing)
    """
    verdicts = dict.fromkeys(numbers, "unknown")
    if not numbers or shutil.which(ABC) is None:
        return verdicts
    ports = json.loads((folder / "cells.json").read_text())["modules"]["top"]["ports"]
    (folder / "miter.v").write_text(_miter(ports))
    yosys(folder, ["read_rtlil mutants.il", "setattr -unset init", "chformal -remove", "read_verilog miter.v",
                   "hierarchy -top miter", "flatten", "opt -purge", "memory -nordff", "opt -purge", "dffunmap",
                   "techmap", "dffunmap", "zinit -all", "setundef -undriven -zero", "aigmap", "clean -purge",
                   "write_aiger -ascii -symbols -zinit miter.aag"], "miter")
    text = (folder / "miter.aag").read_text()
    for number in numbers:
        (folder / "miter.aig").write_bytes(_aiger(text, number))
        try:
            done = subprocess.run([ABC, "-c", f"read_aiger miter.aig; strash; scorr; pdr -T {limit}"], cwd=folder,
                                  capture_output=True, text=True, check=False, timeout=5 * limit)
        except subprocess.TimeoutExpired:
            continue
        (folder / f"miter-{number}.log").write_text(done.stdout)
        if re.search(r"Property proved|trivially UNSAT", done.stdout):
            verdicts[number] = "equivalent"
        elif re.search(r"was asserted in frame|trivially SAT", done.stdout):
            verdicts[number] = "different"
    return verdicts
