"""The front end ends every instruction that it takes, if those whom it waits for go on."""

from dataclasses import replace
from functools import reduce
from operator import or_

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from scoville.config import VALUES_BEHIND
from scoville.control.checker import Checker
from scoville.control.front_end import FrontEnd
from scoville.isa import Opcode, field
from scoville.program.plan_attend import AttendPlan, step_layout
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
        step, keys_left, unserved, further, further_left, behind = step_layout(PASS)(seen["plan.step__payload"]), *(
            seen[f"plan.{name}"] for name in ("keys_left", "unserved", "further", "further_left", "behind"))
        pairs, last_seat = state.tokens * attend["group"], seen["plan.last_seat"]
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

        goes_down(m, (phase, left(attend["kv_heads"], step.head), left(unserved, 0), left(further_left, 0),
                      left(level, 0), left(state.tokens, seat, of=lanes), stage),
                  waits, at["idle"] | at["take"])

        more = (step.head < attend["kv_heads"]) & (unserved != 0) & (unserved <= pairs) & (
            step.last == (further_left == 0))
        known = attend["kv_heads"].any() & attend["group"].any()
        m.d.comb += [
            Assert(at["idle"] | (further == (state.seats[last_seat].position >> PAGE_SHIFT))),
            Assert(~at["forward"] | (seat == 0)),
            Assert(~at["lane"] | (seat < state.tokens)), Assert(~lanes | (seat <= state.tokens)),
            Assert(~at["forward"] | sound(word, Status.OK)),
            Assert(~(at["appended"] | loops) | known),
            Assert(behind == level), Assert(at["appended"] | loops | at["halted"] | ~keys_left),
            Assert(~at["appended"] | keys_left & more & (step.head == 0) & (level == 0)),
            Assert(~looks | keys_left & more & (level <= VALUES_BEHIND)),
            Assert(~values | Mux(keys_left, more, step.head == attend["kv_heads"])),
            Assert(~at["values"] | (level != 0) & step.value), Assert(level <= VALUES_BEHIND + 1),
            Assert(loops | at["halted"] | (level == 0)),
            Cover(at["take"] & ~keys_left & (step.head == 2)),
            Cover(at["lane_row"] & unit.descriptor.ready & (seat == PASS.seats)),
        ]
        return m


ALONE = ("from scoville.control.checker import Checker", "from formal.control.front_end import Believed as Checker")
ENDLESS = tuple(f"from {name} AttendPlan"
                for name in ("scoville.program.plan_attend import", "formal.control.front_end import Endless as"))
Endless = planted(AttendPlan, "keys_left.eq(step.head + 1 != op.kv_heads)", "keys_left.eq(step.head != op.kv_heads)")


def ends(*fault):
    return EndsInstructions(planted(FrontEnd, *ALONE, *fault)(PASS))


PROOFS = [
    Proof(name="control.front_end", quick=True, depth=2, reach=24, fails=12, alone=True,
          says="an instruction that is taken ends, if reader, page addresses, KV store and back end go on",
          claim=ends, fault="the last KV head is never reached",
          broken=lambda: ends(*ENDLESS)),
]
