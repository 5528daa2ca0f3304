"""Exact cycle counts of a fixed table of workloads against a stored baseline.

``python -m scoville_host.report.benchmark``
"""

import argparse
import json
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..errors import ChipError, RequestError
from ..files import write_json
from ..predict.predict import predict_image
from ..runtime import generate
from ..runtime.session import open_session
from ..streams import as_program

__all__ = ["ROWS", "Row", "chosen_rows", "grown", "main", "run"]

ROOT = Path(__file__).resolve().parents[3]
BASELINE = ROOT / "benchmarks" / "baseline.json"
RESULTS = Path("build") / "bench"
GROWTH = 5  # thousandths: a count that grows by more fails
COUNTS = ("cycles", "prefill_cycles", "cycles_per_token")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One workload, what it is judged by, and what it has to reach.

    Parameters
    ----------
    model, config, weights, context : as for `open_session`
    prompt_tokens, decode_tokens, position, memory : as for `generate.bench`
    metric : key of the result; above the `bar` is better, but for cycles. A bar that is missed does not fail.
    long : takes minutes; only with ``--all``
    """

    name: str
    model: str
    config: str
    prompt_tokens: int
    decode_tokens: int
    position: int = 0
    weights: str | None = None
    context: int | None = None
    memory: str | None = None
    metric: str = "bus_utilisation"
    bar: float | None = None
    long: bool = False

    @property
    def slug(self):
        """The name as a file name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def reached(self, value):
        """Whether a value of the metric is as good as the bar; None if there is no bar."""
        if self.bar is None or value is None:
            return None
        return value <= self.bar if self.metric == "cycles_per_token" else value >= self.bar


def _tiny(config, bar=None, metric="bus_utilisation", **options):
    return [
        Row(name=f"tiny/{config}, context 64", model="tiny", config=config, prompt_tokens=56, decode_tokens=16,
            bar=bar, metric=metric, **options),
        Row(name=f"tiny/{config}, prompt 64", model="tiny", config=config, prompt_tokens=64, decode_tokens=1,
            metric="mac_utilisation", **options),
    ]


def _smollm2(what, **options):
    return Row(name=f"smollm2/kria, {what}", model="smollm2", config="kria", long=True, **options)


def _decode(context, what="", bar=0.98, **options):
    """A token at a context, behind one that is not counted; the positions before were filled, not computed."""
    return _smollm2(f"{what}context {context:,}", position=context - 1, prompt_tokens=1, decode_tokens=2,
                    context=context + 32, metric=options.pop("metric", "decode_bus_utilisation"), bar=bar, **options)


ROWS = (
    *_tiny("nano", bar=0.90),
    *_tiny("kria"),
    *_tiny("duo"),
    *_tiny("ulx3s", memory="sdram", metric="utilisation_of_memory", bar=0.90),  # the boards, each with its memory
    *_tiny("ulx3s_bram", memory="block_ram", weights="mxfp4", context=128),
    *_tiny("tangnano20k", memory="sdram32"),
    _decode(64),
    _decode(1024, bar=0.97),
    _decode(4096, bar=0.97),
    _decode(64, "MXINT8, ", weights="mxint8"),
    _decode(64, "ddr4, ", memory="ddr4", metric="utilisation_of_memory", bar=0.97),
    _decode(64, "hbm, ", memory="hbm", metric="utilisation_of_memory", bar=0.97),
    _smollm2("prompt 512", prompt_tokens=512, decode_tokens=1, metric="prefill_mac_utilisation", bar=0.95),
    _smollm2("prompt 2,048", prompt_tokens=2048, decode_tokens=1, metric="prefill_mac_utilisation", bar=0.93),
)


def chosen_rows(pattern=None, everything=False):
    """The rows whose name has `pattern` in it; without one, those that take seconds, or with `everything`, all.

    Raises
    ------
    RequestError
        If there are none.
    """
    found = [row for row in ROWS if (pattern in row.name if pattern else everything or not row.long)]
    if not found:
        raise RequestError(f"no row has {pattern!r} in its name; there are: {'; '.join(row.name for row in ROWS)}")
    return found


