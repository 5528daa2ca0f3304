"""The weight stream, timed: memory, reader, decoder and array as one recurrence over groups of k-blocks."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from scoville.config import BLOCK, SUPER_BLOCKS, TILE_ROWS
from scoville.isa import ScaleFormat
from scoville.memory.reader import reader_sizes
from scoville.weights.decoder import WeightDecoder

__all__ = ["Memory", "Stream", "Tile"]

SPLIT = 2  # cycles from a descriptor to its first burst
LATENCY, HELD = WeightDecoder.LATENCY, WeightDecoder.ITEMS + 2  # of items, between the beats and the array
READER = 4  # cycles of a burst beside the memory's: AR's and the mux's registers, and the FIFO


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What counts of a memory.

    Parameters
    ----------
    rate : beats a cycle that it gives a plain reader
    shared : whether a beat that is written takes the time of one that is read
    read_latency, write_latency : to a burst's first beat, and from its last beat to the response
    """

    rate: float
    shared: bool = False
    read_latency: int
    write_latency: int


class Tile:
    """A tile of 32 rows in the weight stream.

    Members
    -------
    body, tail : (header beats, items) in order; `tail` is the last k-block. A step is small beside the reader's FIFO.
    blocks : the same, a list for each k-block
    item_beats : a fraction if a beat carries several items
    """

    def __init__(self, config, kblocks, group, header, bits):
        self.item_beats = config.rows * BLOCK * bits / 8 / config.bus_bytes
        most = max(1, int(config.stream_beats / 4 / self.item_beats))
        self.body, self.tail, self.blocks = [], [], []
        for at in range(0, kblocks, group):
            size = min(group, kblocks - at)
            last = at + size == kblocks
            for block in range(size):
                into = []
                for first in range(0, config.interleave, most):
                    into.append((header(at, size) if block == first == 0 else 0, min(most, config.interleave - first)))
                self.blocks.append(into)
            beats = header(at, size)
            for into, blocks in ((self.body, size - last), (self.tail, last)):
                for first in range(0, blocks * config.interleave, most):
                    into.append((beats, min(most, blocks * config.interleave - first)))
                    beats = 0

    @classmethod
    def linear(cls, config, fields):
        """Of a LINEAR."""
        two_level = fields["scale_format"] == ScaleFormat.TWO_LEVEL
        scale, least = {ScaleFormat.NONE: 0, ScaleFormat.E8M0: 1}.get(fields["scale_format"], 2), 2 * fields["minimum"]

        def header(start, blocks):
            sizes = [4 * fields["high_bits"] * blocks]
            if not two_level:
                sizes += [scale * blocks, least * blocks]
            elif start % SUPER_BLOCKS == 0:
                sizes += [scale, SUPER_BLOCKS * (12 if least else 16) // 8, least]
            return sum(-(-TILE_ROWS * size // config.bus_bytes) for size in sizes)

        return cls(config, fields["kblocks"], config.group, header, 8 if fields["code_bits8"] else 4)

    @classmethod
    def key(cls, config, blocks):
        """The K part of a page."""
        return cls(config, blocks, blocks, lambda _, n: -(-TILE_ROWS * n // config.bus_bytes), 8)

    @classmethod
    def value(cls, config):
        """A dimension block of the V part of a page."""
        return cls(config, 1, 1, lambda _, n: 0, 8)


class Stream:
    """When the decoder takes beats and the array takes items. A time is the cycle of the event.

    Members
    -------
    taken : of the last beat that the decoder took
    accepted : of the last item that the array took
    work, stalls : cycles of the array: its own, and those in which it waited, by reason
    """

    def __init__(self, config, memory):
        self.burst, self.depth = reader_sizes(config)
        self.cycles = self.turns = config.block_cycles  # of an item; of the last one
        self.delay = memory.read_latency + READER
        self.pace, self.shared = memory.rate, memory.shared
        # As many whole bursts as the FIFO has room for are under way, and a burst's room is free with its last beat: a
        # leaky bucket of that size and rate, if the memory's latency is long.
        size = self.depth // self.burst * self.burst
        self.rate = min(memory.rate, size / (self.delay + self.burst + 1))
        self.slack, self.bucket = size / self.rate - size / memory.rate, 0.0
        self.beat = 0  # beats taken
        self.requested = 0  # beats asked for
        self.issued = self.arrived = self.taken = self.accepted = 0.0
        self.descriptors = []  # (first beat, place of that beat in its burst, when the reader took it)
        self.arrivals = [0.0]  # when the FIFO had the beats of each step
        self.beats, self.times = [0], [0.0]  # when beats were taken, at the ends of steps
        self.point = 0
        self.work, self.stalls = 0, {}

    def request(self, now, address_beat, beats):
        """A descriptor that the front end offers at `now`; returns when the reader takes it."""
        if self.requested:
            now = max(now, self._room(self.requested))
        self.descriptors.append((self.requested, address_beat % self.burst, now))
        self.requested += beats
        return now

    def _room(self, end):
        """When the FIFO has room for beats up to `end`: those before it, by its depth, have been taken."""
        wanted = end - self.depth
        if wanted <= 0:
            return 0.0
        point = bisect_left(self.beats, wanted, self.point)
        self.point = max(0, point - 1)
        # Between two points beats come as early as they can; what holds bursts apart in the long run is the bucket.
        earliest = self.times[point - 1] + wanted - self.beats[point - 1]
        return min(earliest, self.times[point]) if point < len(self.beats) else earliest

    def _arrival(self, beat):
        """When the first beat of the burst of beat number `beat` (from 1) can be taken, and how much later this one."""
        first, place, at = self.descriptors[0]
        while len(self.descriptors) > 1 and self.descriptors[1][0] < beat:
            self.descriptors.pop(0)
            first, place, at = self.descriptors[0]
        offset = (beat - 1 - first + place) % self.burst
        end = min(beat - offset + self.burst - 1, self.requested)
        issue = max(at + SPLIT, self._room(end) + 1)
        return issue + self.delay, min(offset, beat - 1 - first) / self.pace

    def _arrive(self, beats):
        """When all of the next `beats` beats can have been taken; few beside the FIFO."""
        burst, offset = self._arrival(self.beat + beats)
        self.bucket = max(self.bucket, burst) + beats / self.rate
        self.arrived = max(self.arrived + beats / self.pace, burst + offset, self.bucket - self.slack)
        return self.arrived

    def _take(self, beats, now):
        self.beat += beats
        self.taken = now
        self.beats.append(self.beat)
        self.times.append(now)
        self.arrivals.append(self.arrived)

    def delivered(self, now):
        """When the memory has given all that was asked for before `now`: what is asked then comes behind it."""
        taken = self.beats[bisect_right(self.times, now) - 1]
        asked = min(taken + self.depth - self.burst, self.beats[-1])
        return self.arrivals[bisect_left(self.beats, asked)]

    def skip(self, times, beats, cycles):
        """Repeat what came last, `beats` beats in `cycles` cycles, so many times more."""
        begin = bisect_left(self.beats, self.beat - self.depth)
        for points, step in ((self.beats, beats), (self.times, cycles), (self.arrivals, cycles)):
            points.extend([point + times * step for point in points[begin:]])
        self.beat += times * beats
        self.taken += times * cycles
        self.accepted += times * cycles
        self.arrived += times * cycles
        self.bucket += times * cycles

    def write(self, beats):
        """Beats that are written between those read."""
        if self.shared:
            self.arrived += beats / self.pace
            self.bucket += beats / self.pace

    def lose(self, reason, cycles):
        """Charge cycles in which the array does nothing."""
        if cycles > 0:
            self.stalls[reason] = self.stalls.get(reason, 0) + cycles

    def command(self, now):
        """A command that reaches the decoder at `now`; it is taken with the last beat before it, or later."""
        self.taken = max(self.taken, now)

    def vector(self, beats, interval=1):
        """Beats that are forwarded, one every `interval` cycles; returns when the first and the last are taken."""
        first = max(self.taken + 1, self._arrive(1))
        self._take(1, first)
        left = beats - 1
        while left:
            step = min(left, max(1, self.depth // 4))
            self._take(step, max(self.taken + step * interval, self._arrive(step)))
            left -= step
        return first, self.taken

    def group(self, header, items, item_beats, room=0.0, task=0.0, reason="command", phases=1):
        """A header and the codes of `items` items.

        Parameters
        ----------
        room, task : the array takes no item before the drain has room, and before it has its task
        reason : what it waits for without a task
        phases : times that each item is used

        Returns
        -------
        When the first and the last item are taken by the array.
        """
        cycles = self.cycles * phases
        codes = -int(-items * item_beats // 1)
        before, turns = self.accepted, self.turns
        start = self.taken
        late = self._arrive(header + codes)
        end = max(start + header + codes, late)
        step = max(1, item_beats)
        first_beat = max(start + header + step, late - codes / self.rate + step)
        first = max(before + turns, first_beat + LATENCY, room, task)
        # HELD items lie between the beats and the array: the first beat behind them is taken with the first item.
        behind = first + (items - HELD) * item_beats - 1
        last = max(first + (items - 1) * cycles, max(end, behind) + LATENCY)
        self._take(header + codes, max(end, behind, last - HELD * max(cycles, item_beats) + step - 1))
        lost = last + cycles - before - turns - items * cycles
        self.accepted, self.turns = last, cycles
        self.work += items * cycles
        if lost > 0:
            begin = before + turns
            arrival = min(late - codes + LATENCY, first)
            for name, until in ((reason, task), ("drain_chain", room), ("memory", arrival)):
                waited = min(lost, until - begin)
                if waited > 0:
                    self.lose(name, waited)
                    lost -= waited
            from_header = min(lost, header)
            self.lose("header", from_header)
            self.lose("bus", lost - from_header)
        return first, last
