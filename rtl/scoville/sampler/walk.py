"""Whose logit comes when: the order in which the chain brings rows, and of each row the seats that sample."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check
from scoville.config import TILE_ROWS
from scoville.masks import first_of, last_of
from scoville.memory.dump import ROW_BITS
from scoville.schedule.seats import PassState

__all__ = ["Walk", "samplers", "sampling_seats"]


def samplers(config, state):
    """The seats of a pass that sample, a bit each; for more slots than one. Combinational."""
    return Cat(seat.samples & (state.tokens > number) for number, seat in enumerate(state.seats))


def sampling_seats(config, state):
    """Numbers of the seats that sample, of a `PassState` that is a dict."""
    tokens = state["tokens"]
    if config.slots == 1:
        return [tokens - 1]
    return [number for number, seat in enumerate(state["seats"][:tokens]) if seat["samples"]]


class Walk(wiring.Component):
    """The (row, seat) pairs of a matrix of logits: 32 rows of each phase from the first to the last with a seat that
    samples, then the next 32; of each row those seats of its phase, in order.

    A phase in between where nobody samples has a pair a row too, with the number of its first seat. With one slot the
    pairs are the rows of the last seat.

    Throughput: a pair a cycle. Latency: the first stands a cycle behind `start`.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    state : In(PassState), stable from the cycle before `start` to the last pair
    start : In(1), while it does not run; last_row : In(24), stable from the next cycle on
    next : In(1), the pair is done with
    running : Out(1), there is a pair
    row, seat : Out, of the pair
    ends, closes, last : Out(1), the last pair of a row; of 32 rows of a phase, or of as many as there are; of all
    mask : Out, with more slots than one the seats that sample, as in `state` a cycle before
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "state": In(PassState(config)),
            "start": In(1), "last_row": In(ROW_BITS), "next": In(1),
            "running": Out(1), "row": Out(ROW_BITS), "seat": Out(range(config.seats)),
            "ends": Out(1), "closes": Out(1), "last": Out(1),
        } | ({"mask": Out(config.seats)} if config.slots > 1 else {}))

    @staticmethod
    def model(config, state, rows):
        """The pairs, a list of (row, seat, ends, closes); `state` is a dict."""
        lanes, numbers = config.lanes, sampling_seats(config, state)
        pairs = []
        for first in range(0, rows, TILE_ROWS):
            final = min(first + TILE_ROWS, rows) - 1
            for phase in range(numbers[0] // lanes, numbers[-1] // lanes + 1):
                seats = [seat for seat in numbers if seat // lanes == phase] or [phase * lanes]
                pairs += [(row, seat, seat == seats[-1], seat == seats[-1] and row == final)
                          for row in range(first, final + 1) for seat in seats]
        return pairs

    def elaborate(self, platform):
        m = Module()
        at_end = Signal()
        m.d.comb += at_end.eq(self.row == self.last_row)
        self._seats(m, at_end) if self.config.slots > 1 else self._one(m, at_end)
        with m.If(self.next & self.last):
            m.d.sync += self.running.eq(0)
        with m.If(self.start):
            m.d.sync += self.running.eq(1)
        check(m, ~self.start | ~self.running, "walk: begins when the one before is over")
        check(m, ~self.next | self.running, "walk: goes on from a pair")
        return m

    def _one(self, m, at_end):
        """Rows of the last seat."""
        m.d.comb += [self.ends.eq(1), self.closes.eq(at_end), self.last.eq(at_end)]
        m.d.sync += self.seat.eq(self.state.tokens - 1)
        with m.If(self.start):
            m.d.sync += self.row.eq(0)
        with m.Elif(self.next):
            m.d.sync += self.row.eq(self.row + 1)

    def _seats(self, m, at_end):
        """Rows of each phase, and of each row those who sample."""
        lanes, mask = self.config.lanes, self.mask
        phase, lane = Signal(range(self.config.phases)), Signal(range(lanes))
        left, coming = Signal(lanes), Signal(lanes)  # of the row, behind `lane`; of which the next pair's is the first
        to_row, to_phase = Signal(ROW_BITS), Signal(range(self.config.phases))
        takes = Cat(mask[at:at + lanes].any() for at in range(0, len(mask), lanes))
        turns, over, begins = Signal(), Signal(), Signal()
        m.d.comb += [
            turns.eq(self.row[:TILE_ROWS.bit_length() - 1].all() | at_end),
            over.eq(phase == last_of(takes)),
            self.seat.eq(Cat(lane, phase)),
            self.ends.eq(~left.any()),
            self.closes.eq(self.ends & turns),
            self.last.eq(self.closes & at_end & over),
            to_row.eq(self.row + 1),
            to_phase.eq(phase),
            begins.eq(self.start | self.ends),
            coming.eq(Mux(begins, mask.word_select(to_phase, lanes), left)),
        ]
        with m.If(self.start):
            m.d.comb += [to_row.eq(0), to_phase.eq(first_of(takes))]
        with m.Elif(turns & over):
            m.d.comb += to_phase.eq(first_of(takes))
        with m.Elif(turns):
            m.d.comb += [to_row.eq(self.row & ~(TILE_ROWS - 1)), to_phase.eq(phase + 1)]
        m.d.sync += mask.eq(samplers(self.config, self.state))
        with m.If(self.start | self.next):
            m.d.sync += [lane.eq(first_of(coming)), left.eq(coming & (coming - 1))]
            with m.If(begins):
                m.d.sync += [self.row.eq(to_row), phase.eq(to_phase)]
        check(m, ~self.start | mask.any(), "walk: somebody samples")
