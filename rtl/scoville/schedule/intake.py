"""Requests on their way from memory to the planner: read, judged, and their fields kept."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.schedule.doorbell import COUNT_BITS, ring_members
from scoville.schedule.fields import RequestFields, fields_layout
from scoville.schedule.judge import Judge, judge_settings, judged_layout
from scoville.schedule.submission import SubmissionRing

__all__ = ["Intake"]


class Intake(wiring.Component):
    """``SubmissionRing ─► RequestFields ─► Judge``: the next request is there before it is wanted.

    Parameters
    ----------
    config : ChipConfig
    first : as of `SubmissionRing`

    Members
    -------
    start, base, entries, strobe, count, head, tail, overrun, request, response, error, refused, error_address : of
        `SubmissionRing`
    settings : In(judge_settings)
    o : Out(stream(judged_layout))
    taken, slot, read_slot, fields : of `RequestFields`
    open : In(1), what the doorbell covers now is to be taken before the next plan; `more` : Out(1), some of it is not
        taken yet
    """

    def __init__(self, config, *, first=0):
        self.config, self.first = config, first
        slot = exact_log2(config.slots)
        super().__init__(ring_members(config, first) | {
            "request": Out(stream.Signature(fetch_layout(config))),
            "response": In(stream.Signature(response_layout(config))),
            "error": Out(1), "refused": Out(1), "error_address": Out(config.addr_bits),
            "settings": In(judge_settings(config)),
            "o": Out(stream.Signature(judged_layout())),
            "taken": In(1), "slot": In(slot), "read_slot": In(slot), "fields": Out(fields_layout()),
            "open": In(1), "more": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.ring = ring = SubmissionRing(self.config, first=self.first)
        m.submodules.rows = rows = RequestFields(self.config)
        m.submodules.judge = judge = Judge(self.config)
        connect(m, ring.o, rows.i)
        connect(m, rows.o, judge.i)
        connect(m, judge.o, flipped(self.o))
        connect(m, ring.request, flipped(self.request))
        connect(m, flipped(self.response), ring.response)
        connect(m, ring.overrun, flipped(self.overrun))
        m.d.comb += [judge.settings.eq(self.settings), ring.room.eq(judge.i.ready)]
        m.d.comb += [getattr(ring, name).eq(getattr(self, name))
                     for name in ("start", "base", "entries", "strobe", "count")]
        m.d.comb += [getattr(self, name).eq(getattr(ring, name))
                     for name in ("head", "tail", "error", "refused", "error_address")]
        m.d.comb += [getattr(rows, name).eq(getattr(self, name)) for name in ("taken", "slot", "read_slot")]
        m.d.comb += self.fields.eq(rows.fields)

        covered, gone = (Signal(COUNT_BITS, init=self.first, name=name) for name in ("covered", "gone"))
        left = Signal(COUNT_BITS)  # negative where `gone` is ahead
        m.d.comb += [left.eq(covered - gone), self.more.eq((left != 0) & ~left[-1])]
        m.d.sync += gone.eq(gone + (self.o.valid & self.o.ready))
        with m.If(self.open):
            m.d.sync += covered.eq(ring.tail)
        return m
