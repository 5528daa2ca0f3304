"""Reads a few 32-bit words from memory, one after the other, whatever the bus is wide."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.memory.fetch_port import BEATS_BITS, fetch_layout, response_layout

__all__ = ["MAX_WORDS", "WordReader", "read_word_layout", "word_request_layout"]

MAX_WORDS = 256


def word_request_layout(config):
    """`count` words, 1 to 256, from `address` on, a multiple of 4."""
    return data.StructLayout({"address": config.addr_bits, "count": range(MAX_WORDS + 1)})


def read_word_layout():
    """A word; whether it is the last; whether it could not be read, and if so, whether the window refused it."""
    return data.StructLayout({"word": 32, "last": 1, "error": 1, "refused": 1})


class WordReader(wiring.Component):
    """One request at a time, as one short read of the fetch port. Nothing is kept: a word goes as its beat comes.

    Throughput: a word a cycle; 2 cycles and the memory's latency between requests.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream(word_request_layout))
    o : Out(stream(read_word_layout))
    request, response : Out(stream), In(stream), of the fetch port
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(word_request_layout(config))),
            "o": Out(stream.Signature(read_word_layout())),
            "request": Out(stream.Signature(fetch_layout(config))),
            "response": In(stream.Signature(response_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        beat_bits = exact_log2(self.config.bus_bytes)
        place = Signal(beat_bits - 2)  # of the word in its beat
        left = Signal.like(self.i.p.count)  # words behind this one
        beats = Signal(BEATS_BITS, reset_less=True)
        address = Signal(self.config.addr_bits - beat_bits, reset_less=True)
        m.d.comb += [
            self.request.p.address.eq(Cat(Const(0, beat_bits), address)),
            self.request.p.beats.eq(beats),
            self.o.p.word.eq(self.response.p.data.word_select(place, 32)),
            self.o.p.last.eq(left == 0),
            self.o.p.error.eq(self.response.p.error),
            self.o.p.refused.eq(self.response.p.refused),
        ]
        with m.FSM():
            with m.State("idle"):
                first = self.i.p.address[2:beat_bits]
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    place.eq(first), address.eq(self.i.p.address[beat_bits:]), left.eq(self.i.p.count - 1),
                    beats.eq((first + self.i.p.count + (self.config.bus_bytes // 4 - 1)) >> beat_bits - 2),
                ]
                with m.If(self.i.valid):
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "words"
            with m.State("words"):
                m.d.comb += [
                    self.o.valid.eq(self.response.valid),
                    self.response.ready.eq(self.o.ready & (place.all() | (left == 0))),
                ]
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
                    with m.If(left == 0):
                        m.next = "idle"
        with m.If(self.i.valid):
            check(m, (self.i.p.count != 0) & (self.i.p.count <= MAX_WORDS), "word reader: there are words to read")
            check(m, self.i.p.address[:2] == 0, "word reader: words are aligned")
        check_stream(m, self.request, "word reader: request")
        check_stream(m, self.o, "word reader: words")
        return m
