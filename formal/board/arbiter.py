"""The boards' arbiter: neither the chip nor the link starves, and data goes to memory in its addresses' order."""

from amaranth.hdl import Assert, Assume, Const, Cover, Mux, Signal, signed
from scoville.board.arbiter import MemoryArbiter
from scoville.board.bus_access import LINK_ID

from formal.around import Around
from formal.axi import FULL, SMALL, fire, still
from formal.planted import planted
from formal.proof import Proof
from formal.rules import turns

__all__ = ["PROOFS"]


class SharesMemory(Around):
    """Between any chip, a link that asks again only when it has its answer, and any memory.

    Data is in the order of its addresses if neither manager's address or beat passes while a burst of the other's is
    half passed; and of one manager's, order is that of the slices, which have proofs of their own.
    """

    def elaborate(self, platform):
        m, seen = self.begin()
        arbiter = self.unit
        chip, link, memory = arbiter.chip, arbiter.link, arbiter.memory
        for channel in ("ar", "aw", "w"):
            m.d.comb += [Assume(still(m, manager, channel, FULL[channel])) for manager in (chip, link)]
            m.d.comb += Assert(still(m, memory, channel, FULL[channel]))
        for channel in ("r", "b"):
            m.d.comb += Assume(still(m, memory, channel, FULL[channel]))
            m.d.comb += [Assert(still(m, manager, channel, FULL[channel])) for manager in (chip, link)]
            m.d.comb += [Assert(~getattr(link, f"{channel}valid") | (getattr(link, f"{channel}id") == LINK_ID)),
                         Assert(~getattr(chip, f"{channel}valid") | (getattr(chip, f"{channel}id") != LINK_ID))]
        m.d.comb += [Assume((chip.arid != LINK_ID) & (chip.awid != LINK_ID)),
                     Assume((link.arid == LINK_ID) & (link.awid == LINK_ID) & link.wlast)]
        self._reads(m, seen)
        self._writes(m, seen)
        return m

    def _reads(self, m, seen):
        chip, link, memory = self.unit.chip, self.unit.link, self.unit.memory
        asked, taken = Signal(), Signal()  # the link's: its read is not answered; the memory has it
        came = memory.rvalid & (memory.rid == LINK_ID)
        with m.If(fire(link, "r")):
            m.d.sync += asked.eq(0)
        with m.If(fire(link, "ar")):
            m.d.sync += asked.eq(1)
        with m.If(fire(memory, "ar") & (memory.arid == LINK_ID)):
            m.d.sync += taken.eq(1)
        with m.If(came & memory.rready):
            m.d.sync += taken.eq(0)
        passed = turns(m, (chip.arvalid, link.arvalid), (fire(chip, "ar"), fire(link, "ar")), most=1)
        of_link = [valid & (word[:len(memory.arid)] == LINK_ID) for valid, word in self._kept(seen, "ar")]
        back = [valid & (word[:len(memory.rid)] == LINK_ID) for valid, word in self._kept(seen, "r")]
        places = (*of_link, taken, *back)
        m.d.comb += [
            Assume(~link.arvalid | ~asked), Assume(~came | taken),
            Cover(fire(link, "r") & chip.arvalid),
            # Invariants: the link's read is in one place; where it was first, the chip has had its turn.
            Assert(sum(place + Const(0, 3) for place in places) == asked),
            Assert((passed[0] == 0) | ~seen["turn"]),
            Assert((passed[0] == 0) | of_link[1] | of_link[0] & ~seen["ar.skid.full"]),
            Assert((passed[1] == 0) | seen["turn"]),
        ]

    def _writes(self, m, seen):
        chip, link, memory = self.unit.chip, self.unit.link, self.unit.memory
        mine, pending = seen["mine"], seen["pending"]
        wrote, given = Signal(), Signal()  # the link's address and data, which have no answer yet
        for flag, channel in ((wrote, "aw"), (given, "w")):
            with m.If(fire(link, "b")):
                m.d.sync += flag.eq(0)
            with m.If(fire(link, channel)):
                m.d.sync += flag.eq(1)
        # Addresses less bursts of data at the memory.
        ahead, ours = Signal(signed(6)), Signal(signed(2))
        address, end = fire(memory, "aw"), fire(memory, "w") & memory.wlast
        of_link = memory.awid == LINK_ID
        m.d.sync += [ahead.eq(ahead + (address & ~of_link) - (end & ~fire(link, "w"))),
                     ours.eq(ours + fire(link, "aw") - fire(link, "w"))]
        waits, late = link.awvalid & ~mine & (pending == 0) & ~seen["aw.valid"], Signal(2)
        m.d.sync += late.eq(Mux(waits, late + 1, 0))
        passed = Signal(2)  # writes of the link since the chip waits
        with m.If(~chip.awvalid | fire(chip, "aw")):
            m.d.sync += passed.eq(0)
        with m.Elif(fire(link, "aw")):
            m.d.sync += passed.eq(passed + 1)
        due = fire(memory, "w") & ~fire(link, "w")
        came, held = memory.bvalid & (memory.bid == LINK_ID), Signal()
        with m.If(came & memory.bready):
            m.d.sync += held.eq(1)
        with m.If(fire(link, "b")):
            m.d.sync += held.eq(0)
        back = [valid & (word[:len(memory.bid)] == LINK_ID) for valid, word in self._kept(seen, "b")]
        m.d.comb += [
            Assume(~link.awvalid | ~wrote), Assume(~link.wvalid | ~given), Assume(~came | wrote & given & ~held),
            Assert(~(address & of_link | fire(link, "w")) | (ahead == 0)),
            Assert(~(address & ~of_link | due) | (ours == 0)),
            Assert(~(address & of_link) | fire(link, "aw")),
            # While the link waits no burst begins, and it waits for those that have begun and for nothing else.
            Assert(~(link.awvalid & fire(chip, "aw"))), Assert(late <= 1),
            Assert(passed <= 1), Cover((passed == 1) & fire(chip, "aw")),
            Cover((ahead > 1) & link.awvalid), Cover((ahead < 0) & link.awvalid), Cover(fire(link, "b")),
            # Invariants.
            Assert(pending == ahead + seen["aw.valid"] + seen["aw.skid.full"]),
            Assert(~seen["aw.skid.full"] | seen["aw.valid"]), Assert((late == 0) | mine),
            *(Assert(~valid | (word[:len(memory.awid)] != LINK_ID)) for valid, word in self._kept(seen, "aw")),
            Assert(~mine | (ahead == 0)),
            Assert(~mine | seen["address_done"] | link.awvalid & (pending == 0)),
            Assert(ours == Mux(mine, seen["address_done"] - seen["data_done"], 0)),
            Assert(~mine | (seen["address_done"] == wrote) & (seen["data_done"] == given)),
            Assert(mine | (wrote == given)), Assert(~held | wrote & given & ~mine),
            Assert(~(seen["address_done"] & seen["data_done"] & mine)),
            Assert(sum(place + Const(0, 2) for place in back) == held),
            Assert((passed == 0) | wrote & (pending == 0) & ~seen["aw.valid"]),
        ]

    @staticmethod
    def _kept(seen, channel):
        """Both places of a channel's slice: whether an item is there, and which."""
        return ((seen[f"{channel}.valid"], seen[f"{channel}.item"]),
                (seen[f"{channel}.skid.full"], seen[f"{channel}.skid.spare"]))


FAULTS = (
    ("the link waits for the chip's pause", "room.eq(~pending.all() & ~link.awvalid)", "room.eq(~pending.all())"),
    ("the link's address goes among the chip's data", "link.awvalid & ~aw.valid & ~pending.any()",
     "link.awvalid & ~aw.valid"),
    ("the chip's reads go first", "turn.eq(link.arvalid & ~link.arready)",
     "turn.eq(link.arvalid & ~link.arready & ~chip.arvalid)"),
)
PROOFS = [
    Proof(name="board.arbiter", quick=True, depth=3, reach=16,
          says="chip and link get their turns; data in its addresses' order; answers go to whom they belong",
          claim=lambda: SharesMemory(MemoryArbiter(SMALL)), fault=FAULTS[0][0],
          broken=lambda: SharesMemory(planted(MemoryArbiter, *FAULTS[0][1:])(SMALL)),
          others=tuple((says, lambda change=change: SharesMemory(planted(MemoryArbiter, *change)(SMALL)))
                       for says, *change in FAULTS[1:])),
]
