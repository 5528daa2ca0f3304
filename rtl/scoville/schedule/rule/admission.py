"""The rule of a pass, step 4: who waits is admitted if there is a page for each of its tokens."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.utils import exact_log2

from scoville.config import PAGE_TOKENS
from scoville.isa import POSITION_BITS
from scoville.kv.layouts import Op
from scoville.schedule.order import Change
from scoville.schedule.rule.hand import PAGE_SHIFT, SlotState

__all__ = ["states"]


def states(m: Module, p, h):
    """From `ADMISSION` on. `p` is the `Planner`, for its ports, and `h` its `Hand`."""
    with m.State("ADMISSION"):
        m.d.sync += h.seen.eq(0)
        m.next = "EMIT"
        with m.If(~h.gave_way):
            m.next = "ADMIT"
    with m.State("ADMIT"):
        m.next = "EMIT"
        with m.If(h.turns.count != p.running):
            h.best(h.waits & ~h.seen, "CANDIDATE")
    with m.State("CANDIDATE"):
        m.d.sync += [h.slot.eq(h.choice.slot), h.taking.eq(0)]
        m.next = "EMIT"
        with m.If(h.choice.found):
            h.find("KIN")
    with m.State("KIN"):
        shared = Signal(POSITION_BITS)
        m.d.comb += shared.eq(Mux(h.mine.shared < h.mine.known - 1, h.mine.shared, h.mine.known - 1))
        m.d.sync += [h.target.eq(shared >> PAGE_SHIFT), h.other.eq(h.family)]
        h.best((1 << h.slot) | (1 << h.family), "WORTH")  # who is before whom
    with m.State("WORTH"):
        with m.If(h.kin & (h.its.state == SlotState.RUNNING) & (h.choice.slot == h.other)
                  & h.prompts.bit_select(h.other, 1) & (h.its.computed < (h.target << PAGE_SHIFT))):
            m.d.sync += h.seen.bit_select(h.slot, 1).eq(1)
            m.next = "ADMIT"
        with m.Else():
            h.ask(Op.OPEN, "OPENED")
    with m.State("OPENED"):
        full = Signal.like(h.target)
        m.d.comb += full.eq(Mux(h.target < h.its.computed >> PAGE_SHIFT, h.target, h.its.computed >> PAGE_SHIFT))
        m.d.sync += [h.target.eq(full), h.at.eq(0), h.hope.eq(0)]
        m.next = "HOPE"
        with m.If(h.kin & (full != 0)):
            h.ask(Op.FORK, "FORKED", full)
    with m.State("FORKED"):
        m.next = "HOPE"
        with m.If(h.ok):
            m.d.sync += h.mine.computed.eq(h.target << PAGE_SHIFT)
            m.next = "SHARED"
    with m.State("SHARED"):
        m.d.sync += [h.slot.eq(h.other), h.other.eq(h.slot)]
        m.next = "RENEW"
    with m.State("RENEW"):
        with m.If(h.parked.member.bit_select(h.slot, 1)):
            m.d.comb += h.parked.change.eq(Change.RENEW)
        m.d.sync += [h.slot.eq(h.other), h.other.eq(h.slot)]
        m.next = "HOPE"
    with m.State("HOPE"):  # pages that there are, and that parked slots have
        m.d.sync += [h.other.eq(h.parked.slots[h.at[:h.number]]), h.at.eq(h.at + 1)]
        m.next = "HOPING"
        with m.If(h.at == h.parked.count):
            m.d.sync += h.hope.eq(h.hope + p.free)
            m.next = "NEED"
    with m.State("HOPING"):
        begun = ((h.its.computed + (PAGE_TOKENS - 1)) >> PAGE_SHIFT) << exact_log2(p.config.cache_groups)
        m.d.sync += h.hope.eq(Mux(h.hope + begun > p.config.pool_pages, p.config.pool_pages, h.hope + begun))
        m.next = "HOPE"
    with m.State("NEED"):
        h.ask(Op.RESERVE, "NEEDED", h.mine.known)
    with m.State("NEEDED"):
        m.d.sync += h.other.eq(h.slot)
        with m.If(h.ok):
            m.next = "ADMITTED"
        with m.Elif((h.pages > h.hope) | (h.parked.count == 0)):
            m.d.sync += h.mine.computed.eq(0)
            h.ask(Op.RELEASE, "EMIT")
        with m.Else():
            m.d.sync += h.slot.eq(h.parked.slots[0])
            h.evict("AGAIN")
    with m.State("AGAIN"):
        m.d.sync += h.slot.eq(h.other)
        m.next = "NEED"
    with m.State("ADMITTED"):
        m.d.comb += h.turns.change.eq(Change.ADD)
        m.d.sync += h.mine.state.eq(SlotState.RUNNING)
        with m.If(h.more != 0):
            h.give(h.more)
        m.next = "ADMIT"
