"""Exact cycle counts of a fixed table of workloads against a stored baseline: ``python -m scoville_host.benchmark``."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import generate
from .files import write_json
from .session import open_session

__all__ = ["WORKLOADS", "main", "run"]

BASELINE = Path(__file__).resolve().parents[2] / "benchmarks" / "baseline.json"
GROWTH = 1.005  # a count that grows by more than this fails

WORKLOADS = {
    "tiny/nano, context 64": {"model": "tiny", "config": "nano", "prompt_tokens": 56, "decode_tokens": 16},
    "tiny/nano, prompt 16": {"model": "tiny", "config": "nano", "prompt_tokens": 16, "decode_tokens": 4},
}


def run(workload, report):
    """One row: the numbers of `scoville bench` for a workload."""
    session = open_session(workload["model"], workload["config"], report=report, text=False)
    return generate.bench(session, workload["prompt_tokens"], workload["decode_tokens"], backend="rtl", batch=1,
                          memory=None, check=True, report=report)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true", help="make these counts the baseline")
    save = parser.parse_args().save
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    table = Table("workload", "prefill", "cycles a token", "baseline", "bus", "multipliers")
    found, grown = {}, []
    for name, workload in WORKLOADS.items():
        result = run(workload, lambda line: print(line, file=sys.stderr))
        found[name] = {"cycles": result["cycles"], "prefill_cycles": result["prefill_cycles"],
                       "cycles_per_token": result["cycles_per_token"]}
        before = baseline.get(name, {}).get("cycles_per_token")
        if baseline and (before is None or any(found[name][key] > GROWTH * baseline[name][key] for key in found[name])):
            grown.append(name)
        table.add_row(name, f"{result['prefill_cycles']:,}", f"{result['cycles_per_token']:,.0f}",
                      f"{before:,.0f}" if before else "none", f"{result['bus_utilisation']:.1%}",
                      f"{result['mac_utilisation']:.1%}")
    Console().print(table)
    if save:
        write_json(BASELINE, found)
    elif grown:
        print(f"more cycles than the baseline allows: {', '.join(grown)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
