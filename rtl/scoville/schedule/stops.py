"""Whether a token ends its sequence: it is looked for in the request's stop list, in memory."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check_stream
from scoville.memory.words import MAX_WORDS, read_word_layout, word_request_layout
from scoville.schedule.records import MAX_STOPS

__all__ = ["StopCheck", "stop_request_layout"]

assert MAX_STOPS <= MAX_WORDS


def stop_request_layout(config):
    """A token, and its sequence's stop list: `count` words from `address` on, perhaps none."""
    return data.StructLayout({"token": 32, "address": config.addr_bits, "count": range(MAX_STOPS + 1)})


class StopCheck(wiring.Component):
    """Compares a token with a list, a word a cycle; of an empty list nothing is read.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream(stop_request_layout)), taken with the answer
    o : Out(stream), {stop, failed}: the token is in the list; the list could not be read
    request, words : Out(stream), In(stream), of a `WordReader`
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(stop_request_layout(config))),
            "o": Out(stream.Signature(data.StructLayout({"stop": 1, "failed": 1}))),
            "request": Out(stream.Signature(word_request_layout(config))),
            "words": In(stream.Signature(read_word_layout())),
        })

    @staticmethod
    def model(token, stops):
        """(stop, failed); `stops` is None where the list cannot be read."""
        return (0, 1) if stops is None else (int(token in stops), 0)

    def elaborate(self, platform):
        m = Module()
        word, found = self.words.p, self.o.p
        m.d.comb += [self.request.p.address.eq(self.i.p.address), self.request.p.count.eq(self.i.p.count)]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += found.eq(0)
                with m.If(self.i.valid):
                    m.next = "answer"
                    with m.If(self.i.p.count != 0):
                        m.next = "ask"
            with m.State("ask"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "words"
            with m.State("words"):
                m.d.comb += self.words.ready.eq(1)
                with m.If(self.words.valid):
                    with m.If(word.error):
                        m.d.sync += [found.failed.eq(1), found.stop.eq(0)]
                    with m.Elif((word.word == self.i.p.token) & ~found.failed):
                        m.d.sync += found.stop.eq(1)
                    with m.If(word.last):
                        m.next = "answer"
            with m.State("answer"):
                m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "idle"
        check_stream(m, self.request, "stop check: request")
        check_stream(m, self.o, "stop check: answer")
        return m
