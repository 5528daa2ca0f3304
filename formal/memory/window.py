"""The guard: nothing outside the window and nothing across 4 KiB reaches the bus; refused bursts are answered whole."""

from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Const, Cover, Mux, Signal
from scoville.memory.axi import Resp
from scoville.memory.window import Window

from formal.around import Around
from formal.axi import FULL, SMALL, fire, legal_address, still
from formal.planted import planted
from formal.proof import Proof
from formal.rules import Marked

__all__ = ["PROOFS"]

MOST = 15  # bursts open in a direction, of the guard's 63: as many as the claim counts


def inside(port, channel, base, limit):
    """Whether every byte of the burst that is offered lies in [base, limit): without cut sums."""
    first, beats = getattr(port, f"{channel}addr"), getattr(port, f"{channel}len") + 1
    return (first >= base) & (first + (beats << SMALL.bus_bytes.bit_length() - 1) <= limit)


class Guards(Around):
    """Between a legal manager that takes every answer at once, and a legal memory that answers in order.

    The window is that of the moment in which the guard takes an address; `base` and `limit` are free in every cycle.
    """

    free = ("pick",)

    def elaborate(self, platform):
        m, seen = self.begin()
        window = self.unit
        m.d.comb += [Assume(window.i.rready), Assume(window.i.bready)]
        for channel in ("ar", "aw"):
            self._addresses(m, channel)
        self._reads(m, seen)
        self._writes(m, seen)
        return m

    def _addresses(self, m, channel):
        """Those on the bus stay, are legal, and lie in the window with every byte."""
        window, i, bus = self.unit, self.unit.i, self.unit.bus
        m.d.comb += Assume(still(m, i, channel, FULL[channel]))
        base, limit, out = Signal(SMALL.addr_bits), Signal(SMALL.addr_bits), getattr(bus, f"{channel}valid")
        with m.If(fire(i, channel)):
            m.d.sync += [base.eq(window.base), limit.eq(window.limit)]
        legal_address(m, bus, channel, SMALL)
        m.d.comb += [
            Assert(still(m, bus, channel, FULL[channel])),
            Assert(~out | inside(bus, channel, base, limit)),
            Cover(out & (getattr(bus, f"{channel}len") > 3) & (base != 0)),
            Cover(fire(i, channel) & ~inside(i, channel, window.base, window.limit)),
        ]

    def _reads(self, m, seen):
        """A burst gets as many beats as it asked for, refused or not; a refused one's are zeros, marked, and soon."""
        i, bus = self.unit.i, self.unit.bus
        at, ends = Signal(9), Signal()
        m.d.comb += [Assume(still(m, bus, "r", FULL["r"])), ends.eq(fire(i, "r") & i.rlast)]
        with m.If(fire(i, "r")):
            m.d.sync += at.eq(Mux(i.rlast, 0, at + 1))
        asked = SimpleNamespace(valid=i.arvalid, ready=i.arready, payload=i.arlen)
        marked = Marked(m, self.pick, asked, SimpleNamespace(valid=ends, ready=Const(1), payload=at), most=MOST,
                        fills=False)
        m.d.comb += Assume((marked.inside != MOST) | ~i.arvalid)
        # The memory answers what it was asked; of its bursts the marked one's end is the only one that matters.
        count, head = Signal(range(MOST + 1)), marked.here & (marked.ahead == 0)
        m.d.sync += count.eq(count + fire(bus, "ar") - (fire(bus, "r") & bus.rlast))
        waiting, refusing, answering = seen["ar_open"] + seen["ar_begun"], seen["ar_refusing"], i.rrefused
        late = Signal(2)
        m.d.sync += late.eq(Mux((marked.inside != 0) & (count == 0) & ~bus.arvalid & ~i.rvalid, late + 1, 0))
        m.d.comb += [
            Assume(~bus.rvalid | (count != 0)),
            Assume(~(bus.rvalid & head) | (bus.rlast == (at == marked.word))),
            Assert(~fire(i, "r") | (marked.inside != 0)),
            Assert(~fire(i, "r") | ~head | (i.rlast == (at == marked.word))),
            Assert(~i.rrefused | ~i.rvalid | (i.rdata == 0) & (i.rresp == Resp.DECERR)),
            Assert(~bus.rvalid | bus.rready),  # the memory is never held up
            Assert(late <= 1),
            Cover(fire(i, "r") & i.rrefused & i.rlast & (at == 2)),
            # Invariants.
            Assert(waiting == count + bus.arvalid), Assert(marked.inside == waiting + refusing),
            Assert(~answering | refusing & (waiting == 0)), Assert((late == 0) | answering),
            Assert(~answering | (at + seen["left"] == bus.arlen)),
            Assert((at == 0) | answering | (count != 0)),
            Assert(~(marked.here & refusing & (marked.ahead == waiting)) | (marked.word == bus.arlen)),
            Assert(~(head & (count != 0)) | (at <= marked.word)),
        ]

    def _writes(self, m, seen):
        """A burst gets one answer, after its data; a refused one's data is taken, and none of it reaches the bus."""
        i, bus = self.unit.i, self.unit.bus
        m.d.comb += [Assume(still(m, i, "w", FULL["w"])), Assume(still(m, bus, "b", FULL["b"])),
                     Assert(still(m, bus, "w", FULL["w"]))]
        names = ("asked", "given", "went", "passed")  # bursts without an answer: addresses and data, here and there
        asked, given, went, passed = (Signal(range(MOST + 2), name=name) for name in names)
        answered, done, out = fire(i, "b"), fire(bus, "b"), fire(bus, "w") & bus.wlast
        m.d.sync += [
            asked.eq(asked + fire(i, "aw") - answered), given.eq(given + (fire(i, "w") & i.wlast) - answered),
            went.eq(went + fire(bus, "aw") - done), passed.eq(passed + out - done),
        ]
        late, waiting, refusing = Signal(2), seen["aw_open"] + seen["aw_begun"], seen["aw_refusing"]
        alone = (asked != 0) & (went == 0) & ~bus.awvalid
        m.d.sync += late.eq(Mux(alone & ~i.bvalid & i.wvalid & ~i.wready, late + 1, 0))
        m.d.comb += [
            Assume((asked != MOST) | ~i.awvalid),
            Assume(~bus.bvalid | (went != 0) & (passed != 0)),
            Assert(~i.bvalid | (asked != 0) & (given != 0)),
            Assert(~i.bvalid | ~i.brefused | (i.bresp == Resp.DECERR)),
            Assert(~bus.bvalid | bus.bready),
            Assert(passed <= went + bus.awvalid),  # no data ahead of an address that is offered
            Assert(given <= asked), Assert(asked <= MOST), Assert(late <= 1),
            Cover(i.bvalid & i.brefused & (asked == 1)), Cover(i.bvalid & ~i.brefused & (asked == 2)),
            # Invariants.
            Assert(waiting == went + bus.awvalid), Assert(seen["aw_open"] == seen["owed"] + passed),
            Assert(asked == waiting + refusing), Assert(given == passed + i.brefused),
            Assert((late == 0) | seen["swallowing"]),
        ]


FAULTS = (
    ("the first address alone is compared", "& below &", "& (place <= limit_place) &"),
    ("a refused read has a beat too few", "left.eq(bus.arlen)", "left.eq(bus.arlen - 1)"),
    ("a refused write is answered without its data", "with m.If(swallowing), m.If(i.wvalid & i.wlast):",
     "with m.If(swallowing), m.If(1):"),
)
PROOFS = [
    Proof(name="memory.window", quick=True, depth=3, reach=16,
          says="nothing outside the window, no 4 KiB crossing; every burst answered whole, refused or not",
          claim=lambda: Guards(Window(SMALL)), fault=FAULTS[0][0],
          broken=lambda: Guards(planted(Window, *FAULTS[0][1:])(SMALL)),
          others=tuple((says, lambda right=right, wrong=wrong: Guards(planted(Window, right, wrong)(SMALL)))
                       for says, right, wrong in FAULTS[1:])),
]
