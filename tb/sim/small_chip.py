"""A component with the ports of the chip, to test the simulator with: it adds up memory and writes the sum."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from scoville.checks import check
from scoville.memory import axi
from scoville.memory.reader import StreamReader

ADDRESS, BEATS, TARGET, START, SUM, STATUS, FAULT = range(0, 28, 4)


class Breakage(enum.Enum, shape=2):
    """AXI4 rules that this chip can be asked to break."""

    NONE = 0
    BOUNDARY = 1  # the write burst crosses 4 KB
    LAST = 2  # WLAST comes too early
    PAYLOAD = 3  # WDATA changes while it waits


class SmallChip(wiring.Component):
    """Sums the low 32 bits of `BEATS` beats at `ADDRESS` and writes two beats that hold the sum at `TARGET`.

    Registers: ADDRESS, BEATS, TARGET; START (a write starts; bits 1..0 are a `Breakage`); SUM; STATUS (bit 0 done,
    bit 1 read error, bits 3..2 BRESP); FAULT (address of the first read error). The trace port shows whether it is done
    (bit 0) and whether a beat comes (bit 1).
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "m_axi": Out(axi.signature(config)),
            "s_axil": In(axi.lite_signature()),
            "interrupt": Out(1),
            "activity": Out(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = StreamReader(self.config)
        bus, lite = self.m_axi, self.s_axil
        for name, member in axi.read_signature(self.config).members.items():
            ours, theirs = getattr(bus, name), getattr(reader.bus, name)
            m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)

        address, beats, target, total = Signal(32), Signal(24), Signal(32), Signal(32)
        left = Signal(24)
        breakage = Signal(Breakage)
        done, bresp = Signal(), Signal(2)
        start = Signal()

        # Registers: one access at a time.
        write = Signal()
        m.d.comb += [
            write.eq(lite.awvalid & lite.wvalid & ~lite.bvalid),
            lite.awready.eq(write),
            lite.wready.eq(write),
            lite.arready.eq(~lite.rvalid),
        ]
        with m.If(lite.bready):
            m.d.sync += lite.bvalid.eq(0)
        with m.If(lite.rready):
            m.d.sync += lite.rvalid.eq(0)
        with m.If(write):
            m.d.sync += [lite.bvalid.eq(1), lite.bresp.eq(0)]
            with m.Switch(lite.awaddr):
                with m.Case(ADDRESS):
                    m.d.sync += address.eq(lite.wdata)
                with m.Case(BEATS):
                    m.d.sync += beats.eq(lite.wdata[:24])
                with m.Case(TARGET):
                    m.d.sync += target.eq(lite.wdata)
                with m.Case(START):
                    m.d.comb += start.eq(1)
                    m.d.sync += breakage.eq(lite.wdata[:2])
                with m.Default():
                    m.d.sync += lite.bresp.eq(axi.Resp.SLVERR)
        with m.If(lite.arvalid & lite.arready):
            m.d.sync += [lite.rvalid.eq(1), lite.rdata.eq(0)]
            with m.Switch(lite.araddr):
                with m.Case(SUM):
                    m.d.sync += lite.rdata.eq(total)
                with m.Case(STATUS):
                    m.d.sync += lite.rdata.eq(Cat(done, reader.error, bresp))
                with m.Case(FAULT):
                    m.d.sync += lite.rdata.eq(reader.error_address[:32])

        # Read and add.
        m.d.comb += [
            reader.i.payload.address.eq(address),
            reader.i.payload.beats.eq(beats),
            reader.i.valid.eq(start),
            reader.clear_error.eq(start),
            reader.o.ready.eq(1),
            self.interrupt.eq(done),
            self.activity.eq(Cat(done, reader.o.valid)),
        ]
        check(m, ~start | (beats != 0), "small chip: a start has beats")
        with m.If(start):
            m.d.sync += [left.eq(beats), total.eq(0), done.eq(0)]
        with m.If(reader.o.valid):
            m.d.sync += [left.eq(left - 1), total.eq(total + reader.o.payload[:32])]

        # Write the sum: two beats.
        data = Signal(self.config.bus_bits)
        m.d.comb += [
            bus.awaddr.eq(target), bus.awlen.eq(1), bus.awsize.eq((self.config.bus_bytes - 1).bit_length()),
            bus.awburst.eq(axi.Burst.INCR), bus.awid.eq(2), bus.wdata.eq(data), bus.bready.eq(1),
            bus.wstrb.eq((1 << self.config.bus_bytes) - 2),  # byte 0 stays as it is
        ]
        with m.FSM():
            with m.State("READ"), m.If((left == 1) & reader.o.valid):
                m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += bus.awvalid.eq(1)
                m.d.sync += data.eq(total)
                with m.If(bus.awready):
                    m.next = "FIRST"
            with m.State("FIRST"):
                m.d.comb += [bus.wvalid.eq(1), bus.wlast.eq(breakage == Breakage.LAST)]
                with m.If(breakage == Breakage.PAYLOAD):
                    m.d.sync += data.eq(data + 1)
                with m.If(bus.wready):
                    m.next = "SECOND"
            with m.State("SECOND"):
                m.d.comb += [bus.wvalid.eq(1), bus.wlast.eq(breakage != Breakage.LAST)]
                with m.If(bus.wready):
                    m.next = "RESPONSE"
            with m.State("RESPONSE"), m.If(bus.bvalid):
                m.d.sync += [done.eq(1), bresp.eq(bus.bresp)]
                m.next = "READ"
        return m
