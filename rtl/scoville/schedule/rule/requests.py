"""The rule of a pass, between two passes: requests and cancels are taken."""

from amaranth.hdl import Module, Mux, Signal

from scoville.schedule.order import Change
from scoville.schedule.records import NO_SLOT, NONE, Error, Event, Flag, Kind, Reason
from scoville.schedule.rule.hand import SlotState

__all__ = ["states"]


def states(m: Module, p, h):
    """From `TAKE` on. `p` is the `Planner`, for its ports, and `h` its `Hand`."""
    with m.State("TAKE"):
        with m.If(p.request.valid):
            m.d.sync += h.taking.eq(1)
            h.find("TAKEN")
        with m.Elif(~p.more):
            m.d.sync += h.gave_way.eq(0)
            m.next = "DEAL"
    with m.State("TAKEN"):
        m.d.sync += h.slot.eq(h.other)  # that of the same id, if there is one
        with m.If(h.entry.kind == Kind.CANCEL):
            m.next = "CANCEL"
            with m.If(~h.same):
                m.next = "CONSUMED"
        with m.Else():
            error = Signal(8)
            m.d.comb += error.eq(Mux(h.vacant | (h.parked.count != 0), 0, Error.FULL))
            with m.If((h.entry.parent != NONE) & ~h.kin):
                m.d.comb += error.eq(Error.PARENT)
            with m.If(h.entry.error != 0):
                m.d.comb += error.eq(h.entry.error)
            with m.If((h.entry.error != Error.KIND) & (h.same | (h.entry.id == NONE))):
                m.d.comb += error.eq(Error.ID)
            m.d.sync += [h.news.id.eq(h.entry.id), h.news.event.eq(Event.ERROR), h.news.code.eq(error),
                         h.news.slot.eq(NO_SLOT), h.news.token.eq(NONE), h.news.position.eq(0)]
            with m.If(error != 0):
                h.report("CONSUMED")
            with m.Else():
                m.d.sync += h.slot.eq(h.family)
                m.next = "USE"
    with m.State("CANCEL"):
        with m.If(h.mine.state == SlotState.PARKED):
            h.evict("CONSUMED")
        with m.Else():
            h.tell(Event.FINISHED, "CANCELLED", code=Reason.CANCELLED)
    with m.State("CANCELLED"):
        h.close("CONSUMED")
    with m.State("USE"):  # the parent, if it is parked, is useful
        with m.If(h.kin & h.parked.member.bit_select(h.slot, 1)):
            m.d.comb += h.parked.change.eq(Change.RENEW)
        m.d.sync += h.slot.eq(h.free)
        m.next = "VACATE"
    with m.State("VACATE"):
        m.next = "ENTER"
        with m.If(~h.vacant):
            m.d.sync += h.slot.eq(h.parked.slots[0])
            h.evict("ENTER")
    with m.State("ENTER"):
        m.d.comb += [h.age.change.eq(Change.ADD), p.taken.eq(1)]
        m.d.sync += [
            h.priority[h.slot].eq(h.entry.priority), h.mine.state.eq(SlotState.WAITING),
            h.mine.known.eq(h.entry.prompt), h.mine.computed.eq(0),
            h.mine.park.eq((h.entry.flags & int(Flag.PARK)) != 0),
            *(getattr(h.mine, name).eq(getattr(h.entry, name))
              for name in ("most", "lengthy", "id", "tenant", "parent", "shared"))]
        m.next = "CONSUMED"
    with m.State("CONSUMED"):
        m.d.comb += p.request.ready.eq(1)
        m.next = "TAKE"
