"""The longest paths of a placed and routed chip, one a register that they end in, from the SDF file of nextpnr."""

import re
from collections import defaultdict
from pathlib import Path

from ..timing.flows import signal_of

__all__ = ["worst_paths"]

WIRE = re.compile(r"\(INTERCONNECT (\S+) (\S+) \([^:]*:[^:]*:(-?\d+)\)")
ARC = re.compile(r"\(IOPATH (?:\(\w+ (\S+)\)|(\S+)) (\S+) \([^:]*:[^:]*:(-?\d+)\)")
SETUP = re.compile(r"\(SETUPHOLD \(\w+ (\S+)\) \(\w+ \S+\) \([^:]*:[^:]*:(-?\d+)\)")
CLOCK = re.compile(r"CLK|WCK")
MADE = re.compile(r"\$(CCU2_COMB|DPRAM_COMB|RAMW|PACKER|nextpnr).*")  # cells that nextpnr made of one of ours


def named(pin):
    """Block and signal that a pin of a cell belongs to."""
    return re.sub(r"(\.\d+)+$", "", signal_of(MADE.sub("", pin.rpartition("/")[0])))


class Delays:
    """What the SDF file says, picoseconds, slowest corner: `arcs` pin to pin, `launch` clock to an output, `setup`."""

    def __init__(self, text):
        self.arcs, self.launch, self.setup = defaultdict(list), {}, {}
        cell = ""
        for line in text.replace("\\", "").splitlines():
            line = line.strip()
            if line.startswith("(INSTANCE"):
                cell = line[len("(INSTANCE"):-1].strip()
            elif found := WIRE.match(line):
                self.arcs[found[1]].append((found[2], int(found[3])))
            elif found := ARC.match(line):
                source, target, delay = found[1] or found[2], f"{cell}/{found[3]}", int(found[4])
                if CLOCK.match(source) and not CLOCK.match(found[3]):
                    self.launch[target] = max(delay, self.launch.get(target, 0))
                else:
                    self.arcs[f"{cell}/{source}"].append((target, delay))
            elif found := SETUP.match(line):
                pin = f"{cell}/{found[1]}"
                self.setup[pin] = max(int(found[2]), self.setup.get(pin, 0))

    def arrivals(self):
        """When each pin settles after the clock, and the pin before it on its slowest path."""
        waiting = defaultdict(int)
        for arcs in self.arcs.values():
            for target, _ in arcs:
                waiting[target] += 1
        settled, before = dict(self.launch), dict.fromkeys(self.launch)
        ready = [pin for pin in {*self.arcs, *self.launch} if not waiting[pin]]
        while ready:
            pin = ready.pop()
            for target, delay in self.arcs[pin]:
                if pin in settled and settled[pin] + delay > settled.get(target, -1):
                    settled[target], before[target] = settled[pin] + delay, pin
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
        return settled, before


def worst_paths(path, count=10):
    """The slowest path into each register or memory, the slowest `count` of them.

    Parameters
    ----------
    path : the SDF file

    Returns
    -------
    list of dict : `ns` with setup, `wires_ns` of it between cells, `from` and `to` by block and signal, `levels` of
        logic, and the `blocks` on the way
    """
    delays = Delays(Path(path).read_text(encoding="utf-8"))
    settled, before = delays.arrivals()
    ends = {}
    for pin, setup in delays.setup.items():
        if pin in settled:
            slowest = settled[pin] + setup
            if slowest > ends.get(name := named(pin), (0, ""))[0]:
                ends[name] = (slowest, pin)
    found = []
    for name, (slowest, pin) in sorted(ends.items(), key=lambda end: -end[1][0])[:count]:
        pins = [pin]
        while before[pins[-1]]:
            pins.append(before[pins[-1]])
        pins.reverse()
        cells = [each.rpartition("/")[0] for each in pins]
        wires = sum(settled[pins[n + 1]] - settled[pins[n]] for n in range(len(pins) - 1) if cells[n] != cells[n + 1])
        blocks = [block for block in (named(each).rpartition(".")[0] for each in pins) if block]
        found.append({
            "ns": round(slowest / 1000, 2), "wires_ns": round(wires / 1000, 2), "from": named(pins[0]), "to": name,
            "levels": len(dict.fromkeys(cells)) - 2,
            "blocks": [block for n, block in enumerate(blocks) if n == 0 or blocks[n - 1] != block]})
    return found
