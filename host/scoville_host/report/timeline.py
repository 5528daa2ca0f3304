"""What the chip's trace port said, cycle by cycle, and to which instruction each cycle belongs."""

import re
from dataclasses import dataclass, field

import numpy as np
from scoville.control.activity import unpack
from scoville.control.monitor import STOPPED
from scoville.isa import INSTRUCTION_BYTES, Dest, Opcode, decode
from scoville.registers import STALLS

from .summary import passes

__all__ = ["Instruction", "Timeline", "by_kind"]

# Charges of cycles in which the array has a task; in all others it waits for one.
_ACTIVE = ["kv_write", "page_lookup", "memory", "vector", "header", "bus", "decoder", "drain_kv", "drain_quantiser",
           "drain_logits", "drain_rms", "drain_norm", "drain_chain"]
ACTIVE = np.array([0] + [1 + list(STALLS).index(name) for name in _ACTIVE])


@dataclass(kw_only=True, eq=False)
class Instruction:
    """One instruction of one pass. All times are cycles of the timeline.

    Members
    -------
    taken, begin, end : when the back end took it, when what it waited for was done, and when its last result had left;
        `end` is None if the results cannot be told apart.
    first, last : the cycles of the array that are its own, those before its first task in which it waited included
        (None if it has no tasks)
    work, stalls : cycles of those, by reason
    """

    name: str
    fields: dict
    number: int  # of the pass
    taken: int
    begin: int
    end: int | None = None
    first: int | None = None
    last: int | None = None
    work: int = 0
    stalls: dict = field(default_factory=dict)


