"""The judge of requests: what is wrong with one, as its words come from the submission ring."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.config import PAGE_TOKENS
from scoville.isa import POSITION_BITS
from scoville.schedule.records import MAX_STOPS, NONE, REQUEST, Error, Flag, Kind
from scoville.schedule.slots import Slot, State, judge
from scoville.schedule.submission import WORDS, word_layout

__all__ = ["Judge", "judge_settings", "judged_layout"]

WORD = {name: offset // 4 for name, offset, _, _ in REQUEST}
"""Which word of a request a field is in, or begins in."""
FIELDS_END = -(-max(offset + size for _, offset, size, _ in REQUEST) // 4)
SIZE_BITS = POSITION_BITS + 32 + 2  # of rows of logits


def judge_settings(config):
    """The registers that the judge knows, stable while the schedule runs."""
    return data.StructLayout({
        "context": POSITION_BITS, "vocab": 32, "kv_pages": range(config.pool_pages + 1),
        "window_base": config.addr_bits, "window_limit": config.addr_bits})


def judged_layout():
    """What the schedule has to know of a request at once.

    `error` : the first `Error` that applies, whatever slots hold
    `most` : positions that it may come to; `lengthy` : at one token more the reason is LENGTH, else CONTEXT; both right
        where there is no error
    """
    return data.StructLayout({
        "error": 8, "kind": 8, "flags": 8, "priority": 8, "id": 32, "tenant": 32, "prompt": 32, "room": 32, "limit": 32,
        "parent": 32, "shared": 32, "most": POSITION_BITS, "lengthy": 1})


class Judge(wiring.Component):
    """Judges a request by itself, which needs nothing of the slots, so it is done while a pass is computed.

    ID, PARENT and FULL, which need the slots, are left to who takes the request; but a parent is there where tokens are
    shared. `slots.judge` is the model. A CANCEL has no error.

    Throughput: a word a cycle, and 28 cycles between requests.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    settings : In(judge_settings)
    i : In(stream(word_layout)), from `SubmissionRing`
    o : Out(stream(judged_layout))
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "settings": In(judge_settings(config)),
            "i": In(stream.Signature(word_layout())),
            "o": Out(stream.Signature(judged_layout())),
        })

    @staticmethod
    def model(config, setup, fields):
        """The first `Error` that applies whatever slots hold, or None.

        Parameters
        ----------
        config : ChipConfig
        setup : `slots.Setup`
        fields : dict, as `records.decode` gives it
        """
        if fields["kind"] == Kind.CANCEL:
            return None
        parent = SimpleNamespace(id=fields["parent"], tenant=fields["tenant"])
        slots = [Slot(0), Slot(1, State.RUNNING, parent)]  # one is free, and the parent is there
        return judge(SimpleNamespace(**fields | {"id": int(parent.id == 0)}), slots, setup, config)

    def elaborate(self, platform):
        m = Module()
        settings, found, word = self.settings, self.o.p, self.i.p.word
        wrong = {error: Signal(name=f"wrong_{error.name.lower()}") for error in (
            Error.KIND, Error.LENGTH, Error.CONTEXT, Error.POOL, Error.VALUE, Error.STOPS, Error.WINDOW, Error.PARENT)}
        context = Signal(POSITION_BITS, reset_less=True)
        step = Signal(range(POSITION_BITS + 1))  # of the product

        def faulty(error, condition):
            with m.If(condition):
                m.d.sync += wrong[error].eq(1)

        # A span of memory that is checked in the cycle behind the one in which it is known.
        start, size = Signal(64, reset_less=True), Signal(SIZE_BITS, reset_less=True)
        spans, aligned = Signal(), Signal(range(self.config.bus_bytes), reset_less=True)  # the bits that have to be 0
        inside = (start >= settings.window_base) & (start + size <= settings.window_limit) & ~(start & aligned).any()
        m.d.sync += spans.eq(0)
        with m.If(spans):
            faulty(Error.WINDOW, ~inside)

        def span(bytes_, mask):
            return [spans.eq(1), size.eq(bytes_), aligned.eq(mask)]

        # Positions that it may come to: min(prompt + limit, room, context + 1) - 1.
        total, fewer = Signal(33), Signal(33)
        m.d.comb += [total.eq(found.prompt + found.limit), fewer.eq(Mux(total < found.room, total, found.room))]
        rows, stride = Signal(POSITION_BITS, reset_less=True), Signal(32, reset_less=True)  # of logits
        doubled = Signal(SIZE_BITS, reset_less=True)
        pages = Signal(POSITION_BITS - exact_log2(PAGE_TOKENS) + exact_log2(self.config.cache_groups) + 1)
        m.d.comb += pages.eq(((found.most + (PAGE_TOKENS - 1)) >> exact_log2(PAGE_TOKENS))
                             << exact_log2(self.config.cache_groups))

        kept = {name: WORD[name] for name in ("id", "tenant", "prompt", "room", "limit", "parent", "shared")}
        with m.FSM() as fsm:
            with m.State("words"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid), m.Switch(self.i.p.index):
                    for name, index in kept.items():
                        with m.Case(index):
                            m.d.sync += getattr(found, name).eq(word)
                            self._word(m, name, word, faulty, span, start, wrong)
                    with m.Case(WORD["kind"]):
                        m.d.sync += Cat(found.kind, found.flags, found.priority).eq(word)
                        faulty(Error.KIND, (word[:8] != Kind.REQUEST) | (word[8:16] & ~int(Flag.PARK)).any()
                               | word[24:].any())
                    with m.Case(WORD["context"]):
                        m.d.sync += context.eq(word)
                        faulty(Error.CONTEXT, (word == 0) | (word > settings.context) | (found.prompt > word))
                    with m.Case(WORD["temperature"]):
                        m.d.sync += [found.most.eq(Mux(fewer > context, context, fewer - 1)),
                                     found.lengthy.eq(fewer <= context + 1)]
                        faulty(Error.VALUE, word[31])
                    with m.Case(WORD["tokens"], WORD["stops"], WORD["logits"]):
                        m.d.sync += [start[:32].eq(word), rows.eq(found.most - found.prompt)]
                        faulty(Error.POOL, pages > settings.kv_pages)
                    with m.Case(WORD["tokens"] + 1):
                        m.d.sync += [start[32:].eq(word), *span(found.room << 2, 3)]
                    with m.Case(WORD["stops"] + 1, WORD["logits"] + 1):
                        m.d.sync += start[32:].eq(word)
                    with m.Case(WORD["stop_count"]):
                        m.d.sync += span(word << 2, 3)
                        m.d.sync += spans.eq(word != 0)
                        faulty(Error.STOPS, word > MAX_STOPS)
                    with m.Case(WORD["logits_stride"]):
                        m.d.sync += [stride.eq(word), doubled.eq(word), size.eq(settings.vocab << 2), step.eq(0)]
                    with m.Case(*range(FIELDS_END, WORDS)):
                        faulty(Error.KIND, word != 0)
                with m.If(self.i.valid & (self.i.p.index == WORDS - 1)):
                    m.next = "product"
            with m.State("product"):  # the rows' bytes but the last one's, a bit of their number a cycle
                m.d.sync += [step.eq(step + 1), rows.eq(rows >> 1), doubled.eq(doubled << 1)]
                with m.If(rows[0]):
                    m.d.sync += size.eq(size + doubled)
                with m.If(step == POSITION_BITS):
                    m.d.sync += [spans.eq(start != 0), aligned.eq(self.config.bus_bytes - 1)]
                    faulty(Error.WINDOW, (start != 0) & (stride & (self.config.bus_bytes - 1)).any())
                    m.next = "span"
            with m.State("span"):
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [flag.eq(0) for flag in wrong.values()]
                    m.next = "words"
        for error in sorted(wrong, reverse=True):
            with m.If(wrong[error]):
                m.d.comb += found.error.eq(error)
        with m.If(found.kind == Kind.CANCEL):
            m.d.comb += found.error.eq(0)
        assert self.config.bus_bytes >= 4
        check(m, ~self.i.ready | ~self.i.valid | fsm.ongoing("words"), "judge: words are of one request")
        check_stream(m, self.o, "judge: verdict")
        return m

    def _word(self, m, name, word, faulty, span, start, wrong):
        """What is wrong with a word that is kept."""
        found = self.o.p
        if name in ("prompt", "limit"):
            faulty(Error.LENGTH, word == 0)
        elif name == "room":
            faulty(Error.LENGTH, word <= found.prompt)
        elif name == "shared":
            faulty(Error.PARENT, Mux(found.parent == NONE, word != 0, word > found.prompt))
