"""Verilator's toggle counts, by the Python line that made the signal."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

__all__ = ["read"]

RTL = "/rtl/scoville/"
POINT = re.compile(r"C '(.*)' (\d+)$")
SOURCE = re.compile(r'\(\* src = "([^"|]*?):(\d+)')
NAMED = re.compile(r"\$(\d|auto)")  # by Yosys, or a second name
DECLARATION = re.compile(r"^\s*(?:input|output|inout|reg|wire|logic)\b.*;")


@cache
def _lines(path):
    """Line of the Verilog to (file below rtl/scoville, Python line) of what is declared there; None for a library's.

    A port's shape may be a library's; it then counts to the module's first line.
    """
    found, source, module = {}, None, None
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if match := SOURCE.search(line):
            file = match.group(1)
            source = (file.rpartition(RTL)[2], int(match.group(2))) if RTL in file else None
        elif line.startswith("module"):
            module = source
        if DECLARATION.match(line):
            found[number] = module and (source or module)
            source = None
    return found


def read(path):
    """Counter of (file, Python line, signal, bit and direction), of the points of one run's coverage.dat.

    Instances of a unit are one. Left out: what is in a library's module, and what Yosys named.
    """
    counter = Counter()
    for line in path.read_text(errors="replace").splitlines():
        if not (match := POINT.match(line)):
            continue
        fields = dict(pair.split("\x02", 1) for pair in match.group(1).split("\x01") if "\x02" in pair)
        if not fields.get("page", "").startswith("v_toggle"):
            continue
        text = fields["o"].replace("___05F", "__").replace("__024", "$")
        name, bit = re.match(r"([^\[:]*)(.*)", text).groups()
        source = _lines(fields["f"]).get(int(fields["l"]))
        if source and not NAMED.search(name):
            counter[(*source, name, bit)] += int(match.group(2))
    return counter
