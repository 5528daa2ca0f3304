"""The rule of a pass: what several of its parts do, each a `Call`."""

from amaranth.hdl import Module, Mux

from scoville.kv.layouts import Op
from scoville.schedule.order import Change
from scoville.schedule.records import Event
from scoville.schedule.rule.hand import SlotState

__all__ = ["states"]


def states(m: Module, p, h):
    """They return, so they come last. `p` is the `Planner`, for its ports, and `h` its `Hand`."""
    with m.State("EVICT"):
        h.tell(Event.EVICTED, "EVICTED")
    with m.State("EVICTED"):
        h.close("EVICTION")
    with m.State("EVICTION"):
        h.evict.back()
    with m.State("CLOSE"):
        for order in (h.turns, h.parked, h.age):
            with m.If(order.member.bit_select(h.slot, 1)):
                m.d.comb += order.change.eq(Change.DROP)
        m.d.sync += h.mine.state.eq(SlotState.FREE)
        h.ask(Op.RELEASE, "CLOSED")
    with m.State("CLOSED"):
        h.close.back()
    with m.State("FIND"):  # in all slots: the request's id, its parent, and a free one
        m.d.sync += [h.at.eq(0), h.same.eq(0), h.kin.eq(0), h.vacant.eq(0)]
        m.next = "FINDING"
    with m.State("FINDING"):
        here = h.slots[h.at[:h.number]]
        there = here.state != SlotState.FREE
        m.d.sync += h.at.eq(h.at + 1)
        wanted, tenant = Mux(h.taking, h.entry.parent, h.mine.parent), Mux(h.taking, h.entry.tenant, h.mine.tenant)
        with m.If(~there & ~h.vacant):
            m.d.sync += [h.vacant.eq(1), h.free.eq(h.at)]
        with m.If(h.taking & there & (here.id == h.entry.id)):
            m.d.sync += [h.same.eq(1), h.other.eq(h.at)]
        with m.If(there & (here.id == wanted) & (here.tenant == tenant)):
            m.d.sync += [h.kin.eq(1), h.family.eq(h.at)]
        with m.If(h.at == p.config.slots - 1):
            m.next = "FOUND"
    with m.State("FOUND"):
        h.find.back()
    with m.State("REPORT"):
        m.d.comb += p.news.valid.eq(1)
        with m.If(p.news.ready):
            h.report.back()
    with m.State("KV"):
        m.d.comb += p.command.valid.eq(1)
        with m.If(p.command.ready):
            m.next = "ANSWER"
    with m.State("ANSWER"):
        m.d.comb += p.answer.ready.eq(1)
        with m.If(p.answer.valid):
            m.d.sync += [h.ok.eq(p.answer.p.ok), h.pages.eq(p.answer.p.pages)]
            m.next = "ANSWERED"
    with m.State("ANSWERED"):
        h.kv.back()
    with m.State("CHOOSE"):
        m.d.comb += h.choice.start.eq(1)
        m.next = "CHOOSING"
    with m.State("CHOOSING"), m.If(h.choice.done):
        h.choose.back()
