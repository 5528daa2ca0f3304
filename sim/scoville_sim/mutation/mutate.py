"""Mutation testing: `make mutate [UNIT=…] [N=…] [SEED=…]`, faults planted in a unit's netlist, its testbench the judge.

A unit is a file of rtl/scoville; its mutants change cells that this file's lines made, and nothing else.
"""

import argparse
import fnmatch
import importlib
import json
import sys
import tomllib
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scoville_host.files import write_text
from scoville_host.streams import as_program

from scoville_sim.mutation import netlist
from scoville_sim.mutation.equivalence import equivalent

__all__ = ["BAR", "excuses", "main", "measure", "score", "units"]

ROOT = Path(__file__).resolve().parents[3]
RTL, TB = ROOT / "rtl" / "scoville", ROOT / "tb"
BUILD = ROOT / "build" / "mutation"
RULES = TB / "mutation.toml"
STORE = ROOT / "benchmarks" / "mutation.json"
BAR = 95.0  # per cent
KILLED = ("failed", "crashed", "hung")
COLUMNS = ("mutants", "killed", "equivalent", "excused", "survived")


def units():
    """Name ("memory/writer") to the paths of the testbenches that judge it, of every unit that has one.

    That is the test of the same name, or what `judges` in tb/mutation.toml says.
    """
    judges = tomllib.loads(RULES.read_text(encoding="utf-8"))["judges"]
    found = {}
    for path in sorted(RTL.rglob("*.py")):
        name = path.relative_to(RTL).with_suffix("").as_posix()
        own = TB / Path(name).parent / f"test_{path.stem}.py"
        tests = [TB / test for test in judges.get(name, [])] or [own]
        if all(test.exists() for test in tests):
            found[name] = tests
    return found


def excuses():
    """Mutants that may survive, each with its reason: dicts of tb/mutation.toml.

    Raises
    ------
    ValueError : the line that one is about is not in its unit any more
    """
    found = tomllib.loads(RULES.read_text(encoding="utf-8")).get("excuse", [])
    for excuse in found:
        lines = [line.strip() for line in (RTL / f"{excuse['unit']}.py").read_text(encoding="utf-8").splitlines()]
        if excuse["source"] not in lines:
            raise ValueError(f"{RULES.name}: {excuse['unit']}.py has no line {excuse['source']!r}")
    return found


def _excused(mutant, unit, known):
    """The reason why a mutant may survive, or None."""
    file, line = mutant.line.split(":")
    source = (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1].strip()
    return next((excuse["reason"] for excuse in known if excuse["unit"] == unit and excuse["source"] == source
                 and fnmatch.fnmatchcase(mutant.what, excuse["mutant"].replace("[", "[[]"))), None)


