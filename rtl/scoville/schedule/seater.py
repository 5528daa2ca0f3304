"""Fills the seats of a planned run: its tokens, and how the last of them is sampled."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.memory.words import WordReader
from scoville.schedule.fields import fields_layout
from scoville.schedule.kept import kept_layout
from scoville.schedule.planner import planned_layout
from scoville.schedule.records import Error
from scoville.schedule.seats import PassState, Sampling
from scoville.schedule.tokens import TokenReader

__all__ = ["Seater"]


class Seater(wiring.Component):
    """Makes a pass out of planned runs, one after the other, and says of each whether its tokens are good.

    A run of the token that was sampled last has it from `Kept`; others are read from the sequence's buffer, once all
    sampled tokens are there.

    Cycles from a run to its answer: 2, or 6, its tokens, and the memory's latency.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    vocab : In(32), token ids are below it
    run : In(stream(planned_layout)), taken before its answer; again : In(1), the runs so far are void
    verdict : Out(stream(8)), 0, or the `Error`: READ or TOKEN
    slot : Out, whose run it is; fields : In(fields_layout), kept : In(kept_layout), of that slot, in the cycle behind
    settled : In(1), as of `TokenWriter`
    state : Out(PassState), sampling : Out(Sampling); they change from `again` to the last answer
    request, response : Out(stream), In(stream), of the fetch port
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "vocab": In(32),
            "run": In(stream.Signature(planned_layout(config))), "again": In(1),
            "verdict": Out(stream.Signature(8)),
            "slot": Out(exact_log2(config.slots)), "fields": In(fields_layout()), "kept": In(kept_layout(config)),
            "settled": In(1),
            "state": Out(PassState(config)), "sampling": Out(Sampling(config)),
            "request": Out(stream.Signature(fetch_layout(config))),
            "response": In(stream.Signature(response_layout(config))),
        })

    @staticmethod
    def model(vocab, run, fields, kept, tokens):
        """What a run gives.

        Parameters
        ----------
        run, fields, kept : dicts of planned_layout, and of fields_layout and kept_layout, of the run's slot
        tokens : what the sequence's buffer has of the run, None where it cannot be read

        Returns
        -------
        verdict; dicts of its seats, their token None where it could not be read; the dict of its sampling, or None
        """
        if kept["position"] == run["first"] != 0:
            tokens = [kept["token"]]
        seats = [{"position": run["first"] + n, "token": tokens and tokens[n], "slot": run["slot"],
                  "samples": int(run["samples"] and n + 1 == run["count"])} for n in range(run["count"])]
        row = kept["logits"] if kept["position"] else fields["logits"]
        how = {"seed": fields["seed"], "invt": fields["temperature"], "logits": row}
        return TokenReader.model(vocab, tokens), seats, how if run["samples"] else None

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = WordReader(self.config)
        m.submodules.tokens = tokens = TokenReader(self.config)
        connect(m, words.request, flipped(self.request))
        connect(m, flipped(self.response), words.response)
        connect(m, tokens.request, words.i)
        connect(m, words.o, tokens.words)
        run, state, kept, fields = self.run.p, self.state, self.kept, self.fields
        index = max(1, exact_log2(self.config.seats))
        seat, last = Signal(index), Signal(index)  # who is seated; the run's last one
        seats, seated = Signal(), Signal()  # a token is there; all are
        known = Signal()  # the run is of the token that is kept
        m.d.comb += [
            self.slot.eq(run.slot),
            last.eq(run.seat + run.count - 1),
            known.eq((kept.position != 0) & (kept.position == run.first)),
            tokens.vocab.eq(self.vocab),
            tokens.i.p.address.eq(fields.tokens + (run.first << 2)), tokens.i.p.position.eq(run.first),
            tokens.i.p.count.eq(run.count), tokens.i.p.seat.eq(run.seat),
            tokens.seat.ready.eq(1),
            seat.eq(Mux(tokens.seat.valid, tokens.seat.p.seat, run.seat)),
            self.run.ready.eq(seated),
        ]
        here, settings = state.seats[seat], self.sampling[last]
        with m.If(seats):
            m.d.sync += [here.position.eq(Mux(tokens.seat.valid, tokens.seat.p.who.position, kept.position)),
                         here.token.eq(Mux(tokens.seat.valid, tokens.seat.p.who.token, kept.token)),
                         here.slot.eq(run.slot), here.samples.eq(run.samples & (seat == last))]
        with m.If(seated):
            m.d.sync += [state.tokens.eq(run.seat + run.count), state.last.eq(state.last | run.samples)]
            with m.If(run.samples):
                # A row that is used does not wrap: the judge has seen that all are in the window.
                m.d.sync += [settings.seed.eq(fields.seed), settings.invt.eq(fields.temperature),
                             settings.logits.eq(Mux(kept.position == 0, fields.logits, kept.logits))]
        with m.If(self.again):
            m.d.sync += [state.tokens.eq(0), state.last.eq(0)]

        with m.FSM() as fsm:
            with m.State("run"), m.If(self.run.valid):
                m.next = "look"
            with m.State("look"):
                m.d.sync += self.verdict.payload.eq(Mux(kept.token >= self.vocab, Error.TOKEN, 0))
                m.next = "settle"
                with m.If(known):
                    m.d.comb += [seats.eq(1), seated.eq(1)]
                    m.next = "answer"
            with m.State("settle"), m.If(self.settled):
                m.next = "read"
            with m.State("read"):
                m.d.comb += [tokens.i.valid.eq(1), seats.eq(tokens.seat.valid), tokens.o.ready.eq(1),
                             seated.eq(tokens.o.valid)]
                m.d.sync += self.verdict.payload.eq(tokens.o.payload)
                with m.If(tokens.o.valid):
                    m.next = "answer"
            with m.State("answer"):
                m.d.comb += self.verdict.valid.eq(1)
                with m.If(self.verdict.ready):
                    m.next = "run"
        check(m, ~self.again | fsm.ongoing("run"), "seater: a plan begins between runs")
        check(m, ~seated | ~known | (run.count == 1) & run.samples, "seater: no token is behind the one that is kept")
        check_stream(m, self.verdict, "seater: verdict")
        return m
