"""The rule of a pass, behind it: full pages, pages that windows have passed, tokens, and who has ended."""

from amaranth.hdl import Cat, Module, Mux, Signal

from scoville.kv.layouts import Op
from scoville.schedule.order import Change
from scoville.schedule.records import Error, Event, Reason
from scoville.schedule.rule.hand import KNOWN_BITS, PAGE_SHIFT, SlotState

__all__ = ["states"]


def states(m: Module, p, h):
    """From `COMPLETE` on. `p` is the `Planner`, for its ports, and `h` its `Hand`."""
    with m.State("COMPLETE"):
        m.d.sync += [h.slot.eq(h.seated[h.at[:h.seat_bits]]), h.at.eq(h.at + 1)]
        m.next = "COMMIT"
        with m.If(h.at == h.planned):
            m.next = "TAKE"
    with m.State("COMMIT"):
        behind = Signal(KNOWN_BITS)
        m.d.comb += behind.eq(h.mine.computed + h.counts[h.slot])
        m.d.sync += [h.mine.computed.eq(behind), h.leaves.eq(Cat(
            h.window(behind, span) >> PAGE_SHIFT != h.window(h.mine.computed, span) >> PAGE_SHIFT
            for span in p.span))]
        m.next = "RESULT"
        with m.If(behind >> PAGE_SHIFT != h.mine.computed >> PAGE_SHIFT):  # a page is full
            h.ask(Op.COMMIT, "RESULT", behind)
    with m.State("RESULT"):
        m.next = "COMPLETE"
        with m.If(h.leaves.any()):
            m.next = "LEAVE"
        with m.Elif(h.mine_left == 0):
            m.next = "SAMPLED"
    with m.State("LEAVE"):  # the first group whose window has passed a page
        for group, span in reversed(list(enumerate(p.span))):
            with m.If(h.leaves[group]):
                m.d.sync += h.leaves.eq(h.leaves & (h.leaves - 1))
                h.ask(Op.LEAVE, "RESULT", h.window(h.mine.computed, span), group)
    with m.State("SAMPLED"), m.If(p.sampled.valid):
        m.d.sync += h.mine.known.eq(h.mine.known + ~p.sampled.p.failed)
        m.next = "JUDGED"
    with m.State("JUDGED"):
        sampled = p.sampled.p
        long = h.mine.known > h.mine.most
        m.d.comb += p.sampled.ready.eq(1)
        with m.If(sampled.failed):
            h.tell(Event.ERROR, "ENDED", code=Error.READ)
        with m.Elif(sampled.stop | long):
            h.tell(Event.FINISHED, "FINISHED", token=sampled.token, code=Mux(
                sampled.stop, Reason.STOP, Mux(h.mine.lengthy, Reason.LENGTH, Reason.CONTEXT)))
        with m.Else():
            h.tell(Event.TOKEN, "COMPLETE", token=sampled.token)
    with m.State("FINISHED"):
        m.next = "ENDED"
        with m.If(h.mine.park):
            m.d.comb += [h.turns.change.eq(Change.DROP), h.parked.change.eq(Change.ADD)]
            m.d.sync += h.mine.state.eq(SlotState.PARKED)
            m.next = "COMPLETE"
    with m.State("ENDED"):
        h.close("COMPLETE")
