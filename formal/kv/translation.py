"""Lookups: an answer is the slot's own entry, and no slot sees, in values or in cycles, what is done to another's."""

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped
from scoville.kv.tables import Tables, edit_signature
from scoville.kv.translation import Translation

from formal.around import Around, drive, inputs_of
from formal.kv.controller import Place
from formal.kv.pool import small
from formal.opened import Opened
from formal.planted import planted
from formal.proof import PDR, Claim, Proof
from formal.rules import assume_stream

__all__ = ["PROOFS"]

PORTS = ("read", "read_page", "append", "append_page")


class Lookups(wiring.Component):
    """Tables that anybody edits, and the translation in front of them."""

    def __init__(self, config, translation=Translation):
        self.config, self.translation = config, translation(config)
        members = self.translation.signature.members
        super().__init__({"edit": In(edit_signature(config)), "rest": In(1)} | {name: members[name] for name in PORTS})

    def elaborate(self, platform):
        m = Module()
        m.submodules.translation = translation = self.translation
        m.submodules.tables = tables = Tables(self.config)
        for name in PORTS:
            connect(m, flipped(getattr(self, name)), getattr(translation, name))
        connect(m, flipped(self.edit), tables.edit)
        connect(m, translation.look, tables.look)
        m.d.comb += translation.rest.eq(self.rest)
        return m


def environment(m, unit):
    """Requests by the rules; who has an answer is not at rest."""
    assume_stream(m, unit.read)
    assume_stream(m, unit.append)
    m.d.comb += Assume(~unit.rest | ~(unit.read_page.valid | unit.append_page.valid))


class AnswersAreTheSlotsOwn(Around):
    """Two cycles after a request, by what the tables held one cycle after it; every lookup makes its slot `used`."""

    def elaborate(self, platform):
        m, seen = self.begin()
        unit = self.unit
        environment(m, unit)
        places = Place.all(seen, unit.config)
        for ask, answer, name in ((unit.read, unit.read_page, "read"), (unit.append, unit.append_page, "append")):
            asks, asked = ask.valid & ask.ready, Value.cast(ask.payload)
            begun, came, found = (Signal(name=f"{name}_{it}") for it in ("begun", "came", "found"))
            place = Signal(len(asked), name=f"{name}_place")
            before, page = (Signal(len(unit.edit.page), name=f"{name}_{it}") for it in ("before", "page"))
            m.d.sync += [begun.eq(asks), came.eq(begun), place.eq(asked), page.eq(before)]
            for number, it in enumerate(places):
                with m.If(asked == number):
                    m.d.sync += before.eq(it.page)
                with m.If(place == number):
                    m.d.sync += found.eq(it.found & (~it.full if name == "append" else 1))
            slot = place[-1]
            was = Signal(len(slot), name=f"{name}_was")
            m.d.sync += was.eq(slot)
            m.d.comb += [
                Assert(~came | answer.valid & (answer.payload.fault == ~found)),
                Assert(~(came & found) | (answer.payload.page == page)),
                Assert(~came | seen["translation.used"].bit_select(was, 1)),
                Cover(came & found & (page != 0)), Cover(came & ~found),
            ]
        return m


class SlotsAreIsolated(Claim):
    """Two copies that are asked the same; slot 0 is edited alike in both, all else as differently as one likes.

    Whatever is done to the other slots: each request is taken and answered in the same cycle, and answers about slot 0
    are the same.
    """

    def __init__(self, one, other):
        self.one, self.other = one, other
        edit = inputs_of(one, but=(*PORTS, "rest"))
        super().__init__(inputs_of(one, but=("edit",)) | {f"{copy}_{name}": member for copy in ("one", "other")
                                                          for name, member in edit.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.one, m.submodules.other = seen = Opened(self.one), Opened(self.other)
        edits = []
        for copy, unit in (("one", self.one), ("other", self.other)):
            drive(m, self, unit)
            for path, _, value in unit.edit.signature.flatten(unit.edit):
                name = f"{copy}_edit__{'__'.join(path)}"
                if name in self.signature.members:
                    m.d.comb += Value.cast(value).eq(getattr(self, name))
            edit = unit.edit
            edits.append(Cat(
                Mux(edit.enter & (edit.enter_place.slot == 0),
                    Cat(Const(1, 1), Value.cast(edit.enter_place), edit.enter_page), 0),
                Mux((edit.keep | edit.begin | edit.end) & (edit.slot == 0),
                    Cat(edit.keep, Value.cast(edit.keep_lengths), edit.begin, edit.end), 0)))
        environment(m, self.one)
        m.d.comb += [Assume(edits[0] == edits[1]), Assume(~self.other.rest | ~self.other.read_page.valid)]
        differs = Signal()
        for ask, answer in (("read", "read_page"), ("append", "append_page")):
            asks, answers = ([getattr(unit, name) for unit in (self.one, self.other)] for name in (ask, answer))
            own = Signal(name=f"{ask}_own")  # the lookup under way is slot 0's
            with m.If(asks[0].valid & asks[0].ready):
                m.d.sync += own.eq(asks[0].payload.slot == 0)
            same = Value.cast(answers[0].payload) == Value.cast(answers[1].payload)
            m.d.comb += [
                Assert(asks[0].ready == asks[1].ready),
                Assert(answers[0].valid == answers[1].valid),
                Assert(~(answers[0].valid & own) | (answers[0].payload.fault == answers[1].payload.fault)),
                Assert(~(answers[0].valid & own & ~answers[0].payload.fault) | same),
                Cover(answers[0].valid & own & ~answers[0].payload.fault & differs),
            ]
            with m.If(answers[0].valid & ~own & ~same):
                m.d.sync += differs.eq(1)
        m.d.comb += Assert(seen[0]["translation.used"] == seen[1]["translation.used"])
        return m


def _isolated(translation):
    return SlotsAreIsolated(*(Lookups(small(slots=2), translation) for _ in range(2)))


FAULTS = (
    ("an append is given a full page", "missing | (place.index < lengths.full)", "missing"),
    ("what a window has given back is found", "| (place.index < lengths.gone[place.group]))", ")"),
)
PROOFS = [
    Proof(name="kv.translation", engine=PDR, claim=lambda: AnswersAreTheSlotsOwn(Lookups(small(slots=2))),
          says="an answer is the slot's own entry, two cycles later; a fault where there is none, or it is full",
          fault=FAULTS[0][0], broken=lambda: AnswersAreTheSlotsOwn(
              Lookups(small(slots=2), planted(Translation, *FAULTS[0][1:]))),
          others=((FAULTS[1][0], lambda: AnswersAreTheSlotsOwn(
              Lookups(small(slots=2), planted(Translation, *FAULTS[1][1:])))),)),
    Proof(name="kv.isolation", engine=PDR, reach=20, claim=lambda: _isolated(Translation),
          says="two copies: what is done to another slot changes no cycle of a lookup, and no answer about this slot",
          fault="a lookup waits a cycle longer where the table has no entry",
          broken=lambda: _isolated(planted(Translation, "self.read.ready.eq(~reading & ~self.read_page.valid)",
                                           "self.read.ready.eq(~reading & ~self.read_page.valid"
                                           " & ~(place.slot.any() & ~self.look.open))"))),
]
