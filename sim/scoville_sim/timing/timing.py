"""Area and clock of every unit alone: ``python -m scoville_sim.timing.timing --config nano [--unit PATTERN]``."""

import argparse
import fnmatch
import hashlib
import inspect
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scoville.config import CONFIGS, get_config
from scoville.vendor.ecp5_blocks import Ecp5Blocks
from scoville.verilog import emit_rtlil
from scoville_host.files import write_text
from scoville_host.streams import as_program

from scoville_sim.timing import flows as timing_flows
from scoville_sim.timing.units import UNITS, Registered

__all__ = ["main", "measure", "show"]

BARS = {"mhz": 90.0, "ghz": 1.0}
"""What every unit must reach: ECP5 -6 after routing, and ASAP7 typical after synthesis."""


def measure(config, unit, folder, flows, cells):
    """Run `flows` on a unit in `folder`; results are kept by the hash of its RTLIL and of the flow.

    Returns
    -------
    dict : one entry a flow, as `timing_flows.ecp5` and `timing_flows.asap7` return them
    """
    result = {}
    for flow in flows:
        text = emit_rtlil(Registered(UNITS[unit](config)), "top", Ecp5Blocks() if flow == "ecp5" else None)
        recipe = inspect.getsource(timing_flows.ecp5 if flow == "ecp5" else timing_flows.asap7)
        key = hashlib.sha256("\n".join([recipe, text]).encode()).hexdigest()[:24]
        kept = folder / "cache" / f"{key}.json"
        if not kept.exists():
            name = f"{config.name}-{unit}"
            (folder / f"{name}.il").write_text(text, encoding="utf-8")
            found = (timing_flows.ecp5(name, folder, BARS["mhz"]) if flow == "ecp5" else
                     timing_flows.asap7(name, folder, cells))
            clock = f"{found['mhz']} MHz" if flow == "ecp5" else f"{found['ghz']} GHz"
            print(f"{name}: {flow} {clock}, {' → '.join(found['path'])}", file=sys.stderr, flush=True)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found), encoding="utf-8")
        result[flow] = json.loads(kept.read_text(encoding="utf-8"))
    return result


def show(results):
    """Print one table, a row a unit; a figure under its bar is red."""
    table = Table(show_edge=False)
    for title in ("unit", "LUT", "FF", "DSP", "BRAM", "MHz", "ECP5 -6: worst path", "µm²", "cells", "SRAM bits", "GHz",
                  "ASAP7: worst path"):
        table.add_column(title, justify="left" if "path" in title or title == "unit" else "right",
                         overflow="fold")

    def figure(entry, key):
        value = entry.get(key, "")
        seed = f" (seed {entry['seed']})" if key == "mhz" and entry.get("seed", 1) > 1 else ""
        return f"[red]{value}[/]" if key in entry and value < BARS[key] else f"{value}{seed}"

    for unit, result in results.items():
        fpga, chip = result.get("ecp5", {}), result.get("asap7", {})
        sizes = [str(fpga.get(key, "")) for key in ("lut", "ff", "dsp", "bram")]
        areas = [str(chip.get(key, "")) for key in ("area", "cells", "sram_bits")]
        table.add_row(unit, *sizes, figure(fpga, "mhz"), " → ".join(fpga.get("path", [])),
                      *areas, figure(chip, "ghz"), " → ".join(chip.get("path", [])))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def store(path, config, results):
    """Update the committed summary with `results`."""
    summary = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    units = summary.setdefault(config, {})
    for unit, result in results.items():
        units.setdefault(unit, {}).update(result)
    summary[config] = {unit: units[unit] for unit in UNITS if unit in units}
    lines = json.dumps(dict(sorted(summary.items())), indent=1)
    write_text(path, lines + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="nano", choices=sorted(CONFIGS))
    parser.add_argument("--unit", default="*", help="units whose name matches, such as 'fp32*'; all by default")
    parser.add_argument("--flow", default=[], action="append", choices=["ecp5", "asap7"], help="both by default")
    parser.add_argument("--jobs", type=int, default=2, choices=[1, 2])
    parser.add_argument("--asap7", type=Path, help="folder of the ASAP7 libraries, *.lib.gz")
    parser.add_argument("--store", action="store_true", help="update benchmarks/timing.json")
    options = parser.parse_args()
    root = Path(__file__).resolve().parents[3]
    folder = root / "build" / "timing"
    flows = options.flow or ["ecp5", "asap7"]
    units = [unit for unit in UNITS if fnmatch.fnmatch(unit, options.unit)]
    libraries = options.asap7 or timing_flows.find_libraries(root)
    problem = timing_flows.tools_missing(flows)
    if not units:
        problem = f"no unit matches {options.unit!r}; there are: {', '.join(UNITS)}"
    elif "asap7" in flows and not (libraries and any(libraries.glob("*.lib.gz"))):
        problem = "the ASAP7 libraries (*.lib.gz) are missing; say where they are, --asap7 FOLDER, or --flow ecp5"
    if problem:
        print(problem, file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    cells = timing_flows.cell_files(libraries, folder) if "asap7" in flows else []
    config = get_config(options.config)
    # Elaboration holds the interpreter, the tools do not: threads are enough.
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = {unit: pool.submit(measure, config, unit, folder, flows, cells) for unit in units}
        results, failures = {}, {}
        for unit, job in jobs.items():
            try:
                results[unit] = job.result()
            except RuntimeError as error:
                failures[unit] = str(error)
                print(f"{unit}: {error}", file=sys.stderr)
    show(results)
    write_text(folder / "timing.json", json.dumps({options.config: results}, indent=1) + "\n")
    if options.store:
        store(root / "benchmarks" / "timing.json", options.config, results)
    return 1 if failures else 0


if __name__ == "__main__":
    as_program(main, "timing")
