"""The order of attention, for who reads the pages and for who works on them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check
from scoville.config import PAGE_TOKENS, VALUES_BEHIND
from scoville.isa import OPERATION, POSITION_BITS, Opcode, width
from scoville.schedule.seats import PAGE_SHIFT, PassState

__all__ = ["AttendPlan", "step_layout"]

PAGE_BITS = POSITION_BITS - PAGE_SHIFT  # of a page's number in its sequence


def step_layout():
    """A page's keys, or the values of the first page whose values are due; then nothing but `value` counts.

    `page` of KV head `head`: `first` and `last` of the pages, for the last S pairs of the head if `last_pass`.
    """
    return data.StructLayout({
        "value": 1, "head": width(Opcode.ATTEND, "kv_heads"), "page": PAGE_BITS, "first": 1, "last": 1, "last_pass": 1})


class AttendPlan(wiring.Component):
    """Walks KV heads, then passes of S (token, query head) pairs, one a seat, then pages.

    The values follow the keys `VALUES_BEHIND` pages later, whatever head the pages are of, so that the softmax unit
    works on a page while the array is busy with others: K0, K1, K2, K3 V0, K4 V1, …. Front end and back end have one
    each, so they agree.

    Throughput: a step a cycle.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    op : In(OPERATION), an ATTEND, stable from the cycle of `start` on
    state : In(PassState), from the cycle before on
    start : In(1), between walks
    step : Out(stream(step_layout)), the first in the cycle behind `start`
    over : Out(1), all steps were taken
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "op": In(OPERATION),
            "state": In(PassState(config)),
            "start": In(1),
            "step": Out(stream.Signature(step_layout())),
            "over": Out(1),
        })

    @staticmethod
    def model(config, fields, state):
        """The steps: (head, number of the pass, page) of keys, and None for values.

        Parameters
        ----------
        fields : dict of the instruction, as `isa.decode` returns it
        state : dict of `PassState`

        Returns
        -------
        steps : list
        pages, passes : int, of each head
        """
        pages = state["seats"][state["tokens"] - 1]["position"] // PAGE_TOKENS + 1
        passes = -(-state["tokens"] * fields["group"] // config.seats)
        steps, behind = [], 0
        for head in range(fields["kv_heads"]):
            for number in range(passes):
                for page in range(pages):
                    steps.append((head, number, page))
                    behind += 1
                    if behind > VALUES_BEHIND:
                        steps.append(None)
                        behind -= 1
        return steps + [None] * behind, pages, passes

    def elaborate(self, platform):
        m = Module()
        config, state, op, step = self.config, self.state, self.op.attend, self.step.p

        last_seat, further = Signal(range(config.seats)), Signal(PAGE_BITS, reset_less=True)  # pages behind the first
        pairs, unserved = (Signal(16, name=name) for name in ("pairs", "unserved"))
        further_left = Signal(PAGE_BITS)  # pages of this pass behind `page`
        keys_left = Signal(init=0)
        behind = Signal(range(VALUES_BEHIND + 2))  # pages whose values are due
        m.d.sync += further.eq(state.seats[last_seat].position >> PAGE_SHIFT)
        m.d.comb += [
            last_seat.eq(state.tokens - 1),
            pairs.eq(state.tokens * op.group),
            step.value.eq(~keys_left | (behind > VALUES_BEHIND)),
            step.last_pass.eq(unserved <= config.seats),
            self.over.eq(~keys_left & (behind == 0)),
            self.step.valid.eq(~self.over),
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
        check(m, ~self.start | self.over, "attend plan: one walk at a time")
        return m
