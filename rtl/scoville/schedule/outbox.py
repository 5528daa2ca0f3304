"""Completions on their way to memory: as of when they happened, in that order, behind the tokens that they report."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.checks import check_fifo
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.completion import CYCLE_BITS, CompletionRing, news_layout
from scoville.schedule.doorbell import COUNT_BITS, ENTRIES_BITS, ring_members
from scoville.schedule.records import NO_SLOT, NONE, Error, Event

__all__ = ["Outbox"]


class Outbox(wiring.Component):
    """A queue in front of the `CompletionRing`, so that nobody waits for memory while there is room in it.

    An entry is written once every token that was sampled before is in memory. With `halt` no entry is begun any more.
    Up to twice as many completions as there are slots wait here while the ring is full; then whoever reports waits.

    Throughput: a completion a cycle, up to the queue's depth; behind it that of `CompletionRing`.

    Parameters
    ----------
    config : ChipConfig
    first : as of `CompletionRing`; taken as a signed number, the count of cycles begins with it too

    Members
    -------
    start, base, entries, strobe, count, head, tail, posted, write_command, write_data, written : of `CompletionRing`
    news : In(stream(news_layout)); passes : In(32), completed so far
    overrun : In(stream(32)), of the other ring's doorbell
    settled : In(1), as of `TokenWriter`; halt : In(1)
    held : Out(1), the host has to make room; empty : Out(1), every completion is in memory
    """

    def __init__(self, config, *, first=0):
        self.config, self.first = config, first
        members = ring_members(config, first) | {
            "news": In(stream.Signature(news_layout())), "passes": In(32),
            "overrun": In(stream.Signature(COUNT_BITS)),
            "write_command": Out(stream.Signature(write_command_layout(config))),
            "write_data": Out(stream.Signature(write_data_layout(config))),
            "written": In(1), "settled": In(1), "halt": In(1),
            "posted": Out(1), "held": Out(1), "empty": Out(1),
        }
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ring = ring = CompletionRing(self.config, first=self.first)
        item = data.StructLayout({"news": news_layout(), "passes": 32, "cycles": CYCLE_BITS})
        m.submodules.queue = queue = SyncFIFOBuffered(width=item.size, depth=2 * self.config.slots)
        come, front = data.View(item, queue.w_data), data.View(item, queue.r_data)
        cycles = Signal(CYCLE_BITS)
        m.d.sync += cycles.eq(cycles + 1)
        with m.If(self.start):
            m.d.sync += cycles.eq(self.first - (self.first >> COUNT_BITS - 1 << COUNT_BITS))

        m.d.comb += [come.passes.eq(self.passes), come.cycles.eq(cycles)]
        overruns = (self.overrun, ring.overrun)
        with m.If(overruns[0].valid | overruns[1].valid):
            m.d.comb += [come.news.id.eq(NONE), come.news.event.eq(Event.ERROR), come.news.code.eq(Error.OVERRUN),
                         come.news.slot.eq(NO_SLOT), queue.w_en.eq(queue.w_rdy)]
            with m.If(overruns[0].valid):
                m.d.comb += [come.news.token.eq(overruns[0].payload), overruns[0].ready.eq(queue.w_rdy)]
            with m.Else():
                m.d.comb += [come.news.token.eq(overruns[1].payload), overruns[1].ready.eq(queue.w_rdy)]
        with m.Else():
            m.d.comb += [come.news.eq(self.news.payload), queue.w_en.eq(self.news.valid & queue.w_rdy),
                         self.news.ready.eq(queue.w_rdy)]

        going = Signal()  # the front is being written
        with m.If(ring.i.ready):
            m.d.sync += going.eq(0)
        with m.Elif(queue.r_rdy & self.settled & ~self.halt):
            m.d.sync += going.eq(1)
        m.d.comb += [ring.i.valid.eq(going), ring.i.payload.eq(front.news), queue.r_en.eq(ring.i.ready),
                     ring.passes.eq(front.passes), ring.cycles.eq(front.cycles)]

        m.d.comb += [self.held.eq(going & ((ring.tail - ring.head)[:ENTRIES_BITS] == self.entries)),
                     self.empty.eq(~queue.r_rdy)]
        m.d.comb += [getattr(ring, name).eq(getattr(self, name))
                     for name in ("start", "base", "entries", "strobe", "count", "written")]
        m.d.comb += [getattr(self, name).eq(getattr(ring, name)) for name in ("head", "tail", "posted")]
        for name in ("write_command", "write_data"):
            connect(m, getattr(ring, name), flipped(getattr(self, name)))
        check_fifo(m, queue, "outbox: queue")
        return m
