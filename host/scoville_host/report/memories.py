"""The work behind ``scoville memories``: what each simulated memory gives a plain stream."""

from ..runtime.rtl import as_host_error

__all__ = ["measured"]


def measured(bus_bytes):
    """Each memory on a bus of so many bytes, as a list of dicts for JSON.

    Raises
    ------
    ChipError, RequestError
        If the memories' model cannot be built.
    """
    from scoville_sim import MEMORIES, SimError

    try:
        return [_row(name, timing, bus_bytes) for name, timing in MEMORIES.items()]
    except SimError as error:
        raise as_host_error(error) from None


def _row(name, timing, bus_bytes):
    from scoville_sim import measured_latency, measured_limit

    limit = measured_limit(timing, bus_bytes)
    return {
        "name": name,
        "limit_beats_per_cycle": limit,
        "limit_bytes_per_cycle": limit * bus_bytes,
        "share_of_peak": limit / timing.peak(bus_bytes),
        "bytes_per_second": limit * bus_bytes * timing.chip_mhz * 1e6,
        "read_latency": measured_latency(timing, bus_bytes),
        "write_latency": timing.write_latency,
        "chip_mhz": timing.chip_mhz,
        "dram": timing.dram.name if timing.dram else None,
        "dram_clocks": timing.dram.clocks(timing.chip_mhz) if timing.dram else None,
    }
