"""SDR SDRAM behind an AXI4 port."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.board.sdram_bursts import SdramBursts
from scoville.board.sdram_commands import SdramCommands
from scoville.board.sdram_timing import sdram_pins
from scoville.memory import axi

__all__ = ["SdramController"]


class SdramController(wiring.Component):
    """Memory from address 0 in an SDR SDRAM; addresses are row, bank, column from the top, so a stream walks the banks.

    Throughput: a word a clock but for refresh (`tb/board/test_sdram.py` asserts the share). Latency of a lone read with
    its row open, 8-byte bus and 16-bit part at CAS latency 3: 18 clocks. A read sees all writes that have had their
    response. A burst past the end is answered with DECERR, one that is not INCR or not of whole bus words with SLVERR.

    Parameters
    ----------
    config : ChipConfig
    timing : SdramTiming
    io_latency : clocks that registers in the board's I/O cells add, out and in together

    Members
    -------
    axi : In(axi.signature(config))
    pins : Out(sdram_pins(timing)); a command is taken at the clock edge after the one that drove it
    """

    def __init__(self, config, timing, io_latency=0):
        self.config, self.timing, self.size_bytes = config, timing, timing.size_bytes
        self.commands = SdramCommands(config, timing, io_latency)  # here, so that a clock too slow is refused here
        super().__init__({"axi": In(axi.signature(config)), "pins": Out(sdram_pins(timing))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = SdramBursts(self.config, self.timing)
        m.submodules.commands = commands = self.commands
        connect(m, flipped(self.axi), bursts.axi)
        connect(m, bursts.runs, commands.runs)
        connect(m, commands.pins, flipped(self.pins))
        for name in ("write_data", "write_strobe"):
            m.d.comb += getattr(commands, name).eq(getattr(bursts, name))
        for name in ("write_take", "written", "written_beat", "read_done", "read_data", "read_beat"):
            m.d.comb += getattr(bursts, name).eq(getattr(commands, name))
        return m
