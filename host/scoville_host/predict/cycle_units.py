"""The units behind the array, timed: drain, chain, quantiser, softmax and KV store, each as a recurrence over tiles."""

from scoville.array.drain import SLOTS
from scoville.config import BLOCK, TILE_ROWS
from scoville.epilogue.squares import MERGE

from .latencies import latencies

__all__ = ["LOOKUP", "Epilogue", "FetchPort", "KvStore", "Softmax"]

WRITE = 3  # cycles of a write beside the memory's: command, address and data each have a register
# Of the KV store beside a block's beats: 6 of its own, and 2 for each of two writes, whose data follow the address.
STEPS = 10
LOOKUP = 3  # cycles from a page to its address, `OneSlot` and `PageAddress`
FETCH = 8  # cycles of a read through the fetch port beside the memory's


class FetchPort:
    """Small reads of several users, one at a time each; that they wait for each other is left out."""

    def __init__(self, memory, stream):
        self.delay, self.stream = memory.read_latency + FETCH, stream
        self.free = {}

    def read(self, user, now, beats=1):
        """When the last of `beats` beats is there."""
        now = max(now, self.free.get(user, 0))
        self.free[user] = max(now + self.delay, self.stream.delivered(now) + FETCH // 2) + beats
        return self.free[user]


class KvStore:
    """Appends: blocks wait for each other, and for the address of their page."""

    def __init__(self, config, memory):
        self.memory = memory
        self.beats = {value: max(1, BLOCK * (BLOCK if value else 1) // config.bus_bytes) for value in (False, True)}
        self.free = self.written = 0.0

    def append(self, now, value, known):
        """A block that the router has at `now`; returns when it is taken."""
        taken = now = max(now, self.free)
        if not known:
            now += LOOKUP + 3
        self.free = now + self.beats[value] + STEPS
        self.written = self.free + WRITE + self.memory.write_latency
        return taken


class Epilogue:
    """Drain, chain, quantiser and router.

    Members
    -------
    done : when the last block, so far, can be read from the operand buffer or the last logit has left
    """

    def __init__(self, config):
        self.latency = latencies(config)
        self.groups = config.rows
        self.row = 0.0  # the last row that left the drain
        self.slots = [0.0] * SLOTS  # when the drain's room for a tile is free
        self.admitted = self.passed = 0.0  # the chain's last row: at its input, at its residual
        self.left = 0.0  # at its output
        self.rms = 0.0  # when 1/rms is there
        self.running = 0.0  # the present command's first row may come
        self.plain = True
        self.routed = 0.0  # the router has passed its last block on
        self.halves = [0.0] * 2 * config.phases  # when the quantiser has room for one more block
        self.done = 0.0

    def room(self):
        """When the drain has room for one more tile."""
        return self.slots[0]

    def _drain(self, first, last, hold, phases=1):
        """Rows of a tile whose last k-block's items were taken from `first` to `last`; they leave from `hold` on.

        Rows of a phase leave together, so all but the last phase's wait for the last item.
        """
        first = max(first + self.latency.row, self.row + 1, hold)
        ready = last + self.latency.row + self.groups - 1
        self.row = max(first + TILE_ROWS * phases - 1, ready + TILE_ROWS * (phases - 1))
        return first

    def state(self, now):
        """All times as seen from `now`."""
        times = (self.row, *self.slots, self.admitted, self.passed, self.left, self.routed, *self.halves)
        return tuple(round(time - now, 3) for time in times)

    def skip(self, cycles):
        """As if that much later everything were the same."""
        self.row += cycles
        self.slots = [slot + cycles for slot in self.slots]
        self.admitted += cycles
        self.passed += cycles
        self.left += cycles
        self.routed += cycles
        self.halves = [half + cycles for half in self.halves]
        self.done += cycles

    def _leave(self):
        self.slots = [*self.slots[1:], self.row + 1]

    def scores(self, first, last, hold, phases=1):
        """A tile for the softmax unit; returns when its last row is there."""
        self._drain(first, last, hold, phases)
        self._leave()
        return self.row

    def command(self, now, plain, rms=False, factor=0.0):
        """The chain takes its next command."""
        start = max(now, self.admitted + 1, factor)
        if not (plain and self.plain):
            start = max(start, self.left + 1)
        if rms:
            start = max(start, self.rms)
        self.plain = plain
        self.running = start + 1
        self.admitted = start

    def tile(self, first, last, *, norm=False, glu=False, phases=1):
        """A tile for the chain; returns when the last row that it makes is at the quantiser."""
        pause = self.latency.pause if norm else 0
        depth = self.latency.front + (self.latency.glu if glu else self.latency.plain)
        first = self._drain(first, last, self.running, phases)
        self.flow(first, self.row, TILE_ROWS * phases, depth, pause)
        # The stages before the residual fill up, then rows leave the drain as they leave the chain.
        self.row = max(self.row, self.passed - depth - pause)
        self.admitted = self.row
        self._leave()
        return self.left

    def flow(self, first, last, rows, depth, pause):
        """Rows through the chain: `first` and `last` at its input, a pause behind every tile."""
        begin = max(first + depth, self.passed + 1 + pause, self.halves[0] - self.latency.back)
        self.passed = max(begin + rows - 1 + (rows // TILE_ROWS - 1) * pause, last + depth)
        self.left = self.passed + self.latency.back

    def square(self, tiles):
        """The command's sum of squares is complete."""
        self.rms = self.passed + self.latency.rms + MERGE * (tiles - 1).bit_count()

    def quantise(self, now, lanes):
        """Blocks of `lanes` lanes whose last row came at `now`; returns when they are in the operand buffer."""
        self.halves = [*self.halves[1:], 0.0]
        return self.route(max(now + self.latency.quantise, self.routed + 1) + (lanes - 1) * self.latency.convert)

    def route(self, now):
        """The router passes the last lane's block on."""
        self.routed = now
        self.halves[-1] = now - self.latency.quantise - self.latency.convert
        self.done = max(self.done, now)
        return now


class Softmax:
    """Pages of scores into blocks of probabilities."""

    def __init__(self, config):
        self.latency, self.rows = latencies(config), BLOCK
        self.issued = 0.0  # the last exponential
        self.released = [0.0] * 2  # when room for a page of scores is free

    def room(self):
        """When the first score of one more page can come."""
        return self.released[0]

    def page(self, scored, exponents, blocks):
        """A page whose last score came at `scored` and whose V exponents at `exponents`: its last row's time."""
        begin = max(scored + self.latency.scores, exponents + 1, self.issued + 2)
        self.issued = begin + self.rows * blocks - 1
        self.released = [*self.released[1:], begin + self.rows]
        return self.issued + self.latency.weigh