class Timeline:
    """The last passes of a recording.

    Parameters
    ----------
    image : `Image`
    recorded : (cycles, words, lost) of `VerilatedChip.recorded`, of a whole sequence
    prompt_tokens, generated : tokens in and out
    tokens : how many passes that made a token to show, counted from the end
    position : of the prompt's first token

    Members
    -------
    start, cycles : the first cycle, in those of the recording, and how many there are
    members : dict of arrays, a value a cycle
    instructions : list of `Instruction`
    cut : whether the recording was too short for what was asked for
    """

    def __init__(self, image, recorded, prompt_tokens, generated, tokens=1, position=0):
        self.image = image
        at, words, self.cut = recorded[0].astype(np.int64), recorded[1], recorded[2]
        every = passes(prompt_tokens, generated, image.config.seats, position)
        running = unpack(words)["charged"] != STOPPED
        if not running.any():
            raise ValueError("nothing was recorded")
        lengths = np.append(np.diff(at), 1)
        begins = np.repeat(at, np.where(unpack(words)["begin"] == 1, lengths, 0))
        making = [index for index, (*_, last) in enumerate(every) if last]
        first = making[max(0, len(making) - tokens)]
        first = max(first, len(every) - len(begins)) if len(begins) else len(every) - 1
        self.cut = self.cut and first > making[max(0, len(making) - tokens)] or not len(begins)

        # From the end of the pass before, or of the sequence's beginning.
        stop = (at + lengths)[running][-1]
        start = at[running][0]
        if len(begins):
            begin = begins[first - len(every)]
            over = at[((unpack(words)["token"] | unpack(words)["done"]) == 1) & (at < begin)]
            start = max(start, over[-1] + 1) if len(over) else start
        low, high = np.maximum(at, start), np.minimum(at + lengths, stop)
        self.start, self.cycles = int(start), int(stop - start)
        shown = np.maximum(high - low, 0)
        self.members = {name: np.repeat(values.astype(np.uint8), shown) for name, values in unpack(words).items()}
        self.instructions = self._take(every, first)
        self._charge()
        self._ends(every)

    def pulses(self, name):
        """Cycles in which a member is high."""
        return np.flatnonzero(self.members[name])

    def program(self, last):
        """(name, fields) of the instructions of a pass that makes a token (`last`) or none."""
        region = self.image.regions["program"]
        start = region.address - self.image.base
        for index, name in enumerate(self.image.listing):
            fields = decode(self.image.memory[start + INSTRUCTION_BYTES * index:][:INSTRUCTION_BYTES].tobytes())
            if last or not fields["only_last"]:
                yield name, fields

    def _take(self, every, first):
        programs = {last: list(self.program(last)) for last in (False, True)}
        due = [(number, *each) for number in range(first, len(every)) for each in programs[every[number][2]]]
        taken = self.pulses("take")
        due = due[max(0, len(due) - len(taken)):]  # a recording that begins in mid-pass ends with the sequence
        ends = np.append(taken[1:], self.cycles)
        waited = np.concatenate([[0], np.cumsum(self.members["waiting"], dtype=np.int64)])
        return [Instruction(name=name, fields=fields, number=number, taken=int(at),
                            begin=int(at + 1 + waited[end] - waited[at]))
                for at, end, (number, name, fields) in zip(taken, ends, due, strict=False)]

    def _charge(self):
        """Give every cycle of the array to the instruction that it works on, or waits for."""
        charged = self.members["charged"]
        active = np.isin(charged, ACTIVE)
        last_active = np.maximum.accumulate(np.where(active, np.arange(self.cycles), -1))
        tasks, begun = self.pulses("task"), self.pulses("start")
        # All that were taken have begun at the end of a pass, and some may have been taken before the recording.
        begun = begun[max(0, len(begun) - len(tasks)):]
        tasks = tasks[len(tasks) - len(begun):]
        takes = [each.taken for each in self.instructions]
        owners = np.searchsorted(takes, tasks) - 1  # a task is taken after its instruction
        owners, where = np.unique(owners[owners >= 0], return_index=True)
        firsts = begun[len(tasks) - np.sum(np.searchsorted(takes, tasks) > 0):][where]
        # A task that follows at once begins with the last item of the one before, which goes on for its slices.
        starts = np.where(active[firsts], firsts + self.image.config.block_cycles, last_active[firsts] + 1)
        bounds = [(int(start), self.instructions[owner]) for owner, start in zip(owners, starts, strict=True)]
        done = self.pulses("done")
        bounds += [(int(last_active[done[done >= each.taken][0]]) + 1, each) for each in self.instructions
                   if each.fields["opcode"] is Opcode.END]
        bounds.sort(key=lambda bound: bound[1].taken)
        begins = self.pulses("begin")
        starts = [start for start, _ in bounds]
        for index in range(1, len(bounds)):  # what follows END up to the next pass is END's
            if bounds[index - 1][1].fields["opcode"] is Opcode.END:
                starts[index] = int(next((at for at in begins if at >= starts[index - 1]), starts[index]))
        if starts:
            starts[0] = 0
        for start, end, (_, each) in zip(starts, [*starts[1:], self.cycles], bounds, strict=True):
            counts = np.bincount(charged[start:end], minlength=1 + len(STALLS))
            each.first, each.last, each.work = start, end, int(counts[0])
            each.stalls = {name: int(count) for name, count in zip(STALLS, counts[1:], strict=False) if count}

    def _ends(self, every):
        """Match last results with instructions: both come in program order."""
        seats = self.image.config.seats
        results = {name: self.pulses(name) for name in ("routed", "loaded", "token", "done")}
        used = dict.fromkeys(results, 0)
        for each in self.instructions:
            fields, tokens = each.fields, every[each.number][1]
            opcode = fields["opcode"]
            own = {}
            if opcode in (Opcode.LOAD, Opcode.ROPE, Opcode.EMBED):
                own["loaded"] = 1 if opcode is Opcode.LOAD else tokens
            if opcode is Opcode.EMBED:
                own["routed"] = tokens
            elif opcode is Opcode.ATTEND:
                own["routed"] = fields["kv_heads"] * -(-tokens * fields["group"] // seats)
            elif opcode is Opcode.LINEAR:
                own["token" if fields["dest"] == Dest.LOGITS else "routed"] = 1
            elif opcode is Opcode.END:
                own["done"] = 1
            ends = []
            for name, count in own.items():
                used[name] += count
                if used[name] <= len(results[name]):
                    ends.append(int(results[name][used[name] - 1]) + 1)
            each.end = max(ends, default=None)
        if any(used[name] != len(results[name]) for name in used if name != "token"):
            for each in self.instructions:
                each.end = None


def by_kind(timeline):
    """Cycles of the array by kind of instruction (its name without the layer's number): dict of dicts."""
    found = {}
    for each in timeline.instructions:
        if each.first is None:
            continue
        kind = found.setdefault(re.sub(r"^\d+\.|^layer \d+ ", "", each.name),
                                {"count": 0, "cycles": 0, "work": 0, "stalls": {}})
        kind["count"] += 1
        kind["cycles"] += each.last - each.first
        kind["work"] += each.work
        for name, count in each.stalls.items():
            kind["stalls"][name] = kind["stalls"].get(name, 0) + count
    return found
