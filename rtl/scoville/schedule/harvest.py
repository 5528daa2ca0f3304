"""What becomes of sampled tokens: into the buffer, looked for among the stops, kept for the next run."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.masks import first_of
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.memory.words import WordReader
from scoville.schedule.fields import fields_layout
from scoville.schedule.kept import kept_layout
from scoville.schedule.planner import sampled_layout
from scoville.schedule.seats import PassState, Sampling
from scoville.schedule.stops import StopCheck
from scoville.schedule.token_writer import token_write_layout

__all__ = ["Harvest"]


class Harvest(wiring.Component):
    """Takes the tokens of a pass, seat by seat, as they come; while it still runs, if they come so early.

    A token whose stop list cannot be read is not written. A token is with the `TokenWriter` before the planner has it.

    Throughput: a token in 6 cycles, without a stop list.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    begin : In(1), a pass begins; `state`, `sampling` : In, of that pass, up to its last token
    sampled : In(stream), {token}, one for each seat that samples, in order
    slot : Out, whose token it is; fields : In(fields_layout), of that slot, in the cycle behind
    token : Out(stream(token_write_layout)), to the `TokenWriter`
    o : Out(stream(sampled_layout)), to the planner
    keep : Out(1), `kept` : Out(kept_layout), of `slot`, to `Kept`
    request, response : Out(stream), In(stream), of the fetch port
    busy : Out(1), tokens of the pass are to come
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "begin": In(1), "state": In(PassState(config)), "sampling": In(Sampling(config)),
            "sampled": In(stream.Signature(data.StructLayout({"token": 32}))),
            "slot": Out(exact_log2(config.slots)), "fields": In(fields_layout()),
            "token": Out(stream.Signature(token_write_layout(config))),
            "o": Out(stream.Signature(sampled_layout())),
            "keep": Out(1), "kept": Out(kept_layout(config)),
            "request": Out(stream.Signature(fetch_layout(config))),
            "response": In(stream.Signature(response_layout(config))),
            "busy": Out(1),
        })

    @staticmethod
    def model(config, token, position, row, fields, stops):
        """What becomes of a token.

        Parameters
        ----------
        token, position, row : the sampled token, its seat's position, and where its logits went
        fields : dict of fields_layout, of its sequence
        stops : the stop list, None where it cannot be read

        Returns
        -------
        dicts of sampled_layout; of token_write_layout, or None; of kept_layout
        """
        stop, failed = StopCheck.model(token, stops)
        end = 1 << config.addr_bits
        write = {"address": (fields["tokens"] + 4 * (position + 1)) % end, "token": token}
        kept = {"position": position + 1, "token": token, "logits": row and (row + fields["logits_stride"]) % end}
        return {"token": token, "stop": stop, "failed": failed}, None if failed else write, kept

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = WordReader(self.config)
        m.submodules.stops = stops = StopCheck(self.config)
        connect(m, words.request, flipped(self.request))
        connect(m, flipped(self.response), words.response)
        connect(m, stops.request, words.i)
        connect(m, words.o, stops.words)
        pending = Signal(self.config.seats)  # whose tokens are to come
        seat = Signal(max(1, exact_log2(self.config.seats)))  # the first of them
        here, row, fields = self.state.seats[seat], self.sampling[seat].logits, self.fields
        answer = self.o.p
        with m.If(self.begin):
            m.d.sync += pending.eq(Cat(one.samples & (number < self.state.tokens)
                                       for number, one in enumerate(self.state.seats)))
        m.d.comb += [
            seat.eq(first_of(pending)),
            self.busy.eq(pending.any()),
            self.slot.eq(here.slot),
            stops.i.p.token.eq(answer.token), stops.i.p.address.eq(fields.stops), stops.i.p.count.eq(fields.stop_count),
            self.kept.position.eq(here.position + 1), self.kept.token.eq(answer.token),
            self.kept.logits.eq(Mux(row == 0, 0, row + fields.logits_stride)),
            self.token.p.address.eq(fields.tokens + (self.kept.position << 2)), self.token.p.token.eq(answer.token),
        ]
        with m.FSM():
            with m.State("seat"), m.If(self.busy):
                m.next = "take"
            with m.State("take"):
                m.d.comb += self.sampled.ready.eq(1)
                m.d.sync += answer.token.eq(self.sampled.p.token)
                with m.If(self.sampled.valid):
                    m.next = "check"
            with m.State("check"):
                m.d.comb += [stops.i.valid.eq(1), stops.o.ready.eq(1)]
                m.d.sync += [answer.stop.eq(stops.o.p.stop), answer.failed.eq(stops.o.p.failed)]
                with m.If(stops.o.valid):
                    m.next = "write"
                    with m.If(stops.o.p.failed):
                        m.next = "answer"
            with m.State("write"):
                m.d.comb += self.token.valid.eq(1)
                with m.If(self.token.ready):
                    m.next = "answer"
            with m.State("answer"):
                m.d.comb += [self.o.valid.eq(1), self.keep.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.d.sync += pending.eq(pending & (pending - 1))
                    m.next = "seat"
        check(m, ~self.begin | ~self.busy, "harvest: a pass begins when the tokens of the one before are taken")
        for name in ("token", "o"):
            check_stream(m, getattr(self, name), f"harvest: {name}")
        return m
