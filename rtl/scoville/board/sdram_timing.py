"""SDR SDRAM parts: their shape, their timing in nanoseconds, and that timing in clocks."""

from dataclasses import dataclass
from enum import IntEnum
from math import ceil, floor

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ALL_BANKS", "PARTS", "Command", "SdramTiming", "part", "sdram_pins"]

BANK_BITS = 2
INIT_REFRESHES = 8
ALL_BANKS = 1 << 10  # A10 of PRE


class Command(IntEnum):
    """RAS#, CAS#, WE# as bits 2, 1, 0."""

    ACT = 0b011
    READ = 0b101
    WRITE = 0b100
    PRE = 0b010
    REF = 0b001
    MRS = 0b000


@dataclass(frozen=True, kw_only=True)
class SdramTiming:
    """A part at a clock. Times are the data sheet's, in nanoseconds; `cycles` turns one into clocks.

    Parameters
    ----------
    width : data pins, 16 or 32.
    row_bits, column_bits : address bits of a row and of a word in it; there are four banks.
    cas_latency : clocks from READ to its first word, 2 or 3.
    t_rp, t_rcd, t_ras, t_rc, t_rrd : PRE to ACT, ACT to READ or WRITE, ACT to PRE, ACT to ACT of a bank and of two.
    t_ras_max : longest time that a row may stay open.
    t_rfc : REF to ACT or REF.
    t_wr : last word written to PRE.
    t_mrd : MRS to any command, and wr_clocks, mrd_clocks the least clocks of the two.
    t_refi : refresh interval; `SdramController` never lets two refreshes be further apart.
    t_init : clock running and no command, after power is up.
    clock_hz : of the part and of the controller.
    """

    name: str
    width: int = 16
    row_bits: int = 13
    column_bits: int = 9
    cas_latency: int = 3
    t_rp: float = 21
    t_rcd: float = 21
    t_ras: float = 42
    t_ras_max: float = 100_000
    t_rc: float = 63
    t_rrd: float = 14
    t_rfc: float = 63
    t_wr: float = 14
    wr_clocks: int = 2
    t_mrd: float = 14
    mrd_clocks: int = 2
    t_refi: float = 64e6 / 8192
    t_init: float = 200_000
    clock_hz: int = 90_000_000

    def __post_init__(self):
        if self.width not in (16, 32):
            raise ValueError(f"width is {self.width}; it must be 16 or 32")
        if self.cas_latency not in (2, 3):
            raise ValueError(f"cas_latency is {self.cas_latency}; it must be 2 or 3")

    def cycles(self, nanoseconds, least=1):
        """Clocks that are no shorter than a time."""
        return max(least, ceil(round(nanoseconds * self.clock_hz / 1e9, 6)))

    @property
    def refresh_clocks(self):
        """Clocks that two refreshes may be apart at most."""
        return floor(self.t_refi * self.clock_hz / 1e9)

    @property
    def open_clocks(self):
        """Clocks that a row may stay open at most."""
        return floor(self.t_ras_max * self.clock_hz / 1e9)

    @property
    def word_bytes(self):
        return self.width // 8

    @property
    def size_bytes(self):
        return self.word_bytes << (self.row_bits + BANK_BITS + self.column_bits)


def sdram_pins(timing):
    """Pins of a part, as the controller sees them; `dq` is split, one `dq_oe` for all of it."""
    return wiring.Signature({
        "clk_en": Out(1), "cs_n": Out(1, init=1), "ras_n": Out(1, init=1), "cas_n": Out(1, init=1),
        "we_n": Out(1, init=1), "ba": Out(BANK_BITS), "a": Out(timing.row_bits),
        "dqm": Out(timing.word_bytes, init=(1 << timing.word_bytes) - 1),
        "dq_o": Out(timing.width), "dq_oe": Out(1), "dq_i": In(timing.width),
    })


# The first is ULX3S's. Boards carry one of several; of their 143 MHz grades Alliance's is the slowest (AS4C16M16SA-C&I
# rev. 3.0, March 2015, table 16, grade -7), and a bitstream for it serves them all.
# In-package SDRAM of GW2AR-18: 64 Mbit, 2048 rows of 256 words of 32 bits in four banks, refresh 4096 in 64 ms. Gowin
# publishes no timing of it; these are the slowest of the generation (Alliance AS4C4M16SA rev. 5.0, table 17, grade -7).
PARTS = {
    "as4c16m16sa_7": {"t_ras_max": 120_000},
    "gw2ar18": {"width": 32, "row_bits": 11, "column_bits": 8, "t_refi": 64e6 / 4096},
}


def part(name, clock_hz, **changes):
    """The named part at a clock; ValueError, with the names there are, if there is none."""
    if name not in PARTS:
        raise ValueError(f"unknown SDRAM {name!r}; there are: {', '.join(PARTS)}")
    return SdramTiming(**{"name": name, "clock_hz": clock_hz} | PARTS[name] | changes)
