"""Mutants that no test can tell: a miter of the design and the mutant, both from power-up, which ABC tries to prove.

A payload counts only while its valid is high.
"""

import json
import re
import subprocess

from scoville_sim.mutation.netlist import SELECT, SELECT_BITS, yosys
from scoville_sim.tools import find_tool, run_tool

__all__ = ["equivalent"]

ABC = "berkeley-abc"
PROVED = re.compile(r"Property proved|trivially UNSAT|miter is proved unreachable")
REGISTERS, LATCHES, ANDS, STEPS = 2, 64, 2000, 100_000  # of what is tried state by state
SWEEP = "scleanup; scorr"  # registers that stay as they are, then those that are equal, which takes far longer
MEMORY = 1 << 17  # bits of memory in a netlist, which become latches, with which a miter is made
NONE = "mutnone"  # what selects a mutant in the design's copy: nothing, but both copies must have one structure


def _valid_of(name, outputs):
    """The output that says when output `name` means something, or None: a stream's valid, or an AXI channel's."""
    stream, _, field = name.rpartition("__")
    channel = re.match(r"(aw|ar|w|b|r)(?=\w)", field)
    names = [f"{stream}__valid"] if field == "payload" else [f"{stream}__{channel[0]}valid"] if channel else []
    return next((valid for valid in names if valid in outputs and valid != name), None)


def _miter(ports):
    """Verilog of ``miter``: the design and a mutant side by side, and whether they differ."""
    # A port may have the name of a Verilog word, `begin` or `end`.
    inputs = {f"\\{name} ": len(port["bits"]) for name, port in ports.items() if port["direction"] == "input"}
    outputs = {name: len(port["bits"]) for name, port in ports.items() if port["direction"] == "output"}
    lines = [f"module miter({', '.join([*inputs, SELECT, NONE])}, differ);",
             f"input [{SELECT_BITS - 1}:0] {SELECT}, {NONE};",
             "output differ;", *(f"input [{width - 1}:0] {name};" for name, width in inputs.items())]
    for copy, select in (("gold", NONE), ("gate", SELECT)):
        lines += [f"wire [{width - 1}:0] {copy}_{name};" for name, width in outputs.items()]
        pins = [*(f".{name}({name})" for name in inputs), *(f".\\{name} ({copy}_{name})" for name in outputs),
                f".{SELECT}({select})"]
        lines.append(f"top {copy}({', '.join(pins)});")
    differ = []
    for name in outputs:
        valid = _valid_of(name, outputs)
        differ.append(f"gold_{name} != gate_{name}" + (f" && gold_{valid}" if valid else ""))
    differ = "\n  || ".join(f"({term})" for term in differ)
    return "\n".join([*lines, f"assign differ = {differ};", "endmodule", ""])


def _negated(literal):
    return literal ^ 1


def _binary(inputs, latches, outputs, ands):
    """Binary AIGER of literals of any numbering: `latches` are (literal, next), `ands` (literal, two more)."""
    new = {0: 0}
    for literal in [*inputs, *(latch for latch, _ in latches), *(left for left, *_ in ands)]:
        new[literal] = 2 * len(new)

    def renamed(literal):
        return new[literal & ~1] ^ (literal & 1)

    data = bytearray(f"aig {len(new) - 1} {len(inputs)} {len(latches)} {len(outputs)} {len(ands)}\n".encode())
    data += "".join(f"{renamed(literal)}\n" for literal in [*(after for _, after in latches), *outputs]).encode()
    for left, *right in ands:
        high, low = sorted(map(renamed, right), reverse=True)
        for delta in (new[left] - high, high - low):
            while delta > 0x7F:
                data.append(delta & 0x7F | 0x80)
                delta >>= 7
            data.append(delta)
    return bytes(data)


def _is_small(data):
    """Whether binary AIGER can be gone through state by state."""
    latches, _, ands = map(int, data.split(b"\n", 1)[0].split()[3:6])
    return latches <= LATCHES and ands <= ANDS


