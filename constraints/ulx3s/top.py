"""ULX3S with an LFE5U-85F: the chip with weights and KV cache in the SDRAM on the board."""

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io
from amaranth.vendor import LatticeECP5Platform
from amaranth_boards.ulx3s import ULX3S_85F_Platform
from scoville.board.board import Board
from scoville.board.sdram import SdramController
from scoville.board.sdram_timing import part
from scoville.config import get_config
from scoville.vendor.ecp5 import Clocks
from scoville.vendor.ecp5_blocks import Ecp5Blocks

CONFIG = "ulx3s"
CLOCK_HZ = 75_000_000
PIN_HZ = 25_000_000
LOADER = "ulx3s"  # openFPGALoader's name of the board
SEED = 4  # of the placer's
ROUTER, ROUNDS = "router2", 4  # router1 alone was left with 168 arcs that came to no end
IO_LATENCY = 2  # the registers in the I/O cells: one on the way out, one on the way in


class Platform(Ecp5Blocks, ULX3S_85F_Platform):
    """The board, with the part's own blocks, and without asking for a programmer to build."""

    @property
    def required_tools(self):
        return LatticeECP5Platform.required_tools.fget(self)


class Top(Elaboratable):
    """A `Board` on ULX3S's clock, serial line, LEDs and SDRAM.

    The SDRAM's clock leaves by its own output register, three quarters of a cycle after commands and data do: at 75 MHz
    they have 10 ns to arrive and are held for 3.3 ns, and a word read (5.4 ns of access) meets the input register's
    next edge.
    """

    def __init__(self, board, clock_hz):
        self.board, self.clock_hz = board, clock_hz

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = board = self.board
        m.submodules.pin = pin = io.Buffer("i", platform.request("clk25", dir="-"))
        m.domains += Clocks.domains()
        m.submodules.clocks = Clocks(pin.i, PIN_HZ, self.clock_hz)
        uart = platform.request("uart", dir=dict.fromkeys(("rx", "tx", "rts", "dtr"), "-"))
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [board.rx.eq(rx.i), tx.o.eq(board.tx)]
        for n in range(3):
            m.submodules[f"led{n}"] = led = io.Buffer("o", platform.request("led", n, dir="-"))
            m.d.comb += led.o.eq(board.leds[n])
        if "pins" in board.signature.members:
            self.memory(m, board.pins, platform)
        return m

    def memory(self, m, pins, platform):
        names = ("clk", "clk_en", "cs", "we", "ras", "cas", "ba", "a", "dq", "dqm")
        sdram = platform.request("sdram", dir=dict.fromkeys(names, "-"))
        values = {"clk_en": pins.clk_en, "ba": pins.ba, "a": pins.a, "dqm": pins.dqm}
        values |= {name: ~getattr(pins, f"{name}_n") for name in ("cs", "we", "ras", "cas")}
        for name, value in values.items():
            m.submodules[name] = buffer = io.FFBuffer("o", getattr(sdram, name))
            m.d.comb += buffer.o.eq(value)
        m.submodules.dq = dq = io.FFBuffer("io", sdram.dq)
        m.d.comb += [dq.o.eq(pins.dq_o), dq.oe.eq(pins.dq_oe), pins.dq_i.eq(dq.i)]
        m.submodules.clk = clk = io.DDRBuffer("o", sdram.clk, o_domain="late")
        m.d.comb += [clk.o[0].eq(1), clk.o[1].eq(0)]


def platform():
    return Platform()


def memory(config, clock_hz=CLOCK_HZ, io_latency=IO_LATENCY):
    return SdramController(config, part("as4c16m16sa_7", clock_hz), io_latency=io_latency)


def top(clock_hz=CLOCK_HZ):
    config = get_config(CONFIG)
    return Top(Board(config, memory(config, clock_hz), clock_hz=clock_hz, name="ulx3s"), clock_hz)