def _split(total, sizes):
    """`total` in parts as large as `sizes` are to each other, the first the largest remainder."""
    parts = [total * size // sum(sizes) for size in sizes]
    parts[0] += total - sum(parts)
    return parts


def measure(unit, tests, count=100, seed=1, *, jobs=2, folder=None, enough=None, limit=20,
            progress=lambda done, total: None):
    """Plant mutants in a unit and let its testbench judge them.

    Parameters
    ----------
    unit : from `units`
    tests : pytest files, or node ids
    count : mutants; fewer if there are not so many
    seed : of their choice
    jobs : processes at a time
    folder : for what is made; by default of the unit's name, under build/mutation
    enough : per cent; where so many are killed, no survivor is tried to be proved equivalent
    limit : seconds of the last step of a proof, as for `equivalent`
    progress : called with the mutants that are judged and all of them

    Returns
    -------
    list of dict: a mutant each, with `line`, `what`, and `verdict`: "failed", "crashed", "hung", "equivalent",
        "excused" (with `reason`) or "survived"; empty where no line of the unit makes a cell

    Raises
    ------
    RuntimeError : the tests do not pass without a mutant
    """
    mutation = importlib.import_module("mutation")  # of tb/
    known, file = excuses(), f"rtl/scoville/{unit}.py"
    folder = folder or BUILD / unit
    runs = mutation.record(tests, folder / "record")
    # A line is mutated in the first netlist that has it.
    seen, chosen = set(), {}
    for key in dict.fromkeys(run["netlist"] for run in runs):
        netlist.elaborate((folder / "record" / f"{key}.il").read_text(encoding="utf-8"), folder / key)
        cells = {name: place for name, place in netlist.candidates(folder / key, file).items() if place[1] not in seen}
        seen |= {line for _, line in cells.values()}
        if cells:
            chosen[key] = cells
    if not chosen:
        return []
    parts = _split(count, [len(cells) for cells in chosen.values()])
    planted = {key: netlist.mutate(folder / key, cells, part, seed)
               for (key, cells), part in zip(chosen.items(), parts, strict=True) if part}
    total, judged, found, rows = sum(len(mutants) for mutants, _ in planted.values()), 0, {}, []
    for key, (mutants, verilog) in planted.items():
        found[key] = verdicts = dict.fromkeys((mutant.number for mutant in mutants), "survived")
        for place, run in enumerate(runs):
            alive = {mutant.number: mutant.line for mutant in mutants if verdicts[mutant.number] == "survived"}
            if run["netlist"] == key and alive:
                verdicts.update(mutation.judge(run, verilog, alive, folder / f"run-{place}", jobs=jobs,
                                               progress=lambda done, base=judged: progress(base + done, total)))
        judged += len(mutants)
    killed = sum(verdict in KILLED for verdicts in found.values() for verdict in verdicts.values())
    for key, (mutants, _) in planted.items():
        verdicts = found[key]
        alive = [mutant for mutant in mutants if verdicts[mutant.number] == "survived"]
        proofs = (equivalent(folder / key, alive, limit) if enough is None or 100 * killed < enough * total
                  else dict.fromkeys((mutant.number for mutant in alive), "not tried"))
        for mutant in mutants:
            row = mutant.as_dict() | {"what": mutant.what, "netlist": key, "verdict": verdicts[mutant.number]}
            if row["verdict"] == "survived":
                row["proof"] = proofs[mutant.number]
                if row["proof"] == "equivalent":
                    row["verdict"] = "equivalent"
                elif reason := _excused(mutant, unit, known):
                    row |= {"verdict": "excused", "reason": reason}
            rows.append(row)
    return rows


def score(rows):
    """Counts of `COLUMNS`, and `score`: per cent killed of those not proved equivalent (an excuse kills nothing)."""
    verdicts = Counter(row["verdict"] for row in rows)
    counts = {"mutants": len(rows), "killed": sum(verdicts[verdict] for verdict in KILLED)}
    counts |= {verdict: verdicts[verdict] for verdict in COLUMNS[2:]}
    real = counts["mutants"] - counts["equivalent"]
    return counts | {"score": round(100 * counts["killed"] / real, 1) if real else 100.0}


def _report(console, results):
    table = Table("unit", *COLUMNS, "score", title="mutation")
    for unit, rows in results.items():
        counts = score(rows)
        table.add_row(unit, *(str(counts[column]) for column in COLUMNS), f"{counts['score']:.1f} %",
                      style="red" if counts["score"] < BAR else None)
    console.print(table)
    for unit, rows in results.items():
        lines = (RTL / f"{unit}.py").read_text(encoding="utf-8").splitlines()
        alive = [(int(row["line"].partition(":")[2]), row) for row in rows if row["verdict"] == "survived"]
        for line, row in sorted(alive, key=lambda item: item[0]):
            console.print(f"{row['line']}: {row['what']} survives ({row['proof']}): {lines[line - 1].strip()}",
                          markup=False, soft_wrap=True)


def _store(results, count, seed):
    kept = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    kept |= {unit: score(rows) | {"n": count, "seed": seed} for unit, rows in results.items()}
    rows = ",\n".join(f" {json.dumps(unit)}: {json.dumps(row)}" for unit, row in sorted(kept.items()))
    write_text(STORE, f"{{\n{rows}\n}}\n")


def main():
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__)
    parser.add_argument("--unit", default="*", help="pattern of units, such as queue, 'memory/*' (all)")
    parser.add_argument("--count", type=int, default=100, help="mutants a unit (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of their choice (%(default)s)")
    parser.add_argument("--bar", type=float, default=BAR, help="exit 1 where a unit is below it (%(default)s %%)")
    parser.add_argument("--enough", type=float, help="try no proofs for a unit that has this score without them (%%)")
    parser.add_argument("--limit", type=int, default=20, help="seconds of the last step of a proof (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (%(default)s)")
    parser.add_argument("--store", action="store_true", help=f"keep the scores in {STORE.relative_to(ROOT)}")
    parser.add_argument("--list", action="store_true", help="print units and their testbenches only")
    options = parser.parse_args()
    sys.path.insert(0, str(TB))
    console = Console()
    chosen = {name: tests for name, tests in units().items()
              if fnmatch.fnmatchcase(name, options.unit) or fnmatch.fnmatchcase(name.rpartition("/")[2], options.unit)}
    if not chosen:
        parser.error(f"no unit {options.unit!r} with a testbench; --list names them")
    if options.list:
        for name, tests in chosen.items():
            console.print(f"{name}: {', '.join(str(test.relative_to(ROOT)) for test in tests)}", highlight=False)
        return 0
    results, broken = {}, []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        for name, tests in chosen.items():
            bar.update(task, description=name, completed=0, total=options.count)
            try:
                rows = measure(name, tests, options.count, options.seed, jobs=options.jobs, enough=options.enough,
                               limit=options.limit,
                               progress=lambda done, total: bar.update(task, completed=done, total=total))
            except RuntimeError as error:
                broken.append(name)
                console.print(f"{name}: {error}", markup=False, highlight=False)
                continue
            if not rows:
                console.print(f"{name}: no line of it makes a cell in what its testbench runs", highlight=False)
                continue
            results[name] = rows
            found = {"unit": name, "n": options.count, "seed": options.seed, **score(rows), "rows": rows}
            (BUILD / name / "result.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    _report(console, results)
    if options.store:
        _store(results, options.count, options.seed)
    return int(bool(broken) or any(score(rows)["score"] < options.bar for rows in results.values()))


if __name__ == "__main__":
    as_program(main, "mutate")
