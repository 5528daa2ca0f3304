"""Memory timings: how the simulated memory answers, from an ideal one to one that stalls everywhere at random."""

from dataclasses import dataclass

__all__ = ["MEMORIES", "MemoryTiming", "get_memory"]


@dataclass(frozen=True, kw_only=True)
class MemoryTiming:
    """Timing of the AXI4 memory; times are cycles of the chip's clock.

    Parameters
    ----------
    read_latency : from the acceptance of a read address to its first beat.
    write_latency : from the last write beat to its response.
    beats, period : at most `beats` beats, reads and writes together, every `period` cycles.
    refresh_interval, refresh_cycles : every interval no beat moves for so many cycles; 0 for never.
    outstanding : bursts a direction that are accepted before the oldest is done.
    stall_ar, stall_r, stall_aw, stall_w, stall_b : probability that the channel waits in a cycle.
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

    @property
    def limit(self):
        """Beats a cycle that a reader gets at most, however many bursts it has in flight."""
        refresh = self.refresh_cycles / self.refresh_interval if self.refresh_interval else 0
        return min(1, self.beats / self.period) * (1 - refresh) * (1 - self.stall_r)


MEMORIES = {
    # Never in the way: one read and one write beat a cycle.
    "ideal": MemoryTiming(),
    # A DDR4 controller as fast as the bus, at 300 MHz: refresh of 350 ns every 7.8 us.
    "ddr4": MemoryTiming(read_latency=60, beats=1, refresh_interval=2340, refresh_cycles=105),
    # LPDDR4 at three quarters of the bus, with the long latency of a shared system controller.
    "lpddr4": MemoryTiming(read_latency=120, beats=3, period=4, refresh_interval=1170, refresh_cycles=54),
    # A 16-bit SDRAM at the chip's clock behind an 8-byte bus.
    "sdram": MemoryTiming(read_latency=12, write_latency=6, beats=1, period=4, refresh_interval=780, refresh_cycles=8,
                          outstanding=2),
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
