"""The front end ends every instruction that it takes, if those whom it waits for go on."""

from dataclasses import replace
from functools import reduce
from operator import or_

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from scoville.config import VALUES_BEHIND
from scoville.control.checker import Checker
from scoville.control.front_end import FrontEnd
from scoville.isa import Opcode, field
from scoville.registers import Status
from scoville.schedule.seats import PAGE_SHIFT

from formal.around import Around
from formal.axi import SMALL
from formal.planted import planted
from formal.proof import Proof
from formal.rules import goes_down

__all__ = ["PROOFS", "PASS", "sound", "steady"]

PASS = replace(SMALL, lanes=2, rows=2)
"""Seats to loop over; the claims do not depend on how many."""
LANES, LOOKS, VALUES = ("lane", "lane_sum", "lane_row"), ("look_up", "found", "keys"), ("values", "behind")


def steady(m, state, idle):
    """A pass works on what it begins with, and on a token at least."""
    value = state.as_value()
    before, stands = Signal(len(value)), Signal()
    m.d.sync += [before.eq(value), stands.eq(~idle)]
    m.d.comb += [Assume(~stands | (value == before)), Assume((state.tokens != 0) & (state.tokens <= PASS.seats))]


def sound(word, status):
    """What the front end relies on, of an instruction that its checker offers with this status."""
    opcode, heads, group = (field(word, Opcode.ATTEND, name) for name in ("opcode", "kv_heads", "group"))
    return (status != Status.OK) | Cat(opcode == kind for kind in Opcode).any() & (
        (opcode != Opcode.ATTEND) | (heads != 0) & (group != 0))


class Believed(Checker):
    """Stands where the checker is: lets through any instruction, refuses any, of those that the claim allows."""

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready), self.o.p.word.eq(self.i.p.word),
                     self.o.p.status.eq(self.i.p.address)]
        return m


class EndsInstructions(Around):
    """Behind a checker that lets through what `formal.control.checker` shows."""

    def elaborate(self, platform):
        m, seen = self.begin()
        unit, at, state = self.unit, seen.states(), self.unit.state
        word = seen["word"]
        steady(m, state, at["idle"] & ~unit.start)
        m.d.comb += Assume(sound(unit.i.p.word, unit.i.p.address[:8]))

        waits = (at["idle"] & ~unit.start | at["take"] & ~unit.i.valid | at["halted"]
                 | unit.o.valid & ~unit.o.ready | unit.descriptor.valid & ~unit.descriptor.ready
                 | unit.lookup.valid & ~unit.lookup.ready | at["found"] & ~unit.found.valid
                 | at["appended"] & ((seen["appends"] != 0) | unit.kv_busy))
        attend = {name: field(word, Opcode.ATTEND, name) for name in ("kv_heads", "group")}
        head, served, page, pages, pairs = (seen[name] for name in ("head", "served", "page", "pages", "pairs"))
        level, seat = seen["values.level"], seen["seat"]
        lanes, looks, values = (reduce(or_, (at[name] for name in names)) for names in (LANES, LOOKS, VALUES))
        loops = looks | values
        phase, stage = Signal(2), Signal(3)
        for number, names in enumerate((("vector", "matrix", *LANES, *LOOKS, *VALUES), ("appended",), ("forward",)), 1):
            for name in names:
                with m.If(at[name]):
                    m.d.comb += phase.eq(number)
        for names in ((*reversed(LOOKS), *VALUES), ("lane", "lane_row", "lane_sum")):
            for number, name in enumerate(names):
                with m.If(at[name]):
                    m.d.comb += stage.eq(number)

        def left(most, done, *, of=loops):
            return Mux(of, (most - done).as_unsigned(), 0)

        goes_down(m, (phase, left(attend["kv_heads"], head), left(pairs, served), left(pages, page), left(level, 0),
                      left(state.tokens, seat, of=lanes), stage),
                  waits, at["idle"] | at["take"])

        more = (head < attend["kv_heads"]) & (served < pairs) & (page < pages)
        known = attend["kv_heads"].any() & attend["group"].any()
        m.d.comb += [
            Assert(at["idle"] | (pages == (state.seats[seen["last"]].position >> PAGE_SHIFT) + 1)),
            Assert(~at["forward"] | (seat == 0)),
            Assert(~at["lane"] | (seat < state.tokens)), Assert(~lanes | (seat <= state.tokens)),
            Assert(~at["forward"] | sound(word, Status.OK)),
            Assert(~(at["appended"] | loops) | known),
            Assert(~(at["appended"] | loops) | (pairs == state.tokens * attend["group"])),
            Assert(~at["appended"] | (head == 0) & (level == 0)),
            Assert(~looks | ~seen["all_keys"] & more & (level <= VALUES_BEHIND)),
            Assert(~values | Mux(seen["all_keys"], head == attend["kv_heads"], more)),
            Assert(~at["values"] | (level != 0)), Assert(level <= VALUES_BEHIND + 1),
            Assert(loops | at["halted"] | (level == 0)),
            Cover(at["take"] & seen["all_keys"] & (head == 2)),
            Cover(at["lane_row"] & unit.descriptor.ready & (seat == PASS.seats)),
        ]
        return m


ALONE = ("from scoville.control.checker import Checker", "from formal.control.front_end import Believed as Checker")
LAST_HEAD = 'with m.If(head + 1 == field(word, Opcode.ATTEND, "kv_heads")):'


def ends(*fault):
    return EndsInstructions(planted(FrontEnd, *ALONE, *fault)(PASS))


PROOFS = [
    Proof(name="control.front_end", quick=True, depth=2, reach=24, fails=12, alone=True,
          says="an instruction that is taken ends, if reader, page walker, KV store and back end go on",
          claim=ends, fault="the last KV head is never reached",
          broken=lambda: ends(LAST_HEAD, LAST_HEAD.replace(" + 1", ""))),
]