def run(row, folder=RESULTS, report=lambda line: None):
    """One row: the numbers of `scoville bench`, also written to `folder` with a trace of the last token."""
    session = open_session(row.model, row.config, weights=row.weights, context=row.context, report=report, text=False)
    trace = folder / f"{row.slug}.trace.json"
    found = generate.bench(session, row.prompt_tokens, row.decode_tokens, backend="rtl", memory=row.memory,
                           position=row.position, check=not row.long, trace=trace, report=report)
    if found["golden_match"] is False:
        raise ChipError(f"{row.name}: tokens or logits differ from the golden model's")
    found |= prediction(row, session.image, found)
    found = {"row": asdict(row) | {"reached": row.reached(found[row.metric])}} | found | {"trace": trace.name}
    write_json(folder / f"{row.slug}.json", found)
    return found


def prediction(row, image, found):
    """What the analytical model says: `predicted` (the counts) and `prediction_error`, the largest relative one."""
    cycles = predict_image(image, row.prompt_tokens, row.decode_tokens, position=row.position,
                           memory=row.memory)
    made = max(row.decode_tokens - 1, 1)
    decode = cycles.cycles - cycles.prefill if row.decode_tokens > 1 else cycles.cycles
    predicted = dict(zip(COUNTS, (cycles.cycles, cycles.prefill, decode / made), strict=True))
    return {"predicted": predicted,
            "prediction_error": max((predicted[key] / found[key] - 1 for key in COUNTS), key=abs)}


def grown(found, before):
    """The counts of a result that are larger than the baseline's allow, as text."""
    return [f"{key} {before[key]:,.0f} -> {found[key]:,.0f}" for key in COUNTS
            if key in before and 1000 * found[key] > (1000 + GROWTH) * before[key]]


def _table(rows, results, baseline):
    table = Table("workload", "prefill", "cycles a token", "baseline", "bus", "multipliers", "bar", "predicted",
                  "longest stalls")
    for row in rows:
        found = results[row.name]
        before = baseline.get(row.name, {}).get("cycles_per_token")
        stalls = sorted(found["stalls"].items(), key=lambda item: -item[1])[:3]
        value, judged = found[row.metric], ""
        if (reached := row.reached(value)) is not None:
            judged = f"{value:,.3f} {row.metric}, bar {row.bar:,}: {'reached' if reached else 'missed'}"
        table.add_row(row.name, f"{found['prefill_cycles']:,}", f"{found['cycles_per_token']:,.0f}",
                      f"{before:,.0f}" if before else "none", f"{found['bus_utilisation']:.1%}",
                      f"{found['mac_utilisation']:.1%}", judged,
                      f"{found['prediction_error']:+.2%}",
                      ", ".join(f"{name} {count / found['cycles']:.1%}" for name, count in stalls))
    return table


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    parser.add_argument("--all", action="store_true", help="the rows that take minutes, too")
    parser.add_argument("--rows", metavar="TEXT", help="only the rows with this in their names")
    parser.add_argument("--save", action="store_true", help="make these counts the baseline of these rows")
    options = parser.parse_args(arguments)
    baseline = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
    try:
        rows = chosen_rows(options.rows, options.all)
        results = {row.name: run(row, report=lambda line: print(line, file=sys.stderr)) for row in rows}
    except RequestError as error:
        print(f"benchmark: error: {error}", file=sys.stderr)
        return 2
    except ChipError as error:
        print(f"benchmark: failed: {error}", file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else 160).print(_table(rows, results, baseline))
    if options.save:
        counts = {name: {key: found[key] for key in COUNTS} for name, found in results.items()}
        kept = baseline | counts
        write_json(BASELINE, {row.name: kept[row.name] for row in ROWS if row.name in kept})
        return 0
    worse = [f"{name}: {', '.join(growth)}" for name, found in results.items()
             if (growth := grown(found, baseline.get(name, {})))]
    if new := [name for name in results if name not in baseline]:
        print(f"without a baseline (--save makes one): {'; '.join(new)}", file=sys.stderr)
    if worse:
        print(f"more cycles than the baseline allows: {'; '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    as_program(main, "benchmark")
