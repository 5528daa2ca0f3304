"""One memory for the chip and the link."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from scoville.board.bus_access import LINK_ID
from scoville.memory import axi

__all__ = ["MemoryArbiter"]

ADDRESS = ("id", "addr", "len", "size", "burst")


class MemoryArbiter(wiring.Component):
    """Joins the chip's and the link's memory ports. Answers go by ID: `LINK_ID` is the link's.

    Read addresses pass through one register, the chip's first. The link writes between the chip's bursts: its address
    goes out when the chip offers none and the data of every chip burst has passed, and then the chip waits for its
    beat. A link as slow as a serial line costs the chip a few cycles now and then.

    Throughput: a beat a cycle each way. Latency: one cycle for read addresses, else none.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    chip, link : In(axi.signature(config)); the link keeps its ready signals high while it waits for an answer
    memory : Out(axi.signature(config))
    """

    OUTSTANDING = 15  # write bursts of the chip whose data has not passed

    def __init__(self, config):
        bus = axi.signature(config)
        super().__init__({"chip": In(bus), "link": In(bus), "memory": Out(bus)})

    def elaborate(self, platform):
        m = Module()
        chip, link, memory = self.chip, self.link, self.memory

        # Reads.
        free = Signal()
        m.d.comb += [
            free.eq(~memory.arvalid | memory.arready),
            chip.arready.eq(free),
            link.arready.eq(free & ~chip.arvalid),
        ]
        with m.If(free):
            m.d.sync += memory.arvalid.eq(chip.arvalid | link.arvalid)
            for field in ADDRESS:
                name = f"ar{field}"
                m.d.sync += getattr(memory, name).eq(Mux(chip.arvalid, getattr(chip, name), getattr(link, name)))

        # Writes.
        mine = Signal()  # the link has the write channels
        pending = Signal(range(self.OUTSTANDING + 1))
        room = Signal()
        begun, ended = Signal(), Signal()
        address_done, data_done, address_passed, data_passed = Signal(), Signal(), Signal(), Signal()  # the link's
        m.d.comb += [
            address_passed.eq(address_done | link.awvalid & link.awready),
            data_passed.eq(data_done | link.wvalid & link.wready & link.wlast),
            room.eq(pending != self.OUTSTANDING),
            begun.eq(chip.awvalid & chip.awready),
            ended.eq(chip.wvalid & chip.wready & chip.wlast),
        ]
        m.d.sync += pending.eq(pending + begun - ended)
        for name in (*(f"aw{field}" for field in ADDRESS), "wdata", "wstrb", "wlast"):
            m.d.comb += getattr(memory, name).eq(Mux(mine, getattr(link, name), getattr(chip, name)))
        m.d.comb += [
            memory.awvalid.eq(Mux(mine, link.awvalid & ~address_done, chip.awvalid & room)),
            memory.wvalid.eq(Mux(mine, link.wvalid & ~data_done, chip.wvalid)),
            chip.awready.eq(memory.awready & ~mine & room),
            chip.wready.eq(memory.wready & ~mine),
            link.awready.eq(memory.awready & mine & ~address_done),
            link.wready.eq(memory.wready & mine & ~data_done),
        ]
        with m.If(~mine):
            # Chip data that overtakes its address would be lost in the link's burst, so it has to be quiet as well.
            m.d.sync += mine.eq(link.awvalid & ~chip.awvalid & ~chip.wvalid & (pending == 0))
            m.d.sync += [address_done.eq(0), data_done.eq(0)]
        with m.Else():
            m.d.sync += [
                address_done.eq(address_passed), data_done.eq(data_passed), mine.eq(~(address_passed & data_passed)),
            ]

        # Answers.
        for manager, ours in ((chip, 0), (link, 1)):
            read_here, write_here = (memory.rid == LINK_ID) == ours, (memory.bid == LINK_ID) == ours
            for name in ("rid", "rdata", "rresp", "rlast", "bid", "bresp"):
                m.d.comb += getattr(manager, name).eq(getattr(memory, name))
            m.d.comb += [manager.rvalid.eq(memory.rvalid & read_here), manager.bvalid.eq(memory.bvalid & write_here)]
        m.d.comb += [
            memory.rready.eq(Mux(memory.rid == LINK_ID, link.rready, chip.rready)),
            memory.bready.eq(Mux(memory.bid == LINK_ID, link.bready, chip.bready)),
        ]
        return m
