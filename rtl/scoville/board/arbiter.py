"""One memory for the chip and the link."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from scoville.board.bus_access import LINK_ID
from scoville.checks import check, check_channel
from scoville.memory import axi
from scoville.slices import StreamSlice

__all__ = ["MemoryArbiter"]

ADDRESS = ("id", "addr", "len", "size", "burst")
CHANNELS = {"ar": ADDRESS, "aw": ADDRESS, "w": ("data", "strb", "last"), "r": ("id", "data", "resp", "last"),
            "b": ("id", "resp")}


class MemoryArbiter(wiring.Component):
    """Joins the chip's and the link's memory ports. Answers go by ID: `LINK_ID` is the link's.

    Every channel has a `StreamSlice` between the chip and the memory, so no path crosses from one into the other. Of
    read addresses the link's go first, as the chip might never pause. The link writes between the chip's bursts: while
    its address waits no further burst of the chip begins, and when the data of those that have begun has passed, it
    goes out, and the chip waits for its beat. A link as slow as a serial line costs the chip a few cycles now and then.
    Chip data ahead of its address waits for it here; the memory may take data ahead of an address that it holds up.

    Throughput: a beat a cycle each way. Latency: one cycle each way.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    chip, link : In(axi.signature(config)); the link keeps its ready signals high while it waits for an answer
    memory : Out(axi.signature(config))
    """

    OUTSTANDING = 15  # write bursts of the chip whose data has not passed; a power of two, less one

    def __init__(self, config):
        bus = axi.signature(config)
        super().__init__({"chip": In(bus), "link": In(bus), "memory": Out(bus)})

    def elaborate(self, platform):
        m = Module()
        chip, link, memory = self.chip, self.link, self.memory

        slices = {}
        for channel, fields in CHANNELS.items():
            layout = {name: getattr(chip, channel + name).shape() for name in fields}
            slices[channel] = m.submodules[channel] = StreamSlice(data.StructLayout(layout))

        def offer(channel, port):
            """A port's items go into the slice of their channel."""
            i = slices[channel].i
            m.d.comb += [i.valid.eq(getattr(port, f"{channel}valid")), getattr(port, f"{channel}ready").eq(i.ready)]
            m.d.comb += [i.p[name].eq(getattr(port, channel + name)) for name in CHANNELS[channel]]

        # Reads.
        ar = slices["ar"]
        turn = Signal()  # the link's: its address waits
        m.d.comb += [
            ar.i.valid.eq(turn | chip.arvalid), memory.arvalid.eq(ar.o.valid), ar.o.ready.eq(memory.arready),
            link.arready.eq(ar.i.ready & turn), chip.arready.eq(ar.i.ready & ~turn),
        ]
        m.d.sync += turn.eq(link.arvalid & ~link.arready)
        for field in ADDRESS:
            name = f"ar{field}"
            m.d.comb += [ar.i.p[field].eq(Mux(turn, getattr(link, name), getattr(chip, name))),
                         getattr(memory, name).eq(ar.o.p[field])]

        # Writes. A burst is pending from its address into the slice to its last beat out of it, as the memory may hold
        # up addresses and take data ahead of them. While none is, data waits: the memory would take it for the link's.
        offer("aw", chip)
        offer("w", chip)
        aw, w = slices["aw"].o, slices["w"].o
        mine = Signal()  # the link has the write channels
        pending = Signal(range(self.OUTSTANDING + 1))
        room, due = Signal(), Signal()
        begun, ended = Signal(), Signal()
        address_done, data_done, address_passed, data_passed = Signal(), Signal(), Signal(), Signal()  # the link's
        m.d.comb += [
            address_passed.eq(address_done | link.awvalid & link.awready),
            data_passed.eq(data_done | link.wvalid & link.wready & link.wlast),
            room.eq(~pending.all() & ~link.awvalid), due.eq(pending.any() & ~mine),
            slices["aw"].i.valid.eq(chip.awvalid & room), chip.awready.eq(slices["aw"].i.ready & room),
            begun.eq(chip.awvalid & chip.awready),
            ended.eq(w.valid & w.ready & w.p.last),
        ]
        m.d.sync += pending.eq(pending + begun - ended)
        for channel, ours in (("aw", aw), ("w", w)):
            for field in CHANNELS[channel]:
                name = channel + field
                m.d.comb += getattr(memory, name).eq(Mux(mine, getattr(link, name), ours.p[field]))
        m.d.comb += [
            memory.awvalid.eq(Mux(mine, link.awvalid & ~address_done, aw.valid)),
            memory.wvalid.eq(Mux(mine, link.wvalid & ~data_done, w.valid & due)),
            aw.ready.eq(memory.awready & ~mine),
            w.ready.eq(memory.wready & due),
            link.awready.eq(memory.awready & mine & ~address_done),
            link.wready.eq(memory.wready & mine & ~data_done),
        ]
        with m.If(~mine):
            m.d.sync += mine.eq(link.awvalid & ~aw.valid & ~pending.any())
            m.d.sync += [address_done.eq(0), data_done.eq(0)]
        with m.Else():
            m.d.sync += [
                address_done.eq(address_passed), data_done.eq(data_passed), mine.eq(~(address_passed & data_passed)),
            ]

        # Answers.
        offer("r", memory)
        offer("b", memory)
        for channel in ("r", "b"):
            o = slices[channel].o
            links = o.p.id == LINK_ID
            for manager, here in ((chip, ~links), (link, links)):
                for name in CHANNELS[channel]:
                    m.d.comb += getattr(manager, channel + name).eq(o.p[name])
                m.d.comb += getattr(manager, f"{channel}valid").eq(o.valid & here)
            m.d.comb += o.ready.eq(Mux(links, getattr(link, f"{channel}ready"), getattr(chip, f"{channel}ready")))

        check(m, ~(chip.arvalid & (chip.arid == LINK_ID)), "arbiter: no read of the chip has the link's ID")
        check(m, ~(chip.awvalid & (chip.awid == LINK_ID)), "arbiter: no write of the chip has the link's ID")
        check(m, ~(link.arvalid & (link.arid != LINK_ID)), "arbiter: the link's reads have its ID")
        check(m, ~(link.awvalid & (link.awid != LINK_ID)), "arbiter: the link's writes have its ID")
        check(m, ~ended | pending.any(), "arbiter: a burst ends only after it has begun")
        check(m, ~begun | ~pending.all(), "arbiter: no more bursts than are counted")
        for channel in ("ar", "aw", "w"):
            check_channel(m, memory, channel, "arbiter: memory")
        return m
