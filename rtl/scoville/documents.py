"""Writes the generated pages of docs/, or checks that they are fresh: ``python -m scoville.documents [--check]``.

Either way the links of the test plan are checked.
"""

import argparse
import json
import sys
from pathlib import Path

from scoville import isa, registers, testplan
from scoville.config import CONFIGS
from scoville.control import rules
from scoville.schedule import records

__all__ = ["main", "pages"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
MUTATION = DOCS.parent / "benchmarks" / "mutation.json"
RECORD_MARKERS = ("<!-- Made from rtl/scoville/schedule/records.py; do not edit. -->", "<!-- End of the records. -->")
MUTATION_MARKERS = ("<!-- Made from benchmarks/mutation.json; do not edit. -->", "<!-- End of the mutation scores. -->")


def instructions():
    """The instruction set as a Markdown page."""
    lines = ["# Instructions", "", "Made from `rtl/scoville/isa.py`; do not edit.", "",
             f"An instruction is {isa.INSTRUCTION_BYTES} bytes, little-endian. One of which a rule does not hold ends "
             "the sequence, before it has any effect, with ILLEGAL_INSTRUCTION or the status that the rule names."]
    for opcode, fields in isa.FIELDS.items():
        lines += ["", f"## {opcode.value} {opcode.name}", "", "| bits | field |", "|---|---|"]
        lines += [f"| {lsb + width - 1}:{lsb} | {name} |"
                  for name, (lsb, width) in sorted(fields.items(), key=lambda item: item[1])]
        lines += ["", "Carried out if:", "", *rules.markdown(opcode)]
    for kind in (isa.LoadDest, isa.Element, isa.ScaleFormat, isa.Mode, isa.Dest):
        lines += ["", f"## Values of {kind.__name__}", "", "| value | name |", "|---|---|"]
        lines += [f"| {member.value} | {member.name} |" for member in kind]
    return "\n".join([*lines, ""])


def configurations():
    """The named configurations as a Markdown page."""
    names = ("bus_bytes", "rows", "lanes", "phases", "dot_width", "act_bits", "multipliers", "max_hidden",
             "operand_blocks", "max_head_blocks", "stream_beats", "slots", "cache_groups", "pool_pages",
             "slot_pages", "k_quants")
    lines = ["# Configurations", "", "Made from `rtl/scoville/config.py`; do not edit.", "",
             "| name | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {config.name} | " + " | ".join(str(getattr(config, name)) for name in names) + " |"
              for config in CONFIGS.values()]
    return "\n".join([*lines, ""])


def mutation():
    """The scores that ``make mutate STORE=1`` has kept, as a Markdown table."""
    columns = ("mutants", "killed", "equivalent", "excused", "survived")
    lines = ["| unit | " + " | ".join(columns) + " | score, % |", "|---" * (len(columns) + 2) + "|"]
    lines += [f"| {unit} | " + " | ".join(str(row[column]) for column in columns) + f" | {row['score']} |"
              for unit, row in json.loads(MUTATION.read_text(encoding="utf-8")).items()]
    return "\n".join(["", *lines, ""])


def _between(text, begin, end, inserted):
    """Text with what is between two markers replaced."""
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{inserted}\n{end}{after}"


def verification():
    """The chapter with its tables of the test plan and of mutation."""
    text = (DOCS / "verification.md").read_text(encoding="utf-8")
    text = _between(text, testplan.BEGIN, testplan.END, testplan.markdown())
    return _between(text, *MUTATION_MARKERS, mutation())


def schedule():
    """The chapter with its tables of the records."""
    text = (DOCS / "schedule.md").read_text(encoding="utf-8")
    return _between(text, *RECORD_MARKERS, "\n" + records.markdown() + "\n")


def pages():
    """File name to text, for every generated page."""
    return {"registers.md": registers.markdown(), "instructions.md": instructions(),
            "configurations.md": configurations(), "verification.md": verification(),
            "schedule.md": schedule()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is stale")
    check = parser.parse_args().check
    if wrong := testplan.check():
        print("\n".join(wrong), file=sys.stderr)
        return 1
    stale = [name for name, text in pages().items()
             if not (DOCS / name).exists() or (DOCS / name).read_text(encoding="utf-8") != text]
    if check and stale:
        print(f"stale: {', '.join('docs/' + name for name in stale)}; run: make docs", file=sys.stderr)
        return 1
    for name in stale:
        (DOCS / name).write_text(pages()[name], encoding="utf-8")
        print(f"wrote docs/{name}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
