"""The order of attention, for who reads the pages and for who works on them."""

from typing import NamedTuple

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check
from scoville.config import PAGE_TOKENS, VALUES_BEHIND
from scoville.isa import OPERATION, POSITION_BITS, Opcode, width
from scoville.program.spread import pass_places, places, runs
from scoville.schedule.seats import PAGE_SHIFT, PassState

__all__ = ["AttendPlan", "Served", "step_layout"]

PAGE_BITS = POSITION_BITS - PAGE_SHIFT  # of a page's number in its sequence


def step_layout(config):
    """A page's keys, or the values of the first page whose values are due; then nothing but `value` counts.

    `page` of KV head `head`: `first` and `last` of the pages, for the last pairs of the head if `last_pass`. With more
    slots than one: it is the page of `slot`, for its run from `first_seat` to `last_seat`; `again` says that the next
    pass is of the same turn, for the run behind it.
    """
    seats = range(config.seats)
    several = {"slot": exact_log2(config.slots), "first_seat": seats, "last_seat": seats, "again": 1}
    return data.StructLayout({
        "value": 1, "head": width(Opcode.ATTEND, "kv_heads"), "page": PAGE_BITS, "first": 1, "last": 1, "last_pass": 1,
    } | (several if config.slots > 1 else {}))


class Served(NamedTuple):
    """A pass over the pages of a KV head: of `slot`, for those pairs of the seats `first` to `last` that are in `turn`.
    """

    slot: int
    first: int
    last: int
    turn: int
    pages: int


