"""Seats a run's tokens: reads them from the sequence's buffer, and sees that each is in the vocabulary."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.isa import POSITION_BITS
from scoville.memory.words import MAX_WORDS, read_word_layout, word_request_layout
from scoville.schedule.records import Error
from scoville.schedule.seats import Seat

__all__ = ["TokenReader", "run_layout", "seating_layout"]


def run_layout(config):
    """`count` tokens from `position` on, the first of them at `address`, for the seats from `seat` on."""
    return data.StructLayout({"address": config.addr_bits, "position": POSITION_BITS,
                              "count": range(config.seats + 1), "seat": range(config.seats)})


def seating_layout(config):
    """A seat's number, and who gets it."""
    return data.StructLayout({"seat": range(config.seats), "who": Seat})


class TokenReader(wiring.Component):
    """One run at a time: a seat a cycle, then whether all of its tokens are good.

    Of several faults in a run a read error counts, as none of its tokens are sure then.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    vocab : In(32), token ids are below it
    i : In(stream(run_layout)), taken with the answer
    seat : Out(stream(seating_layout)), to a table that is always ready
    o : Out(stream(8)), 0, or the `Error`: READ or TOKEN
    request, words : Out(stream), In(stream), of a `WordReader`
    """

    def __init__(self, config):
        self.config = config
        assert config.seats <= MAX_WORDS
        super().__init__({
            "vocab": In(32),
            "i": In(stream.Signature(run_layout(config))),
            "seat": Out(stream.Signature(seating_layout(config))),
            "o": Out(stream.Signature(8)),
            "request": Out(stream.Signature(word_request_layout(config))),
            "words": In(stream.Signature(read_word_layout())),
        })

    @staticmethod
    def model(vocab, tokens):
        """The answer for a run of these tokens; None where they cannot be read."""
        return Error.READ if tokens is None else Error.TOKEN if max(tokens) >= vocab else 0

    def elaborate(self, platform):
        m = Module()
        run, word, who = self.i.p, self.words.p, self.seat.p.who
        done = Signal(range(self.config.seats + 1))  # tokens of the run that have a seat
        unread, unknown = Signal(), Signal()
        m.d.comb += [
            self.request.p.address.eq(run.address), self.request.p.count.eq(run.count),
            self.seat.p.seat.eq(run.seat + done), who.token.eq(word.word), who.position.eq(run.position + done),
            self.o.payload.eq(Mux(unread, Error.READ, Mux(unknown, Error.TOKEN, 0))),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [done.eq(0), unread.eq(0), unknown.eq(0)]
                with m.If(self.i.valid):
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "words"
            with m.State("words"):
                m.d.comb += [self.words.ready.eq(1), self.seat.valid.eq(self.words.valid)]
                with m.If(self.words.valid):
                    m.d.sync += [done.eq(done + 1), unread.eq(unread | word.error),
                                 unknown.eq(unknown | (word.word >= self.vocab))]
                    with m.If(word.last):
                        m.next = "answer"
            with m.State("answer"):
                m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "idle"
        with m.If(self.i.valid):
            check(m, (run.count != 0) & (run.seat + run.count <= self.config.seats), "token reader: there are seats")
        check(m, ~self.seat.valid | self.seat.ready, "token reader: the seat table takes what it is given")
        check_stream(m, self.request, "token reader: request")
        check_stream(m, self.o, "token reader: answer")
        return m
