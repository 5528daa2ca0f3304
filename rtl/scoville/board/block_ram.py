"""Block RAM behind an AXI4 port."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from scoville.memory import axi

__all__ = ["BlockRam"]


class BlockRam(wiring.Component):
    """Memory from address 0 in the FPGA's own RAM, cleared by configuration.

    Throughput: a beat a cycle each way, across bursts. Latency: three cycles from a read address to its first beat
    (address, memory, the memory's output register), two from the last beat written to its response. A read sees all
    writes that have had their response. A beat past the end is answered with DECERR.

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
        m.submodules.ram = ram = memory.Memory(shape=config.bus_bits, depth=depth, init=[])
        read, write = ram.read_port(), ram.write_port(granularity=8)
        index_bits = config.addr_bits - shift

        # Reads: three stages that stand still together while the last beat waits.
        move = Signal()
        at, left, identity, active = Signal(index_bits), Signal(8), Signal(axi.ID_BITS), Signal()
        valid, last, wrong, number = Signal(), Signal(), Signal(), Signal(axi.ID_BITS)  # of the beat in the memory
        m.d.comb += [
            move.eq(~bus.rvalid | bus.rready),
            bus.arready.eq(~active | move & (left == 0)),
            read.addr.eq(at), read.en.eq(move),
        ]
        with m.If(move):
            m.d.sync += [at.eq(at + 1), left.eq(left - 1), active.eq(active & (left != 0))]
            m.d.sync += [valid.eq(active), last.eq(left == 0), wrong.eq(at >= depth), number.eq(identity)]
            m.d.sync += [bus.rvalid.eq(valid), bus.rlast.eq(last), bus.rid.eq(number),
                         bus.rdata.eq(Mux(wrong, 0, read.data)),
                         bus.rresp.eq(Mux(wrong, axi.Resp.DECERR, axi.Resp.OKAY))]
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [at.eq(bus.araddr >> shift), left.eq(bus.arlen), identity.eq(bus.arid), active.eq(1)]

        # Writes: the next address is taken with the last beat, if its response has room.
        to, writing, failed, owner = Signal(index_bits), Signal(), Signal(), Signal(axi.ID_BITS)
        beat = Signal()
        m.d.comb += [
            bus.wready.eq(writing & (~bus.bvalid | bus.bready)),
            beat.eq(bus.wvalid & bus.wready),
            bus.awready.eq(~writing | beat & bus.wlast),
            write.addr.eq(to), write.data.eq(bus.wdata),
            write.en.eq(Mux(beat & (to < depth), bus.wstrb, 0)),
        ]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(beat):
            m.d.sync += [to.eq(to + 1), failed.eq(failed | (to >= depth))]
            with m.If(bus.wlast):
                m.d.sync += [writing.eq(0), bus.bvalid.eq(1), bus.bid.eq(owner),
                             bus.bresp.eq(Mux(failed | (to >= depth), axi.Resp.DECERR, axi.Resp.OKAY))]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [to.eq(bus.awaddr >> shift), owner.eq(bus.awid), writing.eq(1), failed.eq(0)]
        return m
