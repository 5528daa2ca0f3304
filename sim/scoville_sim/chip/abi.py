"""The structs of chip.h that Python fills in."""

import ctypes
from dataclasses import fields

from .memory import MemoryTiming

__all__ = ["Command", "DramClocks", "Timing", "abi_timing"]

_u32, _u64 = ctypes.c_uint32, ctypes.c_uint64


class DramClocks(ctypes.Structure):
    """ScovilleDram."""

    _fields_ = [(name, _u32) for name in (
        "channels", "dram_khz", "chip_khz", "interleave", "access_bytes", "row_bytes", "groups", "banks", "row_bus",
        "window", "write_queue", "write_high", "write_age",
        "burst", "cl", "cwl", "rcd", "rp", "ras", "rc", "rrd_s", "rrd_l", "ccd_s", "ccd_l", "faw", "wr", "wtr_s",
        "wtr_l", "rtp", "rtw", "rfc", "refi")]


class Timing(ctypes.Structure):
    """ScovilleTiming."""

    _fields_ = [*((field.name, _u32) for field in fields(MemoryTiming) if field.name not in ("dram", "chip_mhz")),
                ("dram", DramClocks)]


class Command(ctypes.Structure):
    """ScovilleCommand."""

    _fields_ = [("clock", _u64), ("command", _u32), ("channel", _u32), ("bank", _u32), ("row", _u32)]


def abi_timing(timing, **clocks):
    """A `MemoryTiming` as C++ takes it; `clocks` are fields of its DRAM in place of the data sheet's."""
    found = Timing()
    for name, _ in Timing._fields_[:-1]:
        value = getattr(timing, name)
        setattr(found, name, int(value * (1 << 32)) if name.startswith("stall_") else value)
    if timing.dram:
        found.dram = DramClocks(**(timing.dram.clocks(timing.chip_mhz) | clocks))
    return found
