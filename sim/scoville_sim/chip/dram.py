"""DRAM parts with their data sheets' timings, and the controller that the simulated memory puts in front of them."""

from dataclasses import dataclass
from math import ceil, floor

from scoville.board.sdram_timing import BANK_BITS
from scoville.board.sdram_timing import part as sdram_part

__all__ = ["DRAMS", "TIMES", "Dram", "Span", "sdram"]


@dataclass(frozen=True)
class Span:
    """A time as data sheets give it: `ns` nanoseconds, but no less than `clocks` clocks."""

    ns: float = 0.0
    clocks: int = 0

    def at(self, mhz):
        """Clocks that are no shorter. A hundredth of a clock is rounding of the data sheet's own."""
        return max(self.clocks, ceil(self.ns * mhz / 1000 - 0.01))


TIMES = ("rcd", "rp", "ras", "rc", "rrd_s", "rrd_l", "ccd_s", "ccd_l", "faw", "wr", "wtr_s", "wtr_l", "rtp", "rfc")


@dataclass(frozen=True, kw_only=True)
class Dram:
    """Channels of a DRAM and their controller.

    Parameters
    ----------
    mhz : clock of the DRAM.
    channels : independent ones (for HBM2, pseudo-channels), which take turns every `interleave` bytes.
    width_bits, burst_length : of a channel; transfers an access. burst : clocks an access.
    groups, banks, row_bytes : bank groups, banks of each, bytes of a row of the whole channel.
    row_bus : whether row commands have a bus of their own, beside the one of column commands.
    window : read accesses a channel looks ahead; write_queue : write accesses it keeps.
    write_high, write_age : writes go when so many wait, or when one has waited so many clocks.
    cl, cwl, rtw : clocks from READ and WRITE to their data, and between the data of a READ and of a WRITE.
    refi : refresh interval; for the rest, `TIMES`, see the data sheets' t_… of the same name.
    """

    name: str
    mhz: float
    channels: int = 1
    interleave: int = 4096
    width_bits: int
    burst_length: int
    burst: int
    groups: int
    banks: int
    row_bytes: int
    row_bus: bool = False
    window: int = 32
    write_queue: int = 32
    write_high: int = 24
    write_age: int = 12_000
    cl: int
    cwl: int
    rtw: int = 2
    rcd: Span
    rp: Span
    ras: Span
    rc: Span
    rrd_s: Span
    rrd_l: Span
    ccd_s: Span
    ccd_l: Span
    faw: Span
    wr: Span
    wtr_s: Span
    wtr_l: Span
    rtp: Span
    rfc: Span
    refi: Span

    def __post_init__(self):
        for name in ("channels", "interleave", "groups", "banks", "row_bytes", "access_bytes"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} is {value}; it must be a power of two")
        if not self.access_bytes <= min(self.interleave, self.row_bytes):
            raise ValueError(f"an access of {self.access_bytes} bytes needs an interleave and a row of no less")
        if self.groups * self.banks > 64:
            raise ValueError(f"{self.groups * self.banks} banks; at most 64")

    @property
    def access_bytes(self):
        return self.width_bits * self.burst_length // 8

    @property
    def peak(self):
        """Bytes a second of all data pins."""
        return self.channels * self.access_bytes / self.burst * self.mhz * 1e6

    def clocks(self, chip_mhz):
        """Fields of `ScovilleDram` (chip.h) for a chip's clock."""
        same = ("channels", "interleave", "access_bytes", "row_bytes", "groups", "banks", "window", "write_queue",
                "write_high", "write_age", "burst", "cl", "cwl", "rtw")
        return {"dram_khz": round(self.mhz * 1000), "chip_khz": round(chip_mhz * 1000), "row_bus": int(self.row_bus),
                **{name: getattr(self, name) for name in same},
                **{name: getattr(self, name).at(self.mhz) for name in TIMES},
                "refi": floor(self.refi.ns * self.mhz / 1000)}


