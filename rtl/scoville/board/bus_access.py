"""One word at a time to registers or memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_channel, check_stream
from scoville.memory import axi

__all__ = ["LINK_ID", "BusAccess", "access_layout", "outcome_layout"]

LINK_ID = 3  # the chip uses 0 and 1
LITE_BYTES = 1 << axi.LITE_ADDR_BITS


def access_layout(config):
    """A register word of 32 bits (`registers`) or a bus word of memory, at `address`, to read or to write."""
    return data.StructLayout({"registers": 1, "write": 1, "address": 32, "data": config.bus_bits})


def outcome_layout(config):
    """What was read, and whether the bus answered with an error."""
    return data.StructLayout({"data": config.bus_bits, "error": 1})


class BusAccess(wiring.Component):
    """Accesses registers over AXI4-Lite, and memory over AXI4 in bursts of one beat.

    Throughput: one access at a time, in four cycles at least. Latency: the bus's, and two cycles.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream(access_layout))
    o : Out(stream(outcome_layout)), one for each access; after a write `data` is what was read last
    registers : Out(axi.lite_signature())
    memory : Out(axi.signature(config)), with ID `LINK_ID`
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(access_layout(config))),
            "o": Out(stream.Signature(outcome_layout(config))),
            "registers": Out(axi.lite_signature()),
            "memory": Out(axi.signature(config)),
        })

    @staticmethod
    def model(accesses, registers, memory):
        """Outcomes, (data, error), of accesses, which are dicts of `access_layout`'s fields.

        `registers` and `memory` are objects with ``read(address)``, which gives (data, error), and
        ``write(address, data)``, which gives error.
        """
        data = 0
        for access in accesses:
            target, address = (registers, access["address"] % LITE_BYTES) if access["registers"] else (
                memory, access["address"])
            if access["write"]:
                error = target.write(address, access["data"] & 0xFFFFFFFF if access["registers"] else access["data"])
            else:
                data, error = target.read(address)
            yield data, error

    def elaborate(self, platform):
        m = Module()
        lite, full = self.registers, self.memory
        access = Signal(access_layout(self.config))
        outcome = Signal(outcome_layout(self.config))
        size = exact_log2(self.config.bus_bytes)
        m.d.comb += [
            self.o.payload.eq(outcome),
            lite.araddr.eq(access.address), lite.awaddr.eq(access.address), lite.wdata.eq(access.data),
            lite.wstrb.eq(-1), full.wdata.eq(access.data), full.wstrb.eq(-1), full.wlast.eq(1),
        ]
        for prefix in ("ar", "aw"):
            for field, value in (("id", LINK_ID), ("addr", access.address), ("size", size), ("burst", axi.Burst.INCR)):
                m.d.comb += getattr(full, prefix + field).eq(value)

        def drive(name, value):
            m.d.comb += [getattr(lite, name).eq(value & access.registers),
                         getattr(full, name).eq(value & ~access.registers)]

        def seen(name):
            return Mux(access.registers, getattr(lite, name), getattr(full, name))

        address_done, data_done = Signal(), Signal()
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [access.eq(self.i.payload), address_done.eq(0), data_done.eq(0)]
                with m.If(self.i.valid):
                    m.next = "READ"
                    with m.If(self.i.p.write):
                        m.next = "WRITE"
            with m.State("READ"):
                drive("arvalid", 1)
                with m.If(seen("arready")):
                    m.next = "DATA"
            with m.State("DATA"):
                drive("rready", 1)
                m.d.sync += [outcome.data.eq(seen("rdata")), outcome.error.eq(seen("rresp")[1])]
                with m.If(seen("rvalid")):
                    m.next = "DONE"
            with m.State("WRITE"):
                drive("awvalid", ~address_done)
                drive("wvalid", ~data_done)
                m.d.sync += [address_done.eq(address_done | seen("awready")), data_done.eq(data_done | seen("wready"))]
                with m.If((address_done | seen("awready")) & (data_done | seen("wready"))):
                    m.next = "RESPONSE"
            with m.State("RESPONSE"):
                drive("bready", 1)
                m.d.sync += outcome.error.eq(seen("bresp")[1])
                with m.If(seen("bvalid")):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"

        for channel in ("ar", "aw", "w"):
            check_channel(m, lite, channel, "bus access: registers")
            check_channel(m, full, channel, "bus access: memory")
        check_stream(m, self.o, "bus access")
        check(m, ~full.rvalid | (full.rid == LINK_ID) & full.rlast, "bus access: what is read is the link's, one beat")
        check(m, ~full.bvalid | (full.bid == LINK_ID), "bus access: what was written is the link's")
        return m