class Pair:
    """The miter's and-inverter graph. Latches of the copies that belong together are found by name: if they do not,
    nothing is proved that is not so, for every use of it is checked.

    Parameters
    ----------
    text : ASCII AIGER, ands in topological order, latches from 0
    """

    def __init__(self, text):
        lines = text.splitlines()
        variables, *counts = map(int, lines[0].split()[1:6])
        ends = [1 + sum(counts[:n]) for n in range(5)]
        rows = [[tuple(map(int, line.split())) for line in lines[start:start + count]]
                for start, count in zip(ends, counts, strict=False)]
        self.size = variables + 1
        self.inputs, self.outputs = ([literal for (literal,) in each] for each in (rows[0], rows[2]))
        self.latches, self.ands = [row[:2] for row in rows[1]], rows[3]
        self.select, names = {}, {}
        for line in lines[ends[4]:]:
            if found := re.match(rf"i(\d+) ({SELECT}|{NONE})\[(\d+)\]$", line):
                self.select[self.inputs[int(found[1])]] = int(found[3]) if found[2] == SELECT else None
            elif found := re.match(r"l(\d+) (gold|gate)[._](\S+)", line):  # "_": a register that is a port
                names.setdefault(found[3], {})[found[2]] = self.latches[int(found[1])]
        assert len(self.select) == 2 * SELECT_BITS
        self.pairs = [(pair["gold"], pair["gate"]) for pair in names.values() if len(pair) == 2]
        self.register = {pair["gate"][0]: name.partition("[")[0] for name, pair in names.items() if len(pair) == 2}
        self.readers = {}
        for left, *right in [*self.ands, *self.latches]:
            for literal in right:
                self.readers.setdefault(literal & ~1, []).append(left)

    def _hashed(self, number, merged):
        """The literal that stands for each even one, and what is left of the ands, with `number` selected and latches
        of the mutant replaced by those of the design that `merged` gives."""
        value, known = list(range(0, 2 * self.size, 2)), {}
        for literal, bit in self.select.items():
            value[literal >> 1] = 0 if bit is None else number >> bit & 1
        for gate, gold in merged.items():
            value[gate >> 1] = gold
        for left, a, b in self.ands:
            a, b = value[a >> 1] ^ (a & 1), value[b >> 1] ^ (b & 1)
            if a > b:
                a, b = b, a
            value[left >> 1] = 0 if a == 0 or a ^ b == 1 else b if a == 1 or a == b else known.setdefault((a, b), left)
        return value, {left: pair for pair, left in known.items()}

    def _cone(self, roots, ands, latches):
        """Even literals that the roots depend on."""
        seen, work = set(), list(roots)
        while work:
            literal = work.pop() & ~1
            if literal and literal not in seen:
                seen.add(literal)
                work += ands.get(literal, ())
                work += latches.get(literal, ())
        return seen

    def differ(self, number):
        """Latches of the mutant that may be in another state than the design's after a step from the same one, and all
        that these can reach; None if outputs and next states are the same functions."""
        terms, *_ = self._terms(number, ())
        if not terms:
            return None
        first = [latch for *_, latch in terms if latch is not None]
        touched, work = set(first), list(first)
        while work:
            for reader in self.readers.get(work.pop(), ()):
                if reader not in touched:
                    touched.add(reader)
                    work.append(reader)
        return first, touched

    def _terms(self, number, own):
        """(the design's, the mutant's, the mutant's latch or None) of outputs and next states that are not the same
        function where the state is the same but for the mutant's latches `own`; and `_hashed`."""
        value, ands = self._hashed(number, {gate: gold for (gold, _), (gate, _) in self.pairs if gate not in own})
        terms = [(value[gold >> 1] ^ (gold & 1), value[gate >> 1] ^ (gate & 1), latch)
                 for (_, gold), (latch, gate) in self.pairs if latch not in own]
        terms += [(value[literal >> 1] ^ (literal & 1), 0, None) for literal in self.outputs]
        return [term for term in terms if term[0] != term[1]], value, ands

    def step(self, number, own=(), free=True):
        """AIGER: can copies whose states are the same but for the mutant's latches `own` differ in outputs, or in the
        next state of others than those?

        All the design's latches but those for `own` are free (what is so for any state of them is so for those that
        they come to), or follow the design if not `free`.
        """
        terms, value, ands = self._terms(number, own)
        after = {latch: value[literal >> 1] ^ (literal & 1) for (gold, gold_next), (gate, gate_next) in self.pairs
                 if gate in own for latch, literal in ((gold, gold_next), (gate, gate_next))}
        if not free:
            merged = {gate for _, (gate, _) in self.pairs if gate not in own}
            after |= {latch: value[literal >> 1] ^ (literal & 1) for latch, literal in self.latches
                      if latch not in merged}
        cone = self._cone([literal for gold, gate, _ in terms for literal in (gold, gate)], ands,
                          {latch: (literal,) for latch, literal in after.items()})
        kept, top = [(left, *ands[left]) for left, *_ in self.ands if left in cone and left in ands], 2 * self.size
        same = 1
        for gold, gate, _ in terms:
            kept += [(top, gold, _negated(gate)), (top + 2, _negated(gold), gate), (top + 4, top + 1, top + 3),
                     (top + 6, same, top + 4)]
            same, top = top + 6, top + 8
        inputs = [literal for literal in [*self.inputs, *(latch for latch, _ in self.latches)]
                  if literal in cone and literal not in after]
        latches = [(latch, literal) for latch, literal in after.items() if latch in cone]
        return _binary(inputs, latches, [_negated(same)], kept)

    def registers(self, latches):
        """Sets of latches: the bits of each register that has one of these."""
        names = dict.fromkeys(self.register[latch] for latch in latches if latch in self.register)
        return [{latch for latch, name in self.register.items() if name == wanted} for wanted in names]

    def loop(self, first, touched):
        """The mutant's latches that these reach (`touched`, of `differ`) and that reach these, as a counter's do."""
        behind = self._cone(first, {left: pair for left, *pair in self.ands},
                            {latch: (literal,) for latch, literal in self.latches})
        return {gate for _, (gate, _) in self.pairs if gate in touched and gate in behind}

    def whole(self, number, touched):
        """AIGER of the miter; the mutant's latches that are not `touched` are the design's."""
        value, ands = self._hashed(number, {gate: gold for (gold, _), (gate, _) in self.pairs if gate not in touched})

        def of(literal):
            return value[literal >> 1] ^ (literal & 1)

        after = {latch: of(literal) for latch, literal in self.latches}
        outputs = [of(literal) for literal in self.outputs]
        cone = self._cone(outputs, ands, {latch: (literal,) for latch, literal in after.items()})
        return _binary([literal for literal in self.inputs if literal in cone],
                       [(latch, after[latch]) for latch, _ in self.latches if latch in cone], outputs,
                       [(left, *ands[left]) for left, *_ in self.ands if left in cone and left in ands])