def sdram(name, clock_hz):
    """A board's SDR SDRAM (`scoville.board.sdram_timing`) with accesses of 8 bytes, as its controller makes them."""
    part = sdram_part(name, clock_hz)
    burst = 8 // part.word_bytes

    def span(time, least=1):
        return Span(time, least)

    return Dram(
        name=name, mhz=clock_hz / 1e6, width_bits=part.width, burst_length=burst, burst=burst, groups=1,
        banks=1 << BANK_BITS, row_bytes=part.word_bytes << part.column_bits, window=8, write_queue=8, write_high=6,
        cl=part.cas_latency, cwl=0, rtw=1, rcd=span(part.t_rcd), rp=span(part.t_rp), ras=span(part.t_ras),
        rc=span(part.t_rc), rrd_s=span(part.t_rrd), rrd_l=span(part.t_rrd), ccd_s=span(0, burst), ccd_l=span(0, burst),
        faw=span(0), wr=span(part.t_wr, part.wr_clocks), wtr_s=span(0, 0), wtr_l=span(0, 0),
        # A PRECHARGE may come CAS latency - 1 clocks before the last word.
        rtp=span(0, max(1, burst - part.cas_latency + 1)), rfc=span(part.t_rfc), refi=span(part.t_refi))


DRAMS = {
    # Micron MT40A512M16-083E (8Gb x16 DDR4-2400, CL 16), four on a bus of 64 bits as on Kria K26: "8Gb: x4, x8, x16
    # DDR4 SDRAM", tables "DDR4-2400 Speed Bins and Operating Conditions" (-083E) and "Electrical Characteristics and AC
    # Timing Parameters", rows for a page of 2 KB and refresh at 1x below 85 degrees. A clock of preamble each way.
    "ddr4": Dram(
        name="4 x MT40A512M16-083E", mhz=1200, width_bits=64, burst_length=8, burst=4, groups=2, banks=4,
        row_bytes=8192, cl=16, cwl=12, rcd=Span(13.32), rp=Span(13.32), ras=Span(32), rc=Span(45.32),
        rrd_s=Span(5.3, 4), rrd_l=Span(6.4, 4), ccd_s=Span(0, 4), ccd_l=Span(5, 4), faw=Span(30, 28), wr=Span(15),
        wtr_s=Span(2.5, 2), wtr_l=Span(7.5, 4), rtp=Span(7.5, 4), rfc=Span(350), refi=Span(7800)),
    # Four pseudo-channels of an HBM2 stack at 2 Gb/s a pin. JESD235A: 64 bits, bursts of 4 each, 16 banks
    # in 4 groups, rows of 1 KB, a bus for row and one for column commands, tCCDS 2 clocks, tREFI 3.9 us, tRFC 260 ns
    # for channels of 4 Gb. The standard leaves the other times to the vendors; they are those that DRAMsim3 publishes
    # (configs/HBM2_8Gb_x128.ini). All banks refresh at once: the standard's refresh of single banks is not used.
    "hbm": Dram(
        name="HBM2, 4 pseudo-channels", mhz=1000, channels=4, interleave=256, width_bits=64, burst_length=4, burst=2,
        groups=4, banks=4, row_bytes=1024, row_bus=True, write_age=10_000, cl=14, cwl=4, rcd=Span(14), rp=Span(14),
        ras=Span(34), rc=Span(48), rrd_s=Span(4), rrd_l=Span(6), ccd_s=Span(0, 2), ccd_l=Span(0, 4), faw=Span(30),
        wr=Span(16), wtr_s=Span(6), wtr_l=Span(8), rtp=Span(6), rfc=Span(260), refi=Span(3900)),
    # ULX3S and Tang Nano 20K.
    "sdram": sdram("as4c16m16sa_7", 75_000_000),
    "sdram32": sdram("gw2ar18", 66_000_000),
}
