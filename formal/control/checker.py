"""The checker judges every instruction that it takes, and lets through only what the front end can end."""

from dataclasses import replace

from amaranth.hdl import Assert, Cover, Mux, Signal
from scoville.control.checker import Checker
from scoville.control.rules import products
from scoville.isa import Opcode, field

from formal.around import Around
from formal.control.front_end import PASS, sound, steady
from formal.planted import planted
from formal.proof import Proof
from formal.rules import goes_down

__all__ = ["PROOFS"]

FEW = replace(PASS, max_hidden=64, operand_blocks=6)
"""Few operand blocks: the way to the covers leads through a wipe of all."""
PHASES = (("wipe", "write"), ("offer",), ("settle",), ("read",), ("sources",), ("factors", "multiply", "rows"),
          ("sort",))


class Judges(Around):
    def elaborate(self, platform):
        m, seen = self.begin()
        unit, at = self.unit, seen.states()
        steady(m, unit.state, at["idle"] & ~unit.start)
        opcode = field(seen["word"], Opcode.END, "opcode")
        tokens, step, factor = unit.state.tokens, seen["step"], seen["factor"]

        waits = (at["idle"] & ~unit.start & ~seen["begun"] | at["take"] & ~unit.i.valid | at["halted"]
                 | unit.o.valid & ~unit.o.ready)
        phase = Signal(range(len(PHASES) + 1))
        for number, names in enumerate(PHASES, 1):
            for name in names:
                with m.If(at[name]):
                    m.d.comb += phase.eq(number)
        # What is counted comes round, whatever it begins with: what is left is the way to its end.
        block, blocks, seat = seen["block"], seen["left"], seen["seat"]
        last = Mux(opcode == Opcode.LINEAR, *(len(products(FEW)[kind]) - 1 for kind in (Opcode.LINEAR, Opcode.ATTEND)))
        ways = (("wipe", FEW.operand_blocks - 1 - block, block), ("write", blocks - 1, blocks),
                ("read", blocks, blocks), ("rows", tokens - seat, seat), ("factors", last - step, step),
                ("multiply", last - step, step))
        left = Signal(max(len(counter) for _, _, counter in ways))
        for name, way, counter in ways:
            with m.If(at[name]):
                m.d.comb += left.eq(way[:len(counter)])
        goes_down(m, (phase, left, at["factors"], Mux(at["multiply"], factor, 0)), waits, at["idle"] | at["take"])

        multiplied = at["factors"] | at["multiply"] | at["sources"] | at["read"]
        m.d.comb += [
            Assert(~multiplied | (opcode == Opcode.LINEAR) | (opcode == Opcode.ATTEND)),
            Assert(~unit.o.valid | sound(unit.o.p.word, unit.o.p.status)),
            Cover(at["write"]), Cover(at["multiply"] & (step == 2)), Cover(at["halted"]),
        ]
        return m


def judges(*fault):
    return Judges((planted(Checker, *fault) if fault else Checker)(FEW))


PROOFS = [
    Proof(name="control.checker", quick=True, depth=3, reach=24, fails=16, alone=True,
          says="an instruction that is taken is judged, or skipped; the front end can end what is let through",
          claim=judges, fault="a product never ends",
          broken=lambda: judges("factor.eq(factor >> 1)", "factor.eq(factor)"),
          others=(("unknown opcodes are let through",
                   lambda: judges("known.eq(Cat(opcode == kind for kind in Opcode).any())", "known.eq(1)")),)),
]
