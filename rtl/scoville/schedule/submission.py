"""The submission ring: takes the records that the host has put into memory, word by word."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.schedule.doorbell import COUNT_BITS, Doorbell
from scoville.schedule.records import REQUEST_BYTES

__all__ = ["ENTRIES_BITS", "WORDS", "SubmissionRing", "word_layout"]

ENTRIES_BITS = 17  # of SUBMIT_ENTRIES and COMPLETE_ENTRIES: up to 2^16
WORDS = REQUEST_BYTES // 4


def word_layout():
    """A word of a record, and its place in it."""
    return data.StructLayout({"word": 32, "index": range(WORDS)})


class SubmissionRing(wiring.Component):
    """Reads an entry as soon as the doorbell covers it, and offers its words in order. Model: `rings.SubmissionRing`.

    A record is not kept here: a word goes as it comes from memory. Its place may be used again once its last word is
    taken.

    Throughput: a word a cycle; between entries 2 cycles and the memory's latency.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    start : In(1), both counts become 0; only between entries
    base, entries : In, SUBMIT_BASE, a multiple of 128 and of the bus; SUBMIT_ENTRIES, a power of two
    strobe, count : In, what the host writes to SUBMIT_TAIL
    head, tail : Out(32), SUBMIT_HEAD; what the doorbell said last
    overrun : Out(stream(32)), as of `Doorbell`
    request, response : Out(stream), In(stream), of the fetch port
    o : Out(stream(word_layout))
    error : Out(1), for one cycle: the entry at `error_address` could not be read, nor is any after it
    refused : Out(1), with `error`: by the window
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(1),
            "base": In(config.addr_bits), "entries": In(ENTRIES_BITS),
            "strobe": In(1), "count": In(COUNT_BITS),
            "head": Out(COUNT_BITS), "tail": Out(COUNT_BITS),
            "overrun": Out(stream.Signature(COUNT_BITS)),
            "request": Out(stream.Signature(fetch_layout(config))),
            "response": In(stream.Signature(response_layout(config))),
            "o": Out(stream.Signature(word_layout())),
            "error": Out(1), "refused": Out(1), "error_address": Out(config.addr_bits),
        })

    def elaborate(self, platform):
        m = Module()
        word_bits = exact_log2(self.config.bus_bytes // 4)  # of a word's number in a beat
        beats = max(1, REQUEST_BYTES // self.config.bus_bytes)
        m.submodules.doorbell = doorbell = Doorbell()
        wiring.connect(m, doorbell.overrun, wiring.flipped(self.overrun))
        head, tail, index = self.head, self.tail, self.o.p.index
        place = Signal(self.config.addr_bits)
        m.d.comb += [
            doorbell.strobe.eq(self.strobe), doorbell.count.eq(self.count), doorbell.origin.eq(head),
            doorbell.low.eq(tail - head), doorbell.high.eq(self.entries),
            place.eq(self.base + Cat(Const(0, exact_log2(REQUEST_BYTES)), (head & (self.entries - 1))[:ENTRIES_BITS])),
            # A bus wider than an entry is read at the beat that has it.
            self.request.p.address[exact_log2(self.config.bus_bytes):].eq(place[exact_log2(self.config.bus_bytes):]),
            self.request.p.beats.eq(beats),
            self.error_address.eq(place),
            self.refused.eq(self.response.p.refused),
        ]
        with m.If(doorbell.rung):
            m.d.sync += tail.eq(self.count)

        # The word's number in its beat; on a bus wider than an entry some of it are bits of the address.
        word = Cat(index, place[exact_log2(REQUEST_BYTES):])[:word_bits]
        last = Signal()  # of its beat, or of the record
        m.d.comb += [
            self.o.p.word.eq(self.response.p.data.word_select(word, 32)),
            last.eq(index[:min(word_bits, len(index))].all()),
        ]
        with m.FSM() as fsm:
            with m.State("idle"), m.If(tail != head):
                m.next = "ask"
            with m.State("ask"):
                m.d.comb += self.request.valid.eq(1)
                m.d.sync += index.eq(0)
                with m.If(self.request.ready):
                    m.next = "words"
            with m.State("words"):
                m.d.comb += [
                    self.o.valid.eq(self.response.valid & ~self.response.p.error),
                    self.response.ready.eq(self.o.ready & last),
                ]
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == WORDS - 1):
                        m.d.sync += head.eq(head + 1)
                        m.next = "idle"
                with m.If(self.response.valid & self.response.p.error):
                    m.d.comb += self.error.eq(1)
                    m.next = "failed"
            with m.State("failed"):  # until the reset that a fault asks for
                m.d.comb += self.response.ready.eq(1)
        with m.If(self.start):
            m.d.sync += [head.eq(0), tail.eq(0)]
        check(m, ~self.start | fsm.ongoing("idle") & (tail == head), "submission ring: it starts between entries")
        check(m, (tail - head)[:COUNT_BITS] <= self.entries, "submission ring: no more entries than there are")
        check_stream(m, self.request, "submission ring: request")
        check_stream(m, self.o, "submission ring: words")
        return m
