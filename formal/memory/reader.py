"""The stream reader keeps AXI4, never asks for what it has no room for, and delivers every beat in order."""

from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Cover, Mux, Signal
from scoville.memory.reader import FLIGHT, READER_ID, StreamReader

from formal.around import Around
from formal.axi import FULL, SMALL, fire, legal_address, still
from formal.fifos import keeps_in_order
from formal.planted import planted
from formal.proof import Proof
from formal.rules import Marked, assert_stream, assume_stream

__all__ = ["PROOFS"]


class ReadsInOrder(Around):
    """The memory gives as many beats and as many RLASTs as it was asked for, but may end bursts early or late.

    That is more than AXI4 allows it, so what holds here holds for a legal memory.
    """

    free = ("pick", "pick_burst")

    def elaborate(self, platform):
        m, seen = self.begin()
        reader, bus = self.unit, self.unit.bus
        size = SMALL.bus_bytes.bit_length() - 1
        assume_stream(m, reader.i)
        assert_stream(m, reader.o)
        legal_address(m, bus, "ar", SMALL)
        m.d.comb += [Assume(reader.i.p.address[:size] == 0), Assert(still(m, bus, "ar", FULL["ar"])),
                     Assume(still(m, bus, "r", FULL["r"])), Assume(~bus.rvalid | (bus.rid == READER_ID))]
        beats, bursts = Signal(range(reader.depth + 1)), Signal(range(FLIGHT + 1))
        arrive = bus.rvalid & bus.rready
        beats_left, bursts_left = beats - 1, bursts - bus.rlast
        m.d.sync += [beats.eq(beats + Mux(fire(bus, "ar"), bus.arlen + 1, 0) - arrive),
                     bursts.eq(bursts + fire(bus, "ar") - (arrive & bus.rlast))]
        m.d.comb += [
            Assume(~bus.rvalid | (beats != 0) & (bursts_left >= 0) & (beats_left >= bursts_left)
                   & ((beats_left != 0) == (bursts_left != 0))),
            Assert(~bus.rvalid | bus.rready),
        ]
        items = Marked(m, self.pick, SimpleNamespace(valid=bus.rvalid, ready=bus.rready, payload=bus.rdata), reader.o,
                       most=reader.depth)
        keeps_in_order(m, items, seen, "fifo.", (seen["fifo.r_rdy"], seen["fifo.r_data"]), reader.depth - 1)
        flight = Marked(m, self.pick_burst,
                        SimpleNamespace(valid=seen["burst_go"], ready=1, payload=seen["burst_address"]),
                        SimpleNamespace(valid=arrive, ready=bus.rlast, payload=seen["flight.r_data"]),
                        most=FLIGHT, fills=False)
        keeps_in_order(m, flight, seen, "flight.", (seen["flight.r_rdy"], seen["flight.r_data"]), FLIGHT - 1)
        self._invariants(m, seen, beats, bursts, items, flight, size)
        return m

    def _invariants(self, m, seen, beats, bursts, items, flight, size):
        reader, bus = self.unit, self.unit.bus
        waits, spare, asked = seen["waits"], seen["spare_beats"], Mux(bus.arvalid, bus.arlen + 1, 0)
        place_bits = size + (reader.burst_beats - 1).bit_length()

        def fits(address, count):
            """A burst from `address` ends before the next multiple of the longest."""
            return (address[:size] == 0) & (count != 0) & (address[size:place_bits] + count <= reader.burst_beats)

        m.d.comb += [
            Assert(seen["credit"] + items.inside + beats + asked + Mux(waits, spare, 0) == reader.depth),
            Assert(flight.inside == bursts + bus.arvalid + waits),
            Assert((beats != 0) == (bursts != 0)), Assert(beats >= bursts), Assert(~waits | bus.arvalid),
            Assert(seen["flight.r_rdy"] | (seen["flight.inner_level"] <= 1) & (bursts == 0)),
            Assert(seen["fifo.r_rdy"] | (seen["fifo.inner_level"] <= 1)),
            Assert(~bus.arvalid | fits(bus.araddr, bus.arlen + 1)), Assert(~waits | fits(seen["spare_address"], spare)),
            Assert(~seen["burst_valid"] | fits(seen["burst_address"], seen["burst_beats"])),
            Assert((seen["remaining"] == 0) | (seen["address"][:size] == 0)),
            Assert(~seen["requests.valid"] | (seen["requests.item"][:size] == 0)),
            Assert(~seen["requests.skid.full"] | (seen["requests.skid.spare"][:size] == 0)),
            Assert(~seen["requests.skid.full"] | seen["requests.valid"]),
            Cover(bus.arvalid & waits & (bus.arlen == 2)), Cover(reader.error & reader.o.valid),
        ]


PROOFS = [
    Proof(name="memory.reader", quick=True, depth=2, reach=40, fails=12,
          says="AXI4, no 4 KiB crossing; room for every beat asked for; beats in order; errors name their burst",
          claim=lambda: ReadsInOrder(StreamReader(SMALL)), fault="bursts end anywhere",
          broken=lambda: ReadsInOrder(planted(StreamReader, "room.eq(self.burst_beats - offset)",
                                              "room.eq(self.burst_beats)")(SMALL)),
          others=(("a burst goes out with no room for its last beat", lambda: ReadsInOrder(planted(
              StreamReader, "(rest >= 0)", "(rest >= -1)")(SMALL))),)),
]
