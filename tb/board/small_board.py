"""A board whose chip is only registers and memory traffic, to test the link with."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from scoville.board.block_ram import BlockRam
from scoville.board.board import Board
from scoville.config import get_config
from scoville.memory import axi

MEMORY = 1 << 14
BROKEN = 0xF00  # registers from here on answer with an error
CLOCK, BAUD = 8_000_000, 1_000_000
TIMEOUT = 2000  # clocks


class Registers(dict):
    """What the small chip's registers do."""

    def read(self, address):
        return self.get(address, 0)

    def write(self, address, value):
        self[address] = value


class SmallChip(wiring.Component):
    """1024 registers that remember, and reads of memory without end: addresses and lengths of a counter's choice."""

    def __init__(self, config):
        self.config = config
        super().__init__({"m_axi": Out(axi.signature(config)), "s_axil": In(axi.lite_signature()), "interrupt": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bus, lite = self.m_axi, self.s_axil
        m.submodules.registers = registers = memory.Memory(shape=32, depth=1024, init=[])
        read, write = registers.read_port(), registers.write_port()
        writing, reading = Signal(), Signal()
        m.d.comb += [
            writing.eq(lite.awvalid & lite.wvalid & ~lite.bvalid), lite.awready.eq(writing), lite.wready.eq(writing),
            write.addr.eq(lite.awaddr >> 2), write.data.eq(lite.wdata), write.en.eq(writing & (lite.awaddr < BROKEN)),
            reading.eq(lite.arvalid & ~lite.rvalid), lite.arready.eq(reading),
            read.addr.eq(lite.araddr >> 2), read.en.eq(reading), lite.rdata.eq(read.data),
        ]
        m.d.sync += [lite.bvalid.eq(writing | lite.bvalid & ~lite.bready),
                     lite.rvalid.eq(reading | lite.rvalid & ~lite.rready)]
        with m.If(writing):
            m.d.sync += lite.bresp.eq(Mux(lite.awaddr >= BROKEN, axi.Resp.SLVERR, axi.Resp.OKAY))
        with m.If(reading):
            m.d.sync += lite.rresp.eq(Mux(lite.araddr >= BROKEN, axi.Resp.SLVERR, axi.Resp.OKAY))

        step = Signal(16)
        size = (self.config.bus_bytes - 1).bit_length()
        m.d.comb += [
            bus.arvalid.eq(step[2:4] == 3), bus.araddr.eq(step[4:10] << 7), bus.arlen.eq(step[10:13]), bus.rready.eq(1),
            bus.arsize.eq(size), bus.arburst.eq(axi.Burst.INCR), bus.bready.eq(1),
        ]
        with m.If(~bus.arvalid | bus.arready):
            m.d.sync += step.eq(step * 5 + 3)
        return m


def small_board(config_name="slim", **options):
    """The board, its memory and clock as the tests know them."""
    config = get_config(config_name)
    return Board(config, BlockRam(config, MEMORY), clock_hz=CLOCK, baud=BAUD, name="small", timeout=TIMEOUT,
                 chip=SmallChip(config), **options)
