"""Verilator's toggle counts, by the Python line that made the signal."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

from cover.constants import file_of

__all__ = ["read"]

RTL = "/rtl/scoville/"
HELPERS = {"numerics/pipe.py"}  # make signals for the units that call them
POINT = re.compile(r"C '(.*)' (\d+)$")
SOURCE = re.compile(r'\(\* src = "([^"|]*?):(\d+)')
NAMED = re.compile(r"\$(\d|auto)")  # by Yosys, or a second name
ENCODED = re.compile(r"__0([0-9A-Fa-f]{2})")  # Verilator's, of a character that C++ does not take, and of a second _
SIGNAL = re.compile(r"([^\[:]*)(.*)(:.*)")  # name, place, edge; the place is a memory's row and bit, a bit, or nothing
DECLARATION = re.compile(r"^\s*(?:input|output|inout|reg|wire|logic)\b.*;")


@cache
def _lines(path):
    """Line of the Verilog to (file below rtl/scoville, Python line) of what is declared there; None for a library's.

    A port's shape may be a library's, and a register a helper's; they then count to the module's first line.
    """
    found, source, module = {}, None, None
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if match := SOURCE.search(line):
            file = match.group(1)
            source = (file.rpartition(RTL)[2], int(match.group(2))) if RTL in file else None
        elif line.startswith("module"):
            module = source
        if DECLARATION.match(line):
            found[number] = module and (source if source and source[0] not in HELPERS else module)
            source = None
    return found


@cache
def _constants(path):
    """(Signal with its path from the top on, place) of what is constant in this Verilog."""
    file = file_of(path)
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {(f"top.{name}", f"[{bit}]") for name, bits in found.items() for bit in bits}


def read(path):
    """The points of one run's coverage.dat: (their hits, those that are constant), by the same keys.

    A key is (file, Python line, signal, bit and direction); instances of a unit are one. Left out: what is in a
    library's module, and what Yosys named.
    """
    counter, constant = Counter(), set()
    for line in path.read_text(errors="replace", encoding="utf-8").splitlines():
        if not (match := POINT.match(line)):
            continue
        fields = dict(pair.split("\x02", 1) for pair in match.group(1).split("\x01") if "\x02" in pair)
        if not fields.get("page", "").startswith("v_toggle"):
            continue
        name, place, edge = SIGNAL.fullmatch(fields["o"]).groups()
        name = ENCODED.sub(lambda code: chr(int(code.group(1), 16)), name)
        source = _lines(fields["f"]).get(int(fields["l"]))
        if not source or NAMED.search(name):
            continue
        hits, never = int(match.group(2)), (f"{fields['h']}.{name}", place or "[0]") in _constants(fields["f"])
        if source[0] in HELPERS:  # a module of the helper itself, of which there are many kinds
            name = f"{fields['h'].rpartition('.')[2]}.{name}"
        key = (*source, name, place + edge)
        if never and not hits:
            constant.add(key)
        else:
            counter[key] += hits
    return counter, constant
