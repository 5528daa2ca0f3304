"""One ATTEND, timed: the front end's and the issuer's loops over heads and pages, the values behind the keys."""

from collections import deque
from dataclasses import dataclass

from scoville.config import TILE_ROWS, VALUES_BEHIND
from scoville.control.front_end import page_beats

from .cycle_stream import Tile
from .cycle_units import LOOKUP

__all__ = ["AttendTimer"]

QUEUE = 2  # cycles through a queue


@dataclass
class _Page:
    """A page whose values are due: when its probabilities are there, and the last exponential of its first block."""

    ready: float
    issued: float
    last: bool
    last_set: bool  # of the KV head
    seats: int


class AttendTimer:
    """Carries out an ATTEND on a `PassTimer`.

    Members
    -------
    walk : the issuer's next step
    results : when the operand blocks that it writes are there, in order
    """

    def __init__(self, timer, fields, begin, queries):
        config = timer.config
        self.timer, self.fields, self.queries = timer, fields, queries
        self.blocks = fields["head_blocks"]
        self.key_beats, self.value_beats = page_beats(config, self.blocks)
        self.tiles = Tile.key(config, self.blocks), Tile.value(config)
        self.walk = begin + 1
        self.results = []
        behind = deque()
        pairs = timer.tokens * fields["group"]
        for head in range(fields["kv_heads"]):
            for served in range(0, pairs, config.seats):
                seats = min(config.seats, pairs - served)
                self.walk += config.seats + 1
                for page in range(timer.pages):
                    self._request(timer.front + 1 + LOOKUP, self.key_beats)
                    ready, issued = self._keys(head, seats)
                    last_set = served + config.seats >= pairs
                    behind.append(_Page(ready, issued, page == timer.pages - 1, last_set, seats))
                    if len(behind) > VALUES_BEHIND:
                        self._values(behind.popleft())
        while behind:
            self._values(behind.popleft())

    def _request(self, now, beats):
        # Pages are longer than bursts, and begin anywhere.
        self.timer.front = self.timer.stream.request(now + 1, 0, beats) + 2

    def _quantise(self, left, seats, rows=0):
        """A block for each seat; the phases' last rows leave `rows` apart, the last one's at `left`."""
        lanes, phases = self.timer.config.lanes, -(-seats // self.timer.config.lanes)
        return [self.timer.epilogue.quantise(left - rows * (phases - 1 - phase), min(lanes, seats - phase * lanes))
                for phase in range(phases)][-1]

    def _keys(self, head, seats):
        """Scores of a page and what the softmax unit makes of them; returns when the probabilities are there."""
        timer, epilogue, softmax = self.timer, self.timer.epilogue, self.timer.softmax
        phases = -(-seats // timer.config.lanes)
        timer.stream.command(self.walk + QUEUE)
        task, before = self.walk + 3, timer.stream.accepted
        timer.reason, tile = "command", self.tiles[0]
        if self.queries is None:
            first, last = timer.tile(tile, task, epilogue.room(), phases)
        else:
            wanted = (head + 1) * self.fields["group"] * self.blocks
            ready = self.queries[wanted - self.blocks:wanted]
            first, last = timer.guarded(tile, task, epilogue.room(), ready, phases)
        self.walk = max(self.walk + 2, before) + 2
        scored = epilogue.scores(first, last, softmax.room(), phases)
        exponents, _ = timer.stream.vector((self.key_beats - self.value_beats) // 2)
        left = softmax.page(scored, exponents, self.blocks)
        return self._quantise(left, seats) + 1, softmax.issued

    def _values(self, page):
        """The values of a page, weighed by its probabilities."""
        timer, epilogue, stream = self.timer, self.timer.epilogue, self.timer.stream
        self._request(timer.front, self.value_beats)
        stream.command(self.walk + QUEUE)
        if page.last:
            self.walk += 2
            factor = (page.issued - TILE_ROWS * (self.blocks - 1) + epilogue.latency.weigh + epilogue.latency.factor)
            epilogue.command(self.walk + QUEUE, plain=True, factor=factor)
        self.walk = max(self.walk + 1, page.ready)
        phases = -(-page.seats // timer.config.lanes)
        timer.reason, done = "softmax", 0.0
        for _ in range(self.blocks):
            before = stream.accepted
            first, last = timer.tile(self.tiles[1], self.walk + 1, epilogue.room() if page.last else 0, phases)
            self.walk = max(self.walk, before) + 1
            if page.last:
                done = self._quantise(epilogue.tile(first, last, phases=phases), page.seats, TILE_ROWS)
        self.walk += 1
        if page.last and page.last_set:
            self.results += [done] * self.fields["group"] * self.blocks
