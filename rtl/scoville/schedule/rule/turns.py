"""The rule of a pass, steps 1 to 3: a seat and a page for each that runs, and what is left for prompts."""

from amaranth.hdl import Module

from scoville.kv.layouts import Op
from scoville.schedule.order import Change
from scoville.schedule.records import Event
from scoville.schedule.rule.hand import PAGE_SHIFT, SlotState

__all__ = ["states"]


def states(m: Module, p, h):
    """From `DEAL` on. `p` is the `Planner`, for its ports, and `h` its `Hand`."""
    with m.State("DEAL"):
        m.d.comb += p.again.eq(1)
        m.d.sync += [h.planned.eq(0), h.spare.eq(p.config.seats), h.counts.eq(0), h.seen.eq(0), h.at.eq(0)]
        h.best(h.prompts, "TURNS")
    with m.State("TURNS"):
        m.d.sync += [h.first_prompt.eq(h.choice.slot), h.prompted.eq(h.choice.found)]
        m.next = "TURN"
    with m.State("TURN"):
        m.d.sync += h.slot.eq(h.turns.slots[h.at[:h.number]])
        m.next = "GROW"
        with m.If((h.at == h.turns.count) | (h.spare == 0)):
            m.next = "PROMPTS"
    with m.State("GROW"):
        m.d.sync += h.at.eq(h.at + 1)
        m.next = "TURN"
        with m.If((h.mine_left == 1) | h.prompted & (h.slot == h.first_prompt)):
            with m.If(h.mine.computed[:PAGE_SHIFT] == 0):  # else its page is there
                m.d.sync += h.at.eq(h.at)
                h.ask(Op.RESERVE, "GROWN", h.mine.computed + 1)
            with m.Else():
                h.give(1)
    with m.State("GROWN"):
        with m.If(h.ok):
            h.give(1)
            m.d.sync += h.at.eq(h.at + 1)
            m.next = "TURN"
        with m.Elif(h.parked.count != 0):
            m.d.sync += h.slot.eq(h.parked.slots[0])
            h.evict("TURN")
        with m.Else():
            h.best(h.runs, "PREEMPT", last=1)
    with m.State("PREEMPT"):
        m.d.sync += [h.slot.eq(h.choice.slot), h.gave_way.eq(1)]
        m.next = "PREEMPTED"
    with m.State("PREEMPTED"):
        m.d.comb += h.turns.change.eq(Change.DROP)
        m.d.sync += [h.mine.state.eq(SlotState.WAITING), h.mine.computed.eq(0)]
        h.ask(Op.RELEASE, "GONE")
    with m.State("GONE"):
        h.tell(Event.PREEMPTED, "DEAL")
    with m.State("PROMPTS"):
        m.next = "ADMISSION"
        with m.If(h.spare != 0):
            h.best(h.prompts & ~h.seen, "PROMPT")
    with m.State("PROMPT"):
        m.d.sync += h.slot.eq(h.choice.slot)
        m.next = "CHUNK"
        with m.If(~h.choice.found):
            m.next = "ADMISSION"
    with m.State("CHUNK"):
        h.give(h.more)
        m.d.sync += h.seen.bit_select(h.slot, 1).eq(1)
        m.next = "PROMPTS"
