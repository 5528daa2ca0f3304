"""``python -m formal``: proves, shows progress, and leaves a table in build/formal/."""

import argparse
import json
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed

from amaranth.hdl import UnusedElaboratable
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from formal.engines import BUILD, prove
from formal.proofs import find

__all__ = ["main", "table"]


def table(outcomes):
    """The report as text, a line a proof."""
    rows = [("proof", "engine", "for", "s", "planted fault, found", "property")]
    rows += [(it.name, it.engine, it.reach if it.stands else "NOT PROVED", f"{it.seconds:.0f}", it.fault, it.says)
             for it in outcomes]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="formal", description=__doc__)
    parser.add_argument("-k", default="", help="proofs whose name has this text")
    parser.add_argument("--quick", action="store_true", help="those that `make test` runs")
    parser.add_argument("--jobs", type=int, default=2, help="proofs at a time")
    options = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    warnings.simplefilter("ignore", UnusedElaboratable)  # of designs that are only looked at
    with console.status("reading the designs"):
        proofs = find(options.k, quick=options.quick)
    if not proofs:
        console.print(f"no proof has {options.k!r} in its name")
        return 2
    outcomes = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(options.jobs) as pool:
        task = progress.add_task("proofs", total=len(proofs))
        for future in as_completed([pool.submit(prove, proof) for proof in proofs]):
            outcome = future.result()
            outcomes.append(outcome)
            progress.console.print(f"{'proved' if outcome.stands else 'FAILED'}  {outcome.name}  {outcome.seconds} s")
            for problem in outcome.problems:
                progress.console.print(problem, style="red", markup=False)
            progress.advance(task)
    outcomes.sort(key=lambda outcome: outcome.name)
    text = table(outcomes)
    (BUILD / "report.txt").write_text(text, encoding="utf-8")
    rows = [outcome.as_dict() for outcome in outcomes]
    (BUILD / "report.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(text, end="")
    failed = [outcome.name for outcome in outcomes if not outcome.stands]
    if failed:
        console.print(f"{len(failed)} of {len(outcomes)} failed: {', '.join(failed)}", style="red")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
