"""The submission ring: takes the records that the host has put into memory, word by word."""

from amaranth.hdl import Cat, Const, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.memory.words import WordReader
from scoville.schedule.doorbell import COUNT_BITS, ENTRIES_BITS, Doorbell, ring_members
from scoville.schedule.records import REQUEST_BYTES

__all__ = ["WORDS", "SubmissionRing", "word_layout"]

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
    first : of both counts; tests begin where they wrap

    Members
    -------
    start : In(1), both counts become `first`; only between entries
    base, entries : In, SUBMIT_BASE, a multiple of 128 and of the bus; SUBMIT_ENTRIES, a power of two
    strobe, count : In, what the host writes to SUBMIT_TAIL
    head, tail : Out(32), SUBMIT_HEAD; what the doorbell said last
    overrun : Out(stream(32)), as of `Doorbell`
    request, response : Out(stream), In(stream), of the fetch port
    room : In(1), all words of an entry would be taken as they come; else none is asked for, as others read meanwhile
    o : Out(stream(word_layout))
    error : Out(1), for one cycle: the entry at `error_address` could not be read, nor is any after it
    refused : Out(1), with `error`: by the window
    """

    def __init__(self, config, *, first=0):
        self.config, self.first = config, first
        super().__init__(ring_members(config, first) | {
            "request": Out(stream.Signature(fetch_layout(config))),
            "response": In(stream.Signature(response_layout(config))),
            "room": In(1), "o": Out(stream.Signature(word_layout())),
            "error": Out(1), "refused": Out(1), "error_address": Out(config.addr_bits),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.doorbell = doorbell = Doorbell()
        m.submodules.reader = reader = WordReader(self.config)
        wiring.connect(m, doorbell.overrun, wiring.flipped(self.overrun))
        wiring.connect(m, reader.request, wiring.flipped(self.request))
        wiring.connect(m, wiring.flipped(self.response), reader.response)
        head, tail, index, word = self.head, self.tail, self.o.p.index, reader.o.p
        m.d.comb += [
            doorbell.strobe.eq(self.strobe), doorbell.count.eq(self.count), doorbell.origin.eq(tail),
            doorbell.most.eq(self.entries - (tail - head)),
            self.error_address.eq(
                self.base + Cat(Const(0, exact_log2(REQUEST_BYTES)), (head & (self.entries - 1))[:ENTRIES_BITS])),
            self.refused.eq(word.refused),
            reader.i.p.address.eq(self.error_address),
            reader.i.p.count.eq(WORDS),
            self.o.p.word.eq(word.word),
        ]
        with m.If(doorbell.rung):
            m.d.sync += tail.eq(self.count)

        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.comb += reader.i.valid.eq((tail != head) & self.room)
                m.d.sync += index.eq(0)
                with m.If(reader.i.valid & reader.i.ready):
                    m.next = "words"
            with m.State("words"):
                m.d.comb += [self.o.valid.eq(reader.o.valid & ~word.error), reader.o.ready.eq(self.o.ready)]
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(word.last):
                        m.d.sync += head.eq(head + 1)
                        m.next = "idle"
                with m.If(reader.o.valid & word.error):
                    m.d.comb += self.error.eq(1)
                    m.next = "failed"
            with m.State("failed"):  # until the reset that a fault asks for
                m.d.comb += reader.o.ready.eq(1)
        with m.If(self.start):
            m.d.sync += [head.eq(self.first), tail.eq(self.first)]
        check(m, ~self.start | fsm.ongoing("idle") & (tail == head), "submission ring: it starts between entries")
        check(m, (tail - head)[:COUNT_BITS] <= self.entries, "submission ring: no more entries than there are")
        check_stream(m, self.o, "submission ring: words")
        return m
