"""Block RAM behind an AXI4 port."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from scoville.board.bank import Bank
from scoville.checks import check, check_channel, check_fifo
from scoville.memory import axi

__all__ = ["BlockRam"]

BANK_WORDS = 16384  # at most: a block RAM of 16 kbit for one bit of the bus, and few wires to each
SLICE_BYTES = 2  # bytes of the bus whose block RAMs share registers
QUEUE = 16  # beats read that wait for the bus; more than are on their way


class BlockRam(wiring.Component):
    """Memory from address 0 in the FPGA's own RAM, cleared by configuration.

    ::

        AR ─► counter ─► a register a slice ─► bank 0 … n, each with its register ─► the one that is meant ─► queue ─► R
        W ─────────────► a register a slice ──┘

    Block RAMs lie all over the die, so no path has one of them and anything else in it: reading never waits inside the
    memory (a beat is read only when the queue has room for it), and every `Bank` has its own output register. A slice
    is a few bits of every word: its block RAMs have registers of their own for addresses, near them.

    Throughput: a beat a cycle each way, across bursts. Latency: six cycles from a read address to its first beat
    (address, the slice's address, bank, its register, two in the queue), two from the last beat written to its
    response. A read sees all writes that have had their response. A beat past the end is answered with DECERR.

    Parameters
    ----------
    config : ChipConfig
    size_bytes : a multiple of the bus width

    Members
    -------
    axi : In(axi.signature(config)), INCR bursts of whole, aligned bus words
    """

    def __init__(self, config, size_bytes):
        if size_bytes <= 0 or size_bytes % config.bus_bytes:
            raise ValueError(f"{size_bytes} bytes of block RAM are no multiple of the bus, {config.bus_bytes} bytes")
        self.config, self.size_bytes = config, size_bytes
        super().__init__({"axi": In(axi.signature(config))})

    def elaborate(self, platform):
        m = Module()
        bus, config = self.axi, self.config
        depth = self.size_bytes // config.bus_bytes
        shift = exact_log2(config.bus_bytes)
        index_bits = config.addr_bits - shift

        # Reads: a word is in its bank's register a cycle after the bank has read it.
        beat = data.StructLayout({"data": config.bus_bits, "id": axi.ID_BITS, "wrong": 1, "last": 1})
        m.submodules.queue = queue = fifo.SyncFIFO(width=beat.size, depth=QUEUE)
        arrived = Signal(beat)
        at, left, identity, active = Signal(index_bits), Signal(8), Signal(axi.ID_BITS), Signal()
        room, issue, taken, done = Signal(range(QUEUE + 1), init=QUEUE), Signal(), Signal(), Signal()
        m.d.comb += [
            issue.eq(active & (room != 0)), taken.eq(bus.rvalid & bus.rready), done.eq(issue & (left == 0)),
            bus.arready.eq(~active | done), queue.w_data.eq(arrived),
        ]
        m.d.sync += room.eq(room - issue + taken)
        with m.If(issue):
            m.d.sync += [at.eq(at + 1), left.eq(left - 1)]
        with m.If(done):
            m.d.sync += active.eq(0)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [at.eq(bus.araddr >> shift), left.eq(bus.arlen), identity.eq(bus.arid), active.eq(1)]
        stages = [issue, at >= depth, left == 0, identity]
        for _ in range(3):  # in the slice, in the bank, in its register
            later = [Signal.like(value) for value in stages]
            m.d.sync += [new.eq(value) for new, value in zip(later, stages, strict=True)]
            stages = later
        came, arrived_wrong, arrived_last, arrived_id = stages
        m.d.comb += [queue.w_en.eq(came), arrived.wrong.eq(arrived_wrong), arrived.last.eq(arrived_last),
                     arrived.id.eq(arrived_id)]
        head = data.View(beat, queue.r_data)
        m.d.comb += [
            bus.rvalid.eq(queue.r_rdy), queue.r_en.eq(taken), bus.rdata.eq(head.data), bus.rid.eq(head.id),
            bus.rlast.eq(head.last), bus.rresp.eq(Mux(head.wrong, axi.Resp.DECERR, axi.Resp.OKAY)),
        ]

        # Writes: the next address is taken with the last beat, if its response has room. The word is in the bank a
        # cycle after its beat, before a read that waited for the response can be.
        to, writing, failed, owner = Signal(index_bits), Signal(), Signal(), Signal(axi.ID_BITS)
        taken_in = Signal()
        m.d.comb += [
            bus.wready.eq(writing & (~bus.bvalid | bus.bready)),
            taken_in.eq(bus.wvalid & bus.wready),
            bus.awready.eq(~writing | taken_in & bus.wlast),
        ]
        strobes = Signal(config.bus_bytes)
        m.d.comb += strobes.eq(Mux(taken_in & (to < depth), bus.wstrb, 0))
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(taken_in):
            m.d.sync += [to.eq(to + 1), failed.eq(failed | (to >= depth))]
            with m.If(bus.wlast):
                m.d.sync += [writing.eq(0), bus.bvalid.eq(1), bus.bid.eq(owner),
                             bus.bresp.eq(Mux(failed | (to >= depth), axi.Resp.DECERR, axi.Resp.OKAY))]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [to.eq(bus.awaddr >> shift), owner.eq(bus.awid), writing.eq(1), failed.eq(0)]

        bits = (depth - 1).bit_length()
        m.d.comb += arrived.data.eq(Cat(
            self.slice(m, number, at[:bits], at < depth, to[:bits],
                       bus.wdata.word_select(number, 8 * SLICE_BYTES), strobes.word_select(number, SLICE_BYTES))
            for number in range(config.bus_bytes // SLICE_BYTES)))

        beats = Signal(9)  # of the write burst, to come
        with m.If(taken_in):
            m.d.sync += beats.eq(beats - 1)
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += beats.eq(bus.awlen + 1)
        check(m, ~taken_in | (bus.wlast == (beats == 1)), "block RAM: a write burst has as many beats as it says")
        for channel in ("ar", "aw"):
            size, burst = getattr(bus, f"{channel}size"), getattr(bus, f"{channel}burst")
            check(m, ~getattr(bus, f"{channel}valid") | (size == shift) & (burst == axi.Burst.INCR),
                  f"block RAM: {channel} asks for an INCR burst of whole words")
        check_fifo(m, queue, "block RAM: queue")
        check(m, room + queue.level <= QUEUE, "block RAM: no more room than there is")
        for channel in ("r", "b"):
            check_channel(m, bus, channel, "block RAM:")
        return m

    def slice(self, m, number, at, inside, to, wdata, strobes):
        """Some bytes of every word, written at `to`, read at `at`; returns what was read, three cycles later.

        That is zero without `inside`.
        """
        depth = self.size_bytes // self.config.bus_bytes
        bank_bits = min(exact_log2(BANK_WORDS), depth.bit_length() - 1)  # a power of two leaves no room unused
        # The addresses begin differently, or synthesis would take one register for all slices.
        place, goal = (Signal.like(at, init=number, name=f"{name}{number}") for name in ("place", "goal"))
        word, enables = Signal.like(wdata, name=f"word{number}"), Signal.like(strobes, name=f"enables{number}")
        asked = Signal(name=f"asked{number}")
        m.d.sync += [place.eq(at), asked.eq(inside), goal.eq(to), word.eq(wdata), enables.eq(strobes)]
        kept = []
        for bank, first in enumerate(range(0, depth, 1 << bank_bits)):
            m.submodules[f"slice{number}_bank{bank}"] = ram = Bank(len(wdata), min(1 << bank_bits, depth - first))
            meant, came = (Signal(name=f"{what}{number}_{bank}") for what in ("meant", "came"))
            m.d.comb += [ram.at.eq(place), ram.to.eq(goal), ram.data.eq(word),
                         ram.enables.eq(Mux(goal[bank_bits:] == bank, enables, 0))]
            m.d.sync += [meant.eq(asked & (place[bank_bits:] == bank)), came.eq(meant)]
            kept.append(Mux(came, ram.word, 0))
        return reduce(or_, kept)