class AttendPlan(wiring.Component):
    """Walks KV heads, then runs, then passes of up to S (token, query head) pairs, one a seat, then pages.

    A pass serves what a turn of the pairs (`spread`) has of one run. The values follow the keys `VALUES_BEHIND` pages
    later, whatever head and run the pages are of, so that the softmax unit works on a page while the array is busy with
    others: K0, K1, K2, K3 V0, K4 V1, …. Front end and back end have one each, so they agree.

    Throughput: a step a cycle; with more slots than one, two cycles without a step behind a run's last keys.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    op : In(OPERATION), an ATTEND, stable from the cycle of `start` on
    state : In(PassState), from the cycle before on
    start : In(1), between walks
    step : Out(stream(step_layout)), the first in the cycle behind `start`, with more slots than one in the third
    over : Out(1), all steps were taken
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "op": In(OPERATION),
            "state": In(PassState(config)),
            "start": In(1),
            "step": Out(stream.Signature(step_layout(config))),
            "over": Out(1),
        })

    @staticmethod
    def model(config, fields, state):
        """The steps: (head, pass, page) of keys, and None for values.

        Parameters
        ----------
        fields : dict of the instruction, as `isa.decode` returns it
        state : dict of `PassState`

        Returns
        -------
        steps : list
        passes : list of `Served`, of each head
        """
        passes, group, whole = [], fields["group"], runs(state)
        for slot, first, last in whole:
            room = places(config, group, len(whole) > 1)
            pages = state["seats"][last]["position"] // PAGE_TOKENS + 1
            passes += [Served(slot, first, last, turn, pages)
                       for turn in range(first * room // config.seats, (last * room + group - 1) // config.seats + 1)]
        steps, behind = [], 0
        for head in range(fields["kv_heads"]):
            for served in passes:
                for page in range(served.pages):
                    steps.append((head, served, page))
                    behind += 1
                    if behind > VALUES_BEHIND:
                        steps.append(None)
                        behind -= 1
        return steps + [None] * behind, passes

    def elaborate(self, platform):
        m = Module()
        config, state, op, step = self.config, self.state, self.op.attend, self.step.p

        # Of a run: its last seat, its pages behind the first, and its pairs, with those before it in the same turn.
        last_seat, further = Signal(range(config.seats)), Signal(PAGE_BITS, reset_less=True)
        pairs, unserved = (Signal(16, name=name) for name in ("pairs", "unserved"))
        found, last_run, last_turn = Signal(init=1), Signal(init=1), Signal()
        further_left = Signal(PAGE_BITS)  # pages of this pass behind `page`
        keys_left = Signal(init=0)
        behind = Signal(range(VALUES_BEHIND + 2))  # pages whose values are due
        m.d.sync += further.eq(state.seats[last_seat].position >> PAGE_SHIFT)
        m.d.comb += [
            last_turn.eq(unserved <= config.seats),
            step.value.eq(~keys_left | (behind > VALUES_BEHIND)),
            step.last_pass.eq(last_turn & last_run),
            self.over.eq(~keys_left & (behind == 0)),
            self.step.valid.eq(found & ~self.over),
        ]

        def begin_pass():
            return [step.page.eq(0), step.first.eq(1), step.last.eq(further == 0), further_left.eq(further)]

        with m.If(self.start):
            m.d.sync += [*begin_pass(), step.head.eq(0), unserved.eq(pairs), keys_left.eq(1)]
        with m.Elif(self.step.valid & self.step.ready):
            with m.If(step.value):
                m.d.sync += behind.eq(behind - 1)
            with m.Else():
                m.d.sync += [behind.eq(behind + 1), step.page.eq(step.page + 1), step.first.eq(0),
                             step.last.eq(further_left == 1), further_left.eq(further_left - 1)]
                with m.If(step.last):
                    m.d.sync += [*begin_pass(), unserved.eq(unserved - config.seats)]
                    with m.If(step.last_pass):
                        m.d.sync += [step.head.eq(step.head + 1), unserved.eq(pairs),
                                     keys_left.eq(step.head + 1 != op.kv_heads)]
        if config.slots == 1:
            m.d.comb += [last_seat.eq(state.tokens - 1), pairs.eq(state.tokens * op.group)]
        else:
            ends = self.step.valid & self.step.ready & ~step.value & step.last & last_turn
            with m.If(self._find_run(m, ends, last_turn, last_seat, pairs, last_run, found)):
                m.d.sync += [*begin_pass(), unserved.eq(pairs)]
        check(m, ~self.start | self.over, "attend plan: one walk at a time")
        return m

    def _find_run(self, m, ends, last_turn, last_seat, pairs, last_run, found):
        """Finds the pass's first run, then the one behind that which `ends`: drives what is named behind `last_turn`.
        Returns whether this is the last cycle in which it is not `found`."""
        config, state, step = self.config, self.state, self.step.p
        room, turn_bits = pass_places(m, config, state, self.op.attend.group), exact_log2(config.seats)
        seeking = Signal(2)  # its seats are known; and its pages and pairs
        run_ends = Signal(config.seats, reset_less=True)  # seats behind which there is another run, or none
        at, begin = Signal(16, reset_less=True), Signal(16)  # places before the run's last token, and before the run
        m.d.sync += [
            run_ends.eq(Cat((state.tokens == seat + 1) | (state.seats[seat].slot != state.seats[seat + 1].slot)
                            for seat in range(config.seats - 1)) | 1 << config.seats - 1),
            at.eq(last_seat * room),
            seeking.eq(seeking << 1),
        ]
        for seat in reversed(range(config.seats)):
            with m.If(run_ends[seat] & (step.first_seat <= seat)):
                m.d.comb += last_seat.eq(seat)
        m.d.comb += [
            last_run.eq(last_seat == state.tokens - 1),
            pairs.eq(at + self.op.attend.group - (begin[turn_bits:] << turn_bits)),
            found.eq(seeking == 0),
            step.last_seat.eq(last_seat),
            step.again.eq(last_turn & ~last_run & (at + room)[:turn_bits].any()),
        ]
        with m.If(seeking[1]):
            m.d.sync += step.slot.eq(state.seats[step.first_seat].slot)
        with m.If(ends):
            m.d.sync += [seeking.eq(1), step.first_seat.eq(last_seat + 1), begin.eq(at + room)]
        with m.If(self.start | ends & last_run):
            m.d.sync += [seeking.eq(1), step.first_seat.eq(0), begin.eq(0)]
        check(m, ~self.step.valid | step.value | (step.first_seat <= last_seat) & (last_seat < state.tokens),
              "attend plan: a run's seats are the pass's")
        return seeking[1]
