"""The writer keeps AXI4, at memories of every order; data never waits for its address to be taken."""

from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Const, Mux, Signal
from scoville.memory.writer import StreamWriter

from formal.around import Around
from formal.axi import SMALL, WriteManager
from formal.fifos import keeps_in_order
from formal.planted import planted
from formal.proof import Proof
from formal.rules import Marked, assume_stream

__all__ = ["PROOFS"]

DEPTH = StreamWriter.OUTSTANDING


class WriterKeepsAxi(Around):
    free = ("pick", "pick_address")

    def elaborate(self, platform):
        m, seen = self.begin()
        writer, bus = self.unit, self.unit.bus
        size = SMALL.bus_bytes.bit_length() - 1
        assume_stream(m, writer.command)
        assume_stream(m, writer.data)
        m.d.comb += Assume(writer.command.p.address[:size] == 0)
        rules = WriteManager(m, bus, self.pick, SMALL, most=DEPTH)
        # A response's address, as `error_address` would say it.
        answered = Marked(m, self.pick_address, SimpleNamespace(valid=rules.new, ready=Const(1), payload=bus.awaddr),
                          SimpleNamespace(valid=bus.bvalid, ready=bus.bready, payload=seen["addresses.r_data"]),
                          most=DEPTH)
        # Data that is inside, and a burst that it may go with: it is offered in the next cycle, whatever AWREADY is.
        held, late = Signal(3), Signal(2)
        m.d.sync += held.eq(held + (writer.data.valid & writer.data.ready) - (bus.wvalid & bus.wready))
        m.d.sync += late.eq(Mux((held != 0) & (rules.marked.inside != 0) & ~bus.wvalid, late + 1, 0))
        m.d.comb += Assert(late <= 1)
        self._invariants(m, seen, rules, answered, held, late, size)
        return m

    def _invariants(self, m, seen, rules, answered, held, late, size):
        address, length, remaining, allowed = (seen[name] for name in ("address", "length", "remaining", "allowed"))
        measured, active, announced = seen["measured"], seen["active"], seen["announced"]
        for name, follower in (("lengths", rules.marked), ("addresses", answered)):
            keeps_in_order(m, follower, seen, f"{name}.", (seen[f"{name}.r_rdy"], seen[f"{name}.r_data"]), DEPTH - 1)
            m.d.comb += Assert(seen[f"{name}.r_rdy"] | (seen[f"{name}.inner_level"] <= 1))
        commands = [seen[f"commands.{name}"] for name in ("item", "skid.spare")]
        outstanding, beats = seen["outstanding"], seen["beats.skid.full"] + seen["beats.valid"]
        m.d.comb += [
            Assert(~active | (address[:size] == 0)),
            Assert(~seen["commands.valid"] | (commands[0][:size] == 0)),
            Assert(~seen["commands.skid.full"] | (commands[1][:size] == 0)),
            Assert(~measured | active), Assert(~announced | measured), Assert(~active | (remaining != 0)),
            Assert(~measured | (length == Mux(remaining > allowed, allowed, remaining))),
            Assert(~measured | (seen["last_burst"] == (remaining <= allowed))),
            Assert(seen["beat"] == rules.at),
            Assert(Mux(seen["lengths.r_rdy"], seen["beat"] <= seen["lengths.r_data"], seen["beat"] == 0)),
            Assert(outstanding == rules.addresses + announced),
            Assert(outstanding == rules.data + rules.marked.inside),
            Assert(outstanding == answered.inside),
            Assert(seen["addresses.r_rdy"] | ~seen["lengths.r_rdy"] & (rules.data == 0)),
            Assert(held == beats), Assert(~seen["beats.skid.full"] | seen["beats.valid"]),
            Assert((late == 0) | seen["lengths.r_rdy"]),
        ]


PROOFS = [
    Proof(name="memory.writer", quick=True, reach=30, fails=14,
          says="AXI4: stable channels, no 4 KiB crossing, WLAST, data waits for no AWREADY; errors name their burst",
          claim=lambda: WriterKeepsAxi(StreamWriter(SMALL)), fault="data waits until its address is taken",
          broken=lambda: WriterKeepsAxi(planted(StreamWriter, "lengths.w_en.eq(announce)",
                                                "lengths.w_en.eq(burst_taken)")(SMALL))),
]
