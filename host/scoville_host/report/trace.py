"""A recording of the chip as a Chrome trace (https://ui.perfetto.dev, chrome://tracing): one row a unit."""

import numpy as np
from scoville.registers import STALLS

from .timeline import by_kind

__all__ = ["chrome_trace"]

SLICES = 5000  # a row has at most so many: shorter gaps, and shorter stalls, are left out until it fits
GAP = 16  # cycles: shorter pauses of a unit do not end its slice
BINS = 500  # of the counter track
UNITS = {
    "page_lookup": "page lookup", "read": "stream reader", "beat": "weight stream", "decoder": "weight decoder",
    "drain": "drain", "softmax": "softmax", "chain": "epilogue chain", "quantiser": "quantiser",
    "router": "router", "kv_store": "KV store", "writer": "writer", "sampler": "sampler", "dump": "logits dump",
    "vectors": "vector unit",
}


def spans(level):
    """Begin and end of the runs of True: two arrays."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], level, [False]])))
    return edges[::2], edges[1::2]


def merged(level):
    """The same with short gaps closed, and the cycles of each that were True."""
    begin, end = spans(level)
    total = np.concatenate([[0], np.cumsum(level)])
    gap = GAP
    while True:
        apart = np.flatnonzero(begin[1:] - end[:-1] > gap)
        if len(apart) < SLICES:
            break
        gap *= 2
    if len(begin):
        begin, end = begin[np.concatenate([[0], apart + 1])], end[np.append(apart, len(end) - 1)]
    return begin, end, total[end] - total[begin]


class _Rows:
    """Collects events, and gives rows their numbers in the order in which they appear."""

    def __init__(self):
        self.events, self.rows = [], {}

    def add(self, row, name, begin, end, **args):
        if row not in self.rows:
            self.rows[row] = len(self.rows) + 1
            for kind, value in (("thread_name", {"name": row}), ("thread_sort_index", {"sort_index": self.rows[row]})):
                self.events.append({"ph": "M", "pid": 0, "tid": self.rows[row], "name": kind, "args": value})
        if end > begin:
            self.events.append({"ph": "X", "pid": 0, "tid": self.rows[row], "name": name, "ts": int(begin),
                                "dur": int(end - begin), "args": args})


def _front_end(rows, timeline):
    forwarded = timeline.pulses("forward")
    ends = np.append(forwarded[1:], timeline.cycles)
    # Matched from the end: the first ones taken may have been passed on before the recording begins.
    matched = zip(timeline.instructions[::-1], forwarded[::-1], ends[::-1], strict=False)
    for each, begin, end in reversed(list(matched)):
        rows.add("front end", each.name, begin, end)
    for begin, end in zip(*spans(timeline.members["kv_wait"] == 1), strict=True):
        rows.add("front end waits", "KV writes", begin, end)


def _instructions(rows, timeline):
    from ..compiler.listing import fields_text

    free = []  # when each row of overlapping instructions is free again
    ends = [each.taken for each in timeline.instructions[1:]] + [timeline.cycles]
    for each, end in zip(timeline.instructions, ends, strict=True):
        rows.add("back end", each.name, each.taken, end)
        if each.begin > each.taken + 1:
            rows.add("back end", "waits", each.taken + 1, each.begin)
    for each in timeline.instructions:
        if each.end is None:
            continue
        row = next((index for index, at in enumerate(free) if at <= each.begin), len(free))
        free[row:row + 1] = [each.end]
        rows.add(f"instructions {row}", each.name, each.begin, each.end, instruction=fields_text(each.fields),
                 waited=each.begin - each.taken - 1, **{"pass": each.number})


def _array(rows, timeline):
    charged = timeline.members["charged"]
    for each in timeline.instructions:
        if each.first is not None:
            rows.add("array", each.name, each.first, each.last, work=each.work, **each.stalls)
    edges = np.flatnonzero(np.diff(charged)) + 1
    begin, end = np.concatenate([[0], edges]), np.append(edges, len(charged))
    shortest = 2
    while np.count_nonzero((charged[begin] != 0) & (end - begin >= shortest)) > SLICES:
        shortest *= 2
    names = list(STALLS)
    for at, until in zip(begin, end, strict=True):
        if until - at >= shortest and 0 < charged[at] <= len(names):
            rows.add(f"array stalls of {shortest} cycles or more", names[charged[at] - 1], at, until)


def _counter(timeline):
    """How the array spends its time: a share a bin, by the first word of the reason."""
    charged = timeline.members["charged"]
    groups = ["work", *(name.split("_")[0] for name in STALLS)]
    size = max(1, len(charged) // BINS)
    for at in range(0, len(charged), size):
        counts = np.bincount(charged[at:at + size], minlength=len(groups))
        shares = dict.fromkeys(groups, 0)
        for group, count in zip(groups, counts, strict=False):
            shares[group] += int(count)
        total = max(1, sum(shares.values()))
        yield {"ph": "C", "pid": 0, "tid": 0, "name": "array, share of cycles", "ts": at,
               "args": {group: round(count / total, 4) for group, count in shares.items()}}


def chrome_trace(timeline):
    """The trace as a dict for JSON. A microsecond of the viewer is one cycle.

    Its size is bounded, whatever is recorded: `SLICES` slices a unit's row, `BINS` values of the counter, and the
    instructions. ``otherData`` has the exact counts.
    """
    rows = _Rows()
    _front_end(rows, timeline)
    _instructions(rows, timeline)
    _array(rows, timeline)
    for member, row in UNITS.items():
        rows.add(row, row, 0, 0)
        for begin, end, busy in zip(*merged(timeline.members[member] == 1), strict=True):
            rows.add(row, row, begin, end, busy=int(busy))
    image = timeline.image
    process = {"ph": "M", "pid": 0, "name": "process_name", "args": {"name": f"{image.model} on {image.config.name}"}}
    counts = np.bincount(timeline.members["charged"], minlength=1 + len(STALLS))
    return {
        "displayTimeUnit": "ns",
        "otherData": {
            "model": image.model, "config": image.config.name, "first_cycle": timeline.start,
            "cycles": timeline.cycles, "unit": "1 us of the viewer is 1 cycle", "cut": bool(timeline.cut),
            "work": int(counts[0]),
            "stalls": {name: int(count) for name, count in zip(STALLS, counts[1:], strict=False) if count},
            "by_kind": by_kind(timeline),
        },
        "traceEvents": [process, *rows.events, *_counter(timeline)],
    }
