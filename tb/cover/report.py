"""Merges what the runs left, leaves out what is excluded, and judges: ``python -m cover.report``, in tb/."""

import argparse
import json
import re
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

from cover import observe, toggle

__all__ = ["Exclusions", "judge", "main", "merge"]

BUILD = Path(__file__).resolve().parents[2] / "build" / "coverage"
EXCLUDED = Path(__file__).with_name("excluded.toml")
FUNCTIONAL, TOGGLE = 100, 90  # percent, of every block


class Exclusions:
    """What does not count: `points` and `toggles`, each an entry of patterns with its `reason`.

    Raises
    ------
    ValueError
        If an entry has no reason.
    """

    def __init__(self, path=EXCLUDED):
        self.entries = tomllib.loads(path.read_text(encoding="utf-8"))
        for entry in self.entries.get("point", []) + self.entries.get("toggle", []):
            if not entry.get("reason"):
                raise ValueError(f"{path.name}: {entry} has no reason")
        self.used = Counter()

    def _matches(self, kind, keys):
        for number, entry in enumerate(self.entries.get(kind, [])):
            if all(re.fullmatch(entry.get(key, ".*"), value) for key, value in keys.items()):
                self.used[kind, number] += 1
                return True
        return False

    def point(self, name, label):
        """Whether this bin is left out."""
        return self._matches("point", {"name": name, "bin": label})

    def toggle(self, file, signal, bit):
        """Whether this bit is left out."""
        return self._matches("toggle", {"file": file, "signal": signal, "bit": bit})

    def idle(self):
        """Entries that left nothing out: they are out of date."""
        return [entry for kind in ("point", "toggle") for number, entry in enumerate(self.entries.get(kind, []))
                if not self.used[kind, number]]


def merge(folder):
    """(stream or point to bin to hits, toggles, constant bits) of all runs below a folder."""
    bins, toggles, constant = defaultdict(Counter), Counter(), set()
    for path in sorted(folder.rglob("cover.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        for name, states in run["streams"].items():
            bins["streams"].update({f"{name} {state}": hits for state, hits in states.items()})
        for name, hits in run["points"].items():
            bins[name].update(hits)
    for path in sorted(folder.rglob("coverage.dat")):
        counted, never = toggle.read(path)
        toggles.update(counted)
        constant |= never
    return bins, toggles, constant - toggles.keys()


def judge(bins, toggles, exclusions):
    """Block to its figures and what is missing.

    Parameters
    ----------
    bins : point to bin to hits; the block is the name's first part
    toggles : (file below rtl/scoville, line, signal, bit) to hits; the block is the file's folder
    """
    blocks = defaultdict(lambda: {"bins": 0, "bins_hit": 0, "missed": [], "toggles": 0, "toggles_hit": 0,
                                  "excluded": 0, "quiet": Counter()})
    for name, counts in bins.items():
        for label, hits in counts.items():
            block = blocks[name.partition(".")[0]]
            if not hits and exclusions.point(name, label):
                block["excluded"] += 1
                continue
            block["bins"] += 1
            block["bins_hit"] += hits > 0
            if not hits:
                block["missed"].append(f"{name} {label}")
    for (file, line, signal, bit), hits in toggles.items():
        block = blocks[file.partition("/")[0] if "/" in file else "chip"]
        if not hits and exclusions.toggle(file, signal, bit):
            block["excluded"] += 1
            continue
        block["toggles"] += 1
        block["toggles_hit"] += hits > 0
        if not hits:
            block["quiet"][f"{file}:{line} {signal}"] += 1
    return dict(sorted(blocks.items()))


def percent(hit, of):
    return 100 * hit / of if of else 100.0


def failures(blocks, exclusions):
    """What is below its bar, a line each."""
    wrong = []
    for name, block in blocks.items():
        wrong += [f"{name}: never seen: {missed}" for missed in block["missed"]]
        if percent(block["toggles_hit"], block["toggles"]) < TOGGLE:
            wrong.append(f"{name}: {percent(block['toggles_hit'], block['toggles']):.1f} % of the bits toggle, "
                         f"{TOGGLE} % must")
    return wrong + [f"an exclusion leaves nothing out: {entry}" for entry in exclusions.idle()]


def table(blocks):
    lines = [f"{'block':12}{'bins':>8}{'hit':>8}{'%':>8}{'toggles':>10}{'hit':>10}{'%':>8}{'excluded':>10}"]
    lines += [f"{name:12}{b['bins']:8}{b['bins_hit']:8}{percent(b['bins_hit'], b['bins']):8.1f}{b['toggles']:10}"
              f"{b['toggles_hit']:10}{percent(b['toggles_hit'], b['toggles']):8.1f}{b['excluded']:10}"
              for name, b in blocks.items()]
    return "\n".join([*lines, ""])


def summary(wrong, where):
    """What is wrong, in a line."""
    first = f"; the first: {wrong[0]}" if len(wrong) > 1 else f": {wrong[0]}"
    return f"coverage: {len(wrong)} of its bars missed{first}" + (f"; all are in {where}" if len(wrong) > 1 else "")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="cover.report", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=BUILD)
    parser.add_argument("--excluded", type=Path, default=EXCLUDED)
    options = parser.parse_args(arguments)
    folder = options.folder
    observe.blocks()
    bins, toggles, constant = merge(folder)
    if not bins:
        print(f"no run left anything in {folder}; run: make coverage", file=sys.stderr)
        return 2
    for name, counts in observe.counts().items():  # points that no run has sampled
        bins[name].update(dict.fromkeys(counts, 0))
    exclusions = Exclusions(options.excluded)
    blocks = judge(bins, toggles, exclusions)
    wrong = failures(blocks, exclusions)
    text = table(blocks) + f"{len(constant)} more toggles are of constant bits\n"
    (folder / "report.txt").write_text(text + "".join(f"{line}\n" for line in wrong), encoding="utf-8")
    shown = {name: block | {"quiet": dict(block["quiet"].most_common())} for name, block in blocks.items()}
    (folder / "report.json").write_text(json.dumps({"blocks": shown, "failures": wrong}, indent=1) + "\n",
                                        encoding="utf-8")
    print(text, end="")
    if wrong:
        print(summary(wrong, folder / "report.txt"), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
