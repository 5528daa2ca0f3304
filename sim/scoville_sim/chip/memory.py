"""Memory timings: how the simulated memory answers, from an ideal one to one that stalls everywhere at random."""

from dataclasses import dataclass

from .dram import DRAMS, Dram

__all__ = ["MEMORIES", "MemoryTiming", "get_memory"]


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """Timing of the AXI4 memory; times are cycles of the chip's clock.

    Parameters
    ----------
    read_latency : from the acceptance of a read address to its first beat; with a DRAM, what that takes besides it.
    write_latency : from the last write beat to its response. Whoever reads before that is offered has the old bytes.
    beats, period : at most `beats` beats, reads and writes together, every `period` cycles.
    refresh_interval, refresh_cycles : every interval no beat moves for so many cycles; 0 for never.
    outstanding : bursts a direction that are accepted before the oldest is done.
    stall_ar, stall_r, stall_aw, stall_w, stall_b : probability that the channel waits in a cycle.
    dram : `Dram` behind the port, or None: then beats come at the rate that `beats`, `period` and refresh allow.
    chip_mhz : clock of the chip, beside the DRAM's.
    """

    read_latency: int = 100
    write_latency: int = 20
    beats: int = 2
    period: int = 1
    refresh_interval: int = 0
    refresh_cycles: int = 0
    outstanding: int = 64
    stall_ar: float = 0.0
    stall_r: float = 0.0
    stall_aw: float = 0.0
    stall_w: float = 0.0
    stall_b: float = 0.0
    dram: Dram | None = None
    chip_mhz: float = 300.0

    def __post_init__(self):
        if min(self.beats, self.period, self.outstanding) < 1:
            raise ValueError("beats, period and outstanding must be at least 1")
        if self.refresh_interval and self.refresh_cycles >= self.refresh_interval:
            raise ValueError(f"refresh_cycles is {self.refresh_cycles}; less than refresh_interval, "
                             f"{self.refresh_interval}, is needed")
        for channel in ("ar", "r", "aw", "w", "b"):
            stall = getattr(self, f"stall_{channel}")
            if not 0 <= stall < 1:
                raise ValueError(f"stall_{channel} is {stall}; it must be at least 0 and below 1")

    def peak(self, bus_bytes):
        """Beats a cycle that data pins, or the port, could carry: no stalls, no refresh."""
        rate = self.dram.peak / (self.chip_mhz * 1e6 * bus_bytes) if self.dram else self.beats / self.period
        return min(1.0, rate)


MEMORIES = {
    # Never in the way: one read and one write beat a cycle.
    "ideal": MemoryTiming(),
    # Kria's DDR4 at 300 MHz: 64 bytes a cycle at most. A lone read takes 60 cycles, 200 ns.
    "ddr4": MemoryTiming(read_latency=51, dram=DRAMS["ddr4"]),
    # HBM2 beside a chip of 1 GHz: 64 bytes a cycle at most.
    "hbm": MemoryTiming(read_latency=90, dram=DRAMS["hbm"], chip_mhz=1000.0),
    # LPDDR4 at three quarters of the bus, with the long latency of a shared system controller.
    "lpddr4": MemoryTiming(read_latency=120, beats=3, period=4, refresh_interval=1170, refresh_cycles=54),
    # The boards' SDR SDRAM behind a controller like `scoville.board.sdram`, at the chip's clock: 2 and 4 bytes a cycle.
    "sdram": MemoryTiming(read_latency=11, write_latency=6, outstanding=2, dram=DRAMS["sdram"], chip_mhz=75.0),
    "sdram32": MemoryTiming(read_latency=11, write_latency=6, outstanding=2, dram=DRAMS["sdram32"], chip_mhz=66.0),
    # Block RAM as wide as the bus, behind a board's arbiter (scoville.board): one read and one write beat a cycle.
    "block_ram": MemoryTiming(read_latency=8, write_latency=4),
    # Stalls everywhere, for verification.
    "random": MemoryTiming(read_latency=30, write_latency=10, refresh_interval=500, refresh_cycles=40, stall_ar=0.3,
                           stall_r=0.3, stall_aw=0.3, stall_w=0.3, stall_b=0.3),
}


def get_memory(name):
    """The named timing; ValueError, with the names there are, if there is none."""
    try:
        return MEMORIES[name]
    except KeyError:
        raise ValueError(f"unknown memory {name!r}; there are: {', '.join(MEMORIES)}") from None
