"""The plots of ``make report``, as SVG text. Needs matplotlib: ``pip install -e '.[report]'``."""

import io

import matplotlib
from matplotlib.figure import Figure
from scoville.config import get_config
from scoville.registers import STALLS

__all__ = ["kinds", "pool", "roofline", "stalls", "waits"]

matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scoville", "font.family": "sans-serif",
                            "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})

# A hue for each family of reasons, from dark to light.
FAMILIES = {
    "work": ("work", ["#2e7d32"]),
    "stream": (("memory", "kv_write", "page_lookup", "vector", "header", "bus", "decoder"),
               ["#0d3c61", "#135a91", "#1a78c2", "#4a96d3", "#7bb3e0", "#a6cdeb", "#cfe4f5"]),
    "drain": (("drain_kv", "drain_quantiser", "drain_logits", "drain_rms", "drain_norm", "drain_chain"),
              ["#7a3e00", "#a65500", "#d16c00", "#f08a24", "#f6ad65", "#fbd3ab"]),
    "softmax": (("softmax",), ["#6a1b9a"]),
    "dependency": (("dependency_linear", "dependency_kv", "dependency_attend", "dependency_logits",
                    "dependency_load", "operands"), ["#8e0000", "#b71c1c", "#d84343", "#e57373", "#f2b0b0", "#f8d4d4"]),
    "pass": (("pass_end", "prompt", "sampling", "fetch", "command", "idle"),
             ["#263238", "#455a64", "#607d8b", "#90a4ae", "#b0bec5", "#cfd8dc"]),
}
COLOURS = {"work": "#2e7d32"} | {name: colour for names, colours in FAMILIES.values() if names != "work"
                                for name, colour in zip(names, colours, strict=True)}
PAGES = {"running": "#2e7d32", "shared": "#1a78c2", "parked": "#f6ad65", "free": "#eceff1"}
SHOWN = 0.001  # share of the cycles below which a reason has no colour of its own
assert set(STALLS) <= set(COLOURS)


def _svg(figure):
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg"):]


def _stacked(bars, unit):
    """Horizontal bars of {reason: number}; `bars` is a dict of label to that."""
    figure = Figure(figsize=(9, 0.8 + 0.36 * len(bars)))
    axes = figure.subplots()
    totals = {label: sum(parts.values()) for label, parts in bars.items()}
    largest = max(totals.values())
    shown = [name for name in COLOURS if any(parts.get(name, 0) > SHOWN * largest for parts in bars.values())]
    left = dict.fromkeys(bars, 0.0)
    for name in [*shown, "other"]:
        widths = [parts.get(name, 0) if name != "other" else totals[label] - sum(parts.get(each, 0) for each in shown)
                  for label, parts in bars.items()]
        if max(widths) > 0:
            axes.barh(list(bars), widths, left=list(left.values()), color=COLOURS.get(name, "#000000"), label=name,
                      height=0.7)
        left = {label: at + width for (label, at), width in zip(left.items(), widths, strict=True)}
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_xlim(0, largest)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return _svg(figure)


def stalls(results):
    """What the cycles of each workload were spent on, as shares.

    Parameters
    ----------
    results : dict of name to the JSON of `scoville bench`
    """
    return _stacked({name: {reason: count / found["cycles"] for reason, count in
                            ({"work": found["work_cycles"]} | found["stalls"]).items()}
                     for name, found in results.items()}, "share of all cycles, prompt included")


def kinds(by_kind):
    """What the cycles of the last token were spent on, by kind of matrix; `by_kind` is that of a trace."""
    return _stacked({f"{name} ({kind['count']})": {"work": kind["work"]} | kind["stalls"]
                     for name, kind in by_kind.items()}, "cycles of the last token, all layers together")


def roofline(name, results):
    """Multiply-adds a cycle against multiply-adds a byte, under the bus's and the multipliers' roofs.

    Parameters
    ----------
    name : of a configuration
    results : dict of name to the JSON of `scoville bench`, of that configuration
    """
    config = get_config(name)
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    points = []
    for row, found in results.items():
        if found["generated_tokens"] > 1:
            points.append((f"{row}: decode", found["macs_per_token"] / found["model_bytes_per_token"],
                           found["macs_per_token"] / found["cycles_per_token"], "o"))
        points.append((f"{row}: prompt", found["prefill_macs"] / found["prefill_model_bytes"],
                       found["prefill_macs"] / found["prefill_cycles"], "s"))
    knee = config.multipliers / config.bus_bytes
    low = min([knee, *(x for _, x, _, _ in points)]) / 2
    high = max([knee, *(x for _, x, _, _ in points)]) * 2
    axes.plot([low, knee, high], [low * config.bus_bytes, config.multipliers, config.multipliers], color="#333333",
              label=f"{config.bus_bytes} bytes a cycle; {config.multipliers} multipliers")
    for index, (label, x, y, marker) in enumerate(points):
        axes.plot([x], [y], marker, color=f"C{index % 10}", label=f"{label}: {y:.1f} a cycle")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("multiply-adds a byte of weights and KV")
    axes.set_ylabel("multiply-adds a cycle")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return _svg(figure)


def pool(found):
    """Who has the pages of the pool, pass by pass; `found` is the JSON of many sequences, from a chip that says so."""
    changes = found["pool"]
    figure = Figure(figsize=(9, 3))
    axes = figure.subplots()
    ends = [*changes["passes"], found["passes"]]  # of the last entry it ends with the run
    axes.stackplot(ends, [[*changes[name], *changes[name][-1:]] for name in PAGES], labels=list(PAGES),
                   colors=list(PAGES.values()), step="post")
    axes.set_xlim(0, found["passes"])
    axes.set_ylim(0, found["pool_pages"])
    axes.set_xlabel("passes")
    axes.set_ylabel("pages")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    return _svg(figure)


def waits(found):
    """Which share of the sequences had its first token, and of the tokens came behind another, after how long; `found`
    is the JSON of many sequences."""
    figure = Figure(figsize=(9, 2.6))
    sequences = found["sequences"]
    first = [each["first_token"] for each in sequences if each["first_token"] is not None]
    between = [gap for each in sequences for gap in each["between_tokens"]]
    for axes, what, values in zip(figure.subplots(1, 2), ("to the first token", "between tokens"), (first, between),
                                  strict=True):
        if values:
            axes.ecdf(values, color=PAGES["shared"])
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1)
        axes.set_xlabel(f"{found['unit']} {what}")
        axes.grid(alpha=0.3)
    return _svg(figure)