def _abc(folder, number, data, script, timeout):
    """What ABC says."""
    (folder / "miter.aig").write_bytes(data)
    try:
        done = run_tool([ABC, "-c", f"read_aiger miter.aig; strash; {script}"], cwd=folder, timeout=timeout)
    except subprocess.TimeoutExpired:
        return ""
    (folder / f"miter-{number}.log").write_text(done.stdout, encoding="utf-8")
    return done.stdout


def equivalent(folder, mutants, limit=20):
    """Those of the mutants that are proved to be the same as the design, for any input in any cycle from power-up on.

    First those that hold a constant at its own value. Then by one step: copies in the same state give the same outputs
    and are in the same state again, as where a changed bit is one that nobody reads. Then with a register or few of
    each copy's own, as where one counts in another order. Then by ABC's sequential engines, on what the change can
    reach. The graph has no clock, so a mutant of one would look like the design: nothing is
    proved of it.

    Parameters
    ----------
    folder : where `netlist.mutate` left the mutants
    mutants : list of `Mutant`
    limit : seconds of ABC's PDR a mutant

    Returns
    -------
    dict of number to "equivalent", "different", or "unknown" (also for all, where Debian's berkeley-abc is missing, or
        memories have more than `MEMORY` bits)
    """
    top = json.loads((folder / "cells.json").read_text(encoding="utf-8"))["modules"]["top"]

    def same(mutant):
        return f"const{top['cells'][mutant.cell]['connections'][mutant.port][mutant.bit]}" == mutant.kind

    verdicts = {mutant.number: "equivalent" if same(mutant) else "unknown" for mutant in mutants}
    numbers = [mutant.number for mutant in mutants if verdicts[mutant.number] == "unknown"
               and not mutant.port.endswith("CLK")]  # those of memories too
    if not numbers or find_tool(ABC) is None:
        return verdicts
    text = (folder / "mutants.il").read_text(encoding="utf-8")
    memories = re.findall(r"^ *memory.* width (\d+).* size (\d+)", text, re.M)
    if sum(int(width) * int(size) for width, size in memories) > MEMORY:
        return verdicts
    (folder / "miter.v").write_text(_miter(top["ports"]), encoding="utf-8")
    yosys(folder, ["read_rtlil mutants.il", "setattr -unset init", "chformal -remove",
                   "rename -enumerate w:*",  # a latch that a mutant is at drives a wire without a name
                   "read_verilog miter.v", "hierarchy -top miter", "flatten", "opt -purge", "memory -nordff",
                   "opt -purge", "dffunmap", "techmap", "dffunmap", "zinit -all", "setundef -undriven -zero", "aigmap",
                   "clean -purge", "write_aiger -ascii -symbols -zinit miter.aag"], "miter")
    pair = Pair((folder / "miter.aag").read_text(encoding="utf-8"))
    for number in numbers:
        if (found := pair.differ(number)) is None or "UNSATISFIABLE" in _abc(folder, number, pair.step(number),
                                                                             "iprove", 5 * limit):
            verdicts[number] = "equivalent"
            continue
        first, touched = found
        # What counts in another order, or in bits that nobody reads, shows nowhere but in a register or few.
        near = [set(first), pair.loop(first, touched), *pair.registers(first)[:REGISTERS]]
        steps = [(pair.step(number, own), f"reach -T {limit} -F {STEPS}") for own in near]
        steps = [(data, script) for data, script in steps if _is_small(data)]
        steps += sorted(((pair.step(number, own, free=False), f"{SWEEP}; pdr -T {-(-limit // 4)}") for own in near),
                        key=lambda step: len(step[0]))  # a large one takes all its time, mostly in vain
        if any(PROVED.search(_abc(folder, number, data, script, 2 * limit)) for data, script in steps):
            verdicts[number] = "equivalent"
            continue
        said = _abc(folder, number, pair.whole(number, touched), f"{SWEEP}; pdr -T {limit}", 5 * limit)
        if PROVED.search(said):
            verdicts[number] = "equivalent"
        elif re.search(r"was asserted in frame|trivially SAT", said):
            verdicts[number] = "different"
    return verdicts
