"""The rule of a pass, steps 5 and 6: runs go to their seats, the order of the next turns, and the pass."""

from amaranth.hdl import Module

from scoville.schedule.order import Change
from scoville.schedule.records import Event

__all__ = ["states"]


def states(m: Module, p, h):
    """From `EMIT` on. `p` is the `Planner`, for its ports, and `h` its `Hand`."""
    with m.State("EMIT"):
        m.d.sync += [h.at.eq(0), h.seat.eq(0)]
        m.next = "IDLE"
        with m.If(h.planned != 0):
            m.next = "NEXT"
    with m.State("IDLE"):  # nothing is to be computed, unless all that ran failed when one had given way
        m.d.comb += p.idle.eq(1)
        with m.If(p.request.valid | p.more | h.gave_way):
            m.next = "TAKE"
    with m.State("NEXT"):
        m.d.sync += h.slot.eq(h.seated[h.at[:h.seat_bits]])
        m.next = "RUN"
        with m.If(h.at == h.planned):
            m.d.sync += h.at.eq(0)
            m.next = "ORDER"
    with m.State("RUN"):
        m.d.comb += p.run.valid.eq(1)
        with m.If(p.run.ready):
            m.next = "VERDICT"
    with m.State("VERDICT"):
        m.d.comb += p.verdict.ready.eq(1)
        with m.If(p.verdict.valid):
            m.d.sync += [h.at.eq(h.at + 1), h.seat.eq(h.seat + h.counts[h.slot])]
            m.next = "NEXT"
            with m.If(p.verdict.payload != 0):
                h.tell(Event.ERROR, "FAILED", code=p.verdict.payload)
    with m.State("FAILED"):
        h.close("DEAL")
    with m.State("ORDER"):
        m.d.sync += h.slot.eq(h.seated[h.at[:h.seat_bits]])
        m.next = "BEHIND"
        with m.If(h.at == h.planned):
            m.d.comb += p.begin.eq(1)
            m.next = "PASS"
    with m.State("BEHIND"):
        m.d.comb += h.turns.change.eq(Change.RENEW)
        m.d.sync += h.at.eq(h.at + 1)
        m.next = "ORDER"
    with m.State("PASS"):
        m.d.sync += h.at.eq(0)
        with m.If(p.done):
            m.d.sync += p.passes.eq(p.passes + 1)
            m.next = "COMPLETE"
