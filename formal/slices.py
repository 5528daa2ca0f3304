"""`Skid` and `StreamSlice` lose, double, change and swap nothing, and keep the stream rules."""

from amaranth.hdl import Assert, Module, Mux
from amaranth.lib import stream
from amaranth.lib.wiring import In
from scoville.slices import Skid, StreamSlice

from formal.opened import Opened
from formal.planted import planted
from formal.proof import Claim, Proof
from formal.rules import Marked, assert_stream, assume_stream

__all__ = ["PROOFS"]

WIDTH = 37  # any will do, as nothing looks at an item


class SkidKeepsItems(Claim):
    def __init__(self, skid):
        super().__init__({"pick": In(1), "i": In(stream.Signature(WIDTH)), "ready": In(1)})
        self.skid = skid

    def elaborate(self, platform):
        m = Module()
        m.submodules.skid = skid = Opened(self.skid)
        i, o = self.skid.i, self.skid.o
        m.d.comb += [i.valid.eq(self.i.valid), i.payload.eq(self.i.payload), self.i.ready.eq(i.ready),
                     o.ready.eq(self.ready)]
        assume_stream(m, i)
        assert_stream(m, o)
        marked = Marked(m, self.pick, i, o, most=1)
        m.d.comb += [
            Assert(self.skid.full == (marked.inside == 1)),
            Assert(~marked.here | (skid["spare"] == marked.word)),
        ]
        return m


class SliceKeepsItems(Claim):
    def __init__(self, unit):
        super().__init__({"pick": In(1), "i": In(stream.Signature(WIDTH)), "ready": In(1)})
        self.unit = unit

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = Opened(self.unit)
        i, o = self.unit.i, self.unit.o
        m.d.comb += [i.valid.eq(self.i.valid), i.payload.eq(self.i.payload), self.i.ready.eq(i.ready),
                     o.ready.eq(self.ready)]
        assume_stream(m, i)
        assert_stream(m, o)
        marked = Marked(m, self.pick, i, o, most=2)
        full, valid = unit["skid.full"], unit["valid"]
        m.d.comb += [
            Assert(marked.inside == full + valid),
            Assert(~full | valid),
            Assert(~marked.here | (marked.word == Mux(marked.ahead == 0, o.payload, unit["skid.spare"]))),
        ]
        return m


PROOFS = [
    Proof(name="slices.Skid", says="every item comes out once, unchanged, in order; stream rules",
          claim=lambda: SkidKeepsItems(Skid(WIDTH)), quick=True,
          fault="the spare register follows its input while it is full",
          broken=lambda: SkidKeepsItems(planted(
              Skid, "            m.d.sync += self.full.eq(~self.o.ready)\n",
              "            m.d.sync += [self.full.eq(~self.o.ready), spare.eq(coming)]\n")(WIDTH))),
    Proof(name="slices.StreamSlice", says="every item comes out once, unchanged, in order; stream rules",
          claim=lambda: SliceKeepsItems(StreamSlice(WIDTH)), quick=True,
          fault="the register takes an item when it is full",
          broken=lambda: SliceKeepsItems(planted(
              StreamSlice, "skid.o.ready.eq(self.o.ready | ~valid)", "skid.o.ready.eq(1)")(WIDTH))),
]
