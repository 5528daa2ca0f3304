"""Small reads get all their beats, and nothing on the shared read channel starves the stream reader."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib.wiring import connect
from scoville.memory.fetch_port import FETCH_ID, FetchPort, ReadMux
from scoville.memory.reader import READER_ID

from formal.around import drive, inputs_of
from formal.axi import FULL, SMALL, fire, still
from formal.opened import Opened
from formal.planted import planted
from formal.proof import Claim, Proof

__all__ = ["PROOFS"]

CLIENTS = 2
IDLE, ACCEPT, MEASURE, ADDRESS, DATA = range(5)  # in the order in which `FetchPort` names them


class SharesReads(Claim):
    """`FetchPort` and `ReadMux`, with any other legal manager in the reader's place, and a legal memory.

    The clients of the fetch port may withdraw a request, as they do when the chip stops.
    """

    def __init__(self, port, mux):
        super().__init__(inputs_of(port, but=("bus",)) | inputs_of(mux, but=("fetch",)))
        self.port, self.mux = port, mux

    def elaborate(self, platform):
        m = Module()
        port, mux = self.port, self.mux
        m.submodules.port, m.submodules.mux = seen, _ = Opened(port), mux
        drive(m, self, port)
        drive(m, self, mux)
        connect(m, port.bus, mux.fetch)
        bus, reader = mux.bus, mux.reader
        size = SMALL.bus_bytes.bit_length() - 1
        m.d.comb += [Assume(still(m, reader, "ar", FULL["ar"])), Assume(reader.arid == READER_ID),
                     Assume(reader.rready), Assume(still(m, bus, "r", FULL["r"])),
                     *(Assume(i.p.address[:size] == 0) for i in port.i)]

        # Nobody is passed over: the reader waits for one small read at most.
        passed = Signal(2)
        with m.If(~reader.arvalid | fire(reader, "ar")):
            m.d.sync += passed.eq(0)
        with m.Elif(fire(mux.fetch, "ar")):
            m.d.sync += passed.eq(passed + 1)

        # The memory owes the port's burst its beats.
        asked, owes = Signal(), Signal(9)
        ours = bus.arvalid & (bus.arid == FETCH_ID)
        beat = bus.rvalid & (bus.rid == FETCH_ID)
        with m.If(ours & bus.arready):
            m.d.sync += [asked.eq(1), owes.eq(bus.arlen)]
        with m.Elif(beat):
            m.d.sync += [asked.eq(~bus.rlast), owes.eq(owes - 1)]
        m.d.comb += [Assume(~bus.rvalid | (bus.rid == READER_ID) | (bus.rid == FETCH_ID)),
                     Assume(~beat | asked & (bus.rlast == (owes == 0)))]

        # A client gets as many beats as it asked for.
        owed, whose = Signal(8), Signal(range(CLIENTS))
        taken = Cat(i.valid & i.ready for i in port.i)
        given = Cat(o.valid & o.ready for o in port.o)
        for number, i in enumerate(port.i):
            with m.If(taken[number]):
                m.d.sync += [owed.eq(i.p.beats), whose.eq(number)]
        with m.If(given.any()):
            m.d.sync += owed.eq(owed - 1)
        m.d.comb += [
            Assert(passed <= 1),
            *(Assert(~o.valid | (owed != 0) & (whose == number)) for number, o in enumerate(port.o)),
            Assert(~taken.any() | (owed == 0)),
            Assert(~port.idle | (owed == 0)),
            Cover((passed == 1) & fire(reader, "ar")), Cover(given[1] & (owed == 3)),
        ]
        self._invariants(m, seen, passed, asked, owes, ours, owed, whose, size)
        return m

    def _invariants(self, m, seen, passed, asked, owes, ours, owed, whose, size):
        state, left, beats, remaining = (seen[name] for name in ("fsm_state", "left", "beats", "remaining"))
        address, level, longest = seen["address"], seen["fifo.level"], self.port.burst_beats
        busy, data = (state == ADDRESS) | (state == DATA), state == DATA
        place = address[size:size + (longest - 1).bit_length()]
        m.d.comb += [
            Assert(state <= DATA),
            Assert(data == (ours | asked)), Assert(~(ours & asked)),
            Assert(~ours | (self.mux.bus.arlen + 1 == left)), Assert(~asked | (owes + 1 == left)),
            Assert(~busy | (beats != 0) & (beats <= remaining) & (place + beats <= longest)),
            Assert(~busy | (left != 0) & (left <= beats)),
            Assert(~busy | (seen["end"] == (address + (beats << size))[:SMALL.addr_bits])),
            Assert((state < MEASURE) | (address[:size] == 0)),
            Assert((state != ADDRESS) | (left == beats) & (level == 0)),
            Assert(~data | (level <= beats - left)),
            Assert((state < MEASURE) | (seen["client"] == whose)),
            Assert(owed == Mux(state < MEASURE, 0, remaining + level - Mux(data, beats - left, 0))),
            Assert((state >= MEASURE) | (level == 0)),
            Assert(level == seen["fifo.inner_level"] + seen["fifo.r_rdy"]),
            Assert((passed == 0) | ours),
        ]


def shares(port=FetchPort):
    return SharesReads(port(SMALL, clients=CLIENTS), ReadMux(SMALL))


PROOFS = [
    Proof(name="memory.fetch_port", quick=True, depth=2, reach=30, fails=20,
          says="a small read gets all its beats; the reader waits for one small read at most; RTL's assertions",
          claim=shares, fault="an address is offered again once it is taken",
          broken=lambda: shares(planted(FetchPort, 'm.next = "DATA"', 'm.next = "ADDRESS"')),
          others=(("a burst ends a beat early",
                   lambda: shares(planted(FetchPort, "with m.If(arrive & (left == 1)):",
                                          "with m.If(arrive & (left <= 2)):"))),)),
]
