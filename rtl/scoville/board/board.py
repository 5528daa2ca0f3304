"""What goes into a board's FPGA, save clocks and pins: chip, host link and memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.board.arbiter import MemoryArbiter
from scoville.board.link import Link
from scoville.board.uart import UartReceiver, UartTransmitter
from scoville.chip import Chip

__all__ = ["BAUD", "Board"]

BAUD = 1_000_000


class Board(wiring.Component):
    """The chip, its memory, and a serial line to the host.

        rx ─► receiver ─► link ─► registers of the chip
        tx ◄─ transmitter ◄─┘ └─► arbiter ─► memory ─► pins
                           chip ────┘

    Parameters
    ----------
    config : ChipConfig
    memory : component with an `axi` port, In(axi.signature(config)), and `size_bytes`; if it has `pins`, they become
        the board's
    clock_hz : of the sync domain
    baud : of the serial line; the bit is a whole number of clocks
    name : what the link calls itself
    timeout : clocks of silence that end a frame; a quarter of a second by default
    chip : component with the chip's ports; `scoville.chip.Chip` by default

    Members
    -------
    rx : In(1), tx : Out(1), the serial line
    leds : Out(3), lit for a moment: bit 0 the chip reads memory, bit 1 a frame was refused, bit 2 a request came
    pins : the memory's, if it has any
    """

    def __init__(self, config, memory, *, clock_hz, baud=BAUD, name="", timeout=None, chip=None):
        self.config, self.memory, self.clock_hz = config, memory, clock_hz
        self.divisor = round(clock_hz / baud)
        if abs(clock_hz / self.divisor - baud) > 0.02 * baud:
            raise ValueError(f"{baud} baud is {clock_hz / baud:.2f} clocks of {clock_hz} Hz; the whole number next to "
                             "it is off by more than 2 %")
        self.chip = chip or Chip(config)
        self.link = Link(config, memory_bytes=memory.size_bytes, clock_hz=clock_hz, board=name, timeout=timeout)
        members = {"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(3)}
        if "pins" in memory.signature.members:
            members["pins"] = memory.signature.members["pins"]
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        m.submodules.link = link = self.link
        m.submodules.chip = chip = self.chip
        m.submodules.arbiter = arbiter = MemoryArbiter(self.config)
        m.submodules.memory = memory = self.memory
        connect(m, receiver.o, link.i)
        connect(m, link.o, transmitter.i)
        connect(m, link.registers, chip.s_axil)
        connect(m, chip.m_axi, arbiter.chip)
        connect(m, link.memory, arbiter.link)
        connect(m, arbiter.memory, memory.axi)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), link.line_error.eq(receiver.error)]
        if "pins" in self.signature.members:
            connect(m, memory.pins, flipped(self.pins))

        beat = max(1, self.clock_hz // 20)
        for led, event in zip(self.leds, (chip.m_axi.arvalid, link.fault, link.active), strict=True):
            seen, left = Signal(), Signal(range(beat + 1))
            m.d.sync += [seen.eq(event), left.eq(Mux(seen, beat, left - left.any())), led.eq(left.any())]
        return m
