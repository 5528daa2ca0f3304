"""The sequence: prompt chunks, then one token a pass, until a stop token or the limit."""

from contextlib import contextmanager

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check
from scoville.isa import POSITION_BITS
from scoville.schedule.seats import PassState, of_run

__all__ = ["SequenceController"]

STOPS = 4


class SequenceController(wiring.Component):
    """Makes passes out of one sequence.

    A pass takes up to S tokens of the prompt, one a seat; the one that takes the last of them, and each pass after it,
    produces a token. Token ids of the prompt are read from memory, one a read: a few hundred cycles a pass. A pass
    begins 4 cycles after the token before it was taken.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    start : In(1)
    prompt, prompt_length, max_new, context, stops, stop_count : In, settings, stable while running
    first : In, position of the prompt's first token; the KV pages hold those before it already
    request, response : the fetch port's streams, {address, beats} and {data, error}
    state : Out(PassState); begin : Out(1), a pass begins
    pass_done : In(1), the back end has reached END
    sampled : In(stream), {token}, one for each pass with ``state.last``
    token : Out(stream(32)), the generated tokens
    halt : In(1), an error elsewhere: the sequence ends, whatever it does (what it offers is withdrawn), and none
        starts
    running : Out(1); finished : Out(1), for one cycle
    generated : Out(32), tokens so far
    overrun : Out(1), sticky: the next pass would not fit `context`, or the prompt is empty
    read_error : Out(1), for one cycle, at `error_address`: a prompt token could not be read, and the sequence ends
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(1),
            "prompt": In(config.addr_bits),
            "prompt_length": In(POSITION_BITS),
            "max_new": In(32),
            "context": In(POSITION_BITS),
            "first": In(POSITION_BITS),
            "stops": In(data.ArrayLayout(32, STOPS)),
            "stop_count": In(range(STOPS + 1)),
            "request": Out(stream.Signature(data.StructLayout({"address": config.addr_bits, "beats": 8}))),
            "response": In(stream.Signature(data.StructLayout({"data": config.bus_bits, "error": 1}))),
            "state": Out(PassState(config)),
            "begin": Out(1),
            "pass_done": In(1),
            "sampled": In(stream.Signature(data.StructLayout({"token": 32}))),
            "token": Out(stream.Signature(32)),
            "halt": In(1),
            "running": Out(1),
            "finished": Out(1),
            "generated": Out(32),
            "overrun": Out(1),
            "read_error": Out(1),
            "error_address": Out(config.addr_bits),
        })

    @staticmethod
    def model(config, prompt, sampled, *, max_new, context, first=0, stops=()):
        """(passes, tokens, overrun): dicts of `PassState`, the generated tokens, and whether the context was too short.

        Parameters
        ----------
        prompt : list of int
        sampled : iterator of int, what the sampler will say
        max_new, context, first : int
        stops : tokens that end the sequence
        """
        passes, tokens, position = [], [], first
        chunks = [prompt[at:at + config.seats] for at in range(0, len(prompt), config.seats)]
        for index, chunk in enumerate(chunks):
            while True:
                if position + len(chunk) > context:
                    return passes, tokens, True
                last = index == len(chunks) - 1
                passes.append(of_run(chunk, position, last=last))
                position += len(chunk)
                if not last:
                    break
                tokens.append(next(sampled))
                if tokens[-1] in stops or len(tokens) >= max_new:
                    return passes, tokens, False
                chunk = tokens[-1:]
        return passes, tokens, True  # an empty prompt

    def elaborate(self, platform):
        m = Module()
        config, state = self.config, self.state
        bus_shift = exact_log2(config.bus_bytes)

        left = Signal(POSITION_BITS)  # prompt tokens not yet in a pass
        seat = Signal(range(config.seats + 1))
        address = Signal(config.addr_bits)
        token = Signal(32)
        chunk = Signal(range(config.seats + 1))
        position = Signal(POSITION_BITS)  # of seat 0; the others follow
        filled = state.seats[seat[:max(1, (config.seats - 1).bit_length())]]
        over = Signal()  # the pass does not fit; a cycle after the state
        stop = Signal()  # the token is the last one; a cycle after it
        m.d.sync += over.eq(position + state.tokens > self.context)
        m.d.comb += [
            chunk.eq(Mux(left > config.seats, config.seats, left)),
            self.request.p.address.eq((address >> bus_shift) << bus_shift),
            self.request.p.beats.eq(1),
            self.error_address.eq(address),
            self.token.payload.eq(token),
        ]
        stops = Cat((index < self.stop_count) & (token == self.stops[index]) for index in range(STOPS))
        m.d.sync += stop.eq(stops.any() | (self.generated >= self.max_new))

        @contextmanager
        def at_work(name):
            """A state of a running sequence, which a halt ends."""
            with m.State(name):
                with m.If(self.halt):
                    m.next = "idle"
                with m.Else():
                    yield

        with m.FSM() as fsm:
            with m.State("idle"), m.If(self.start & ~self.halt):
                m.d.sync += [
                    left.eq(self.prompt_length), address.eq(self.prompt), self.generated.eq(0),
                    position.eq(self.first), state.tokens.eq(0),
                ]
                m.next = "plan"
            with at_work("plan"):
                m.d.sync += [
                    seat.eq(0),
                    position.eq(position + state.tokens),
                    state.tokens.eq(Mux(left == 0, 1, chunk)),
                    state.last.eq(left == chunk),
                    left.eq(left - chunk),
                ]
                with m.If((left == 0) & (self.generated == 0)):
                    m.d.sync += self.overrun.eq(1)
                    m.next = "idle"
                with m.Elif(left == 0):
                    m.next = "settle"
                with m.Else():
                    m.next = "request"
            with at_work("request"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "response"
            with at_work("response"):
                m.d.comb += self.response.ready.eq(1)
                word = address[2:bus_shift]
                m.d.sync += [filled.token.eq(self.response.p.data.word_select(word, 32)),
                             filled.position.eq(position + seat)]
                with m.If(self.response.valid):
                    m.d.comb += self.read_error.eq(self.response.p.error)
                    m.d.sync += [seat.eq(seat + 1), address.eq(address + 4)]
                    with m.If(self.response.p.error):
                        m.next = "idle"
                    with m.Elif(seat + 1 == state.tokens):
                        m.next = "admit"
                    with m.Else():
                        m.next = "request"
            with at_work("settle"):
                m.d.sync += [state.seats[0].token.eq(token), state.seats[0].position.eq(position)]
                m.next = "admit"
            with at_work("admit"):
                with m.If(over):
                    m.d.sync += self.overrun.eq(1)
                    m.next = "idle"
                with m.Else():
                    m.d.comb += self.begin.eq(1)
                    m.next = "run"
            with at_work("run"), m.If(self.pass_done):
                with m.If(state.last):
                    m.next = "sampled"
                with m.Else():
                    m.next = "plan"
            with at_work("sampled"):
                m.d.comb += self.sampled.ready.eq(1)
                m.d.sync += token.eq(self.sampled.p.token)
                with m.If(self.sampled.valid):
                    m.d.sync += self.generated.eq(self.generated + 1)
                    m.next = "judge"
            with at_work("judge"):
                m.next = "emit"
            with at_work("emit"):
                m.d.comb += self.token.valid.eq(1)
                with m.If(self.token.ready):
                    with m.If(stop):
                        m.d.comb += self.finished.eq(1)
                        m.next = "idle"
                    with m.Else():
                        m.next = "plan"
        self._checks(m, fsm, position)
        m.d.comb += self.running.eq(~fsm.ongoing("idle"))
        return m

    def _checks(self, m, fsm, position):
        state = self.state
        halted = Signal()
        m.d.sync += halted.eq(self.halt)
        check(m, ~halted | ~self.running, "sequence: a halt ends it")
        check(m, ~self.pass_done | fsm.ongoing("run") | self.halt, "sequence: a pass that ends has begun")
        check(m, ~self.finished | self.token.valid & (self.generated != 0), "sequence: it ends with a token")
        with m.If(self.begin):
            check(m, (state.tokens != 0) & (state.tokens <= self.config.seats), "sequence: a pass has tokens")
            check(m, position + state.tokens <= self.context, "sequence: a pass fits the context")
            check(m, ~self.overrun & ~self.halt, "sequence: no pass begins after an error")
