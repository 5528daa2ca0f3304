"""The planner: the rule of a pass, docs/schedule.md, a step after the other."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.isa import POSITION_BITS
from scoville.kv.layouts import answer_layout, command_layout, page_count
from scoville.schedule.completion import news_layout
from scoville.schedule.judge import judged_layout
from scoville.schedule.rule import admission, requests, results, seating, steps, turns
from scoville.schedule.rule.hand import Hand

__all__ = ["Planner", "planned_layout", "sampled_layout"]


def planned_layout(config):
    """A run: `count` tokens of a slot from `first` on, for the seats from `seat` on; whether it samples."""
    return data.StructLayout({"slot": exact_log2(config.slots), "first": POSITION_BITS,
                              "count": range(config.seats + 1), "seat": range(config.seats), "samples": 1})


def sampled_layout():
    """A run's token; whether it is in the stop list, or the list could not be read."""
    return data.StructLayout({"token": 32, "stop": 1, "failed": 1})


class Planner(wiring.Component):
    """Takes requests, plans passes and says what came of them, as `model.Scheduler` does.

    Between two passes: what the pass gave, then requests, then the plan.

    Parameters
    ----------
    config : ChipConfig, of two slots at least

    Members
    -------
    running : In, sequences that may run at a time
    span : In(array), tokens that the layers of each cache group look back on, themselves counted; 0 for all
    more : In(1), requests are to be taken that were there before the plan
    request : In(stream(judged_layout))
    taken : Out(1), the request that goes has got slot `slot`
    command, answer, free : of the KV-cache controller
    run : Out(stream(planned_layout)); verdict : In(stream(8)), for each: 0, or the `Error` of its tokens
    again : Out(1), for one cycle: the runs so far are void
    begin : Out(1), for one cycle: the pass is as planned; done : In(1), for one cycle: it is computed
    idle : Out(1), nothing is to be computed
    sampled : In(stream(sampled_layout)), for each run that samples, in order, behind `done`
    news : Out(stream(news_layout)), completions
    passes : Out(32), completed
    """

    def __init__(self, config):
        if config.slots < 2:
            raise ValueError("one slot needs no planner")
        self.config = config
        super().__init__({
            "running": In(range(config.slots + 1)),
            "span": In(data.ArrayLayout(POSITION_BITS, config.cache_groups)),
            "more": In(1), "request": In(stream.Signature(judged_layout())),
            "taken": Out(1), "slot": Out(exact_log2(config.slots)),
            "command": Out(stream.Signature(command_layout(config))),
            "answer": In(stream.Signature(answer_layout(config))), "free": In(page_count(config)),
            "run": Out(stream.Signature(planned_layout(config))), "verdict": In(stream.Signature(8)), "again": Out(1),
            "begin": Out(1), "done": In(1), "idle": Out(1),
            "sampled": In(stream.Signature(sampled_layout())),
            "news": Out(stream.Signature(news_layout())), "passes": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        hand = Hand(m, self)
        with m.FSM() as fsm:
            for part in (requests, turns, admission, seating, results, steps):
                part.states(m, self, hand)
        mine, seats = hand.mine, hand.counts[hand.slot]
        m.d.comb += [
            self.slot.eq(hand.slot),
            self.run.p.slot.eq(hand.slot), self.run.p.first.eq(mine.computed), self.run.p.count.eq(seats),
            self.run.p.seat.eq(hand.seat), self.run.p.samples.eq(hand.mine_left == seats),
        ]
        for name in ("command", "run", "news"):
            check_stream(m, getattr(self, name), f"planner: {name}")
        check(m, ~self.done | fsm.ongoing("PASS"), "planner: a pass that ends has begun")
        check(m, hand.turns.count <= self.running, "planner: no more run than may")
        check(m, ~(hand.turns.member & hand.parked.member).any(), "planner: who is parked does not run")
        return m
