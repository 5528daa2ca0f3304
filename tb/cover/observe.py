"""Functional coverage inside a simulation: every item of every stream of `harness.Bench`, and how the streams wait."""

import importlib
import json
import os
from functools import partial
from pathlib import Path

from cocotb import _shutdown
from cocotb_coverage.coverage import CoverCross, CoverPoint, coverage_db

__all__ = ["FILE", "STATES", "blocks", "counts", "observes", "watch"]

FILE = "SCOVILLE_COVER"  # environment: where a run leaves its counts
STATES = ("moves", "held", "starved")  # an item is taken; one waits for its receiver; a receiver waits for one
OBSERVERS = {}  # (test module, stream) to what samples its items


def observes(test, stream):
    """The decorated function is called with each item of this stream of this test: its fields, a dict of ints."""
    def register(function):
        OBSERVERS.setdefault((test, stream), []).append(function)
        return function
    return register


def blocks():
    """Import the points of every block; their names."""
    names = [path.stem for path in sorted(Path(__file__).parent.glob("of_*.py"))]
    for name in names:
        importlib.import_module(f"cover.{name}")
    return [name.removeprefix("of_") for name in names]


def counts():
    """Point to bin to hits, as they are now."""
    return {name: {str(label): hits for label, hits in item.detailed_coverage.items()}
            for name, item in coverage_db.items() if isinstance(item, CoverPoint | CoverCross)}


class Watcher:
    """Of one stream: counts its states, and gives its items to their observers."""

    def __init__(self, fields, observers):
        self.fields, self.observers = fields, observers
        self.states = dict.fromkeys(STATES, 0)

    def cycle(self, payload, ready):
        """A cycle: the item that is offered, or None, and whether one would be taken."""
        if payload is None:
            self.states["starved"] += bool(ready)
        elif not ready:
            self.states["held"] += 1
        else:
            self.states["moves"] += 1
            if self.observers:
                item = {name: payload >> offset & (1 << width) - 1 for name, offset, width in self.fields}
                for observer in self.observers:
                    observer(item)


_watchers = {}


def _leave(module):
    streams = {f"{module}.{name}": watcher.states for name, watcher in _watchers.items()}
    Path(os.environ[FILE]).write_text(json.dumps({"streams": streams, "points": counts()}), encoding="utf-8")


def watch(name):
    """The watcher of the stream `name`, or None in a run without coverage. One for all tests of a run."""
    if FILE not in os.environ:
        return None
    bench = json.loads(os.environ["SCOVILLE_TB"])
    if not _watchers:
        blocks()
        _shutdown.register(partial(_leave, bench["module"]))  # Python's own atexit never comes
    if name not in _watchers:
        _watchers[name] = Watcher(bench["fields"].get(name, []), OBSERVERS.get((bench["module"], name), []))
    return _watchers[name]
