"""The simulated memory without a chip: what it gives a plain stream, and the commands that its DRAM is given."""

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np

from .abi import Command, Timing, abi_timing
from .build import MEMORY, SimError, build_plain

__all__ = ["COMMANDS", "Request", "Run", "measured_latency", "measured_limit", "run"]

COMMANDS = ("ACT", "PRE", "PREA", "RD", "WR", "REF")
STREAM = 500_000  # cycles, or so, of the plain stream whose time counts: over a hundred refreshes
_u32, _u64 = ctypes.c_uint32, ctypes.c_uint64


class _Request(ctypes.Structure):
    _fields_ = [("cycle", _u64), ("address", _u64), ("beats", _u64), ("write", _u32), ("id", _u32)]


@dataclass(frozen=True)
class Request:
    """`beats` beats from `address` on, asked for in `cycle` or later; those of a direction are made in order."""

    address: int
    beats: int
    cycle: int = 0
    write: bool = False
    id: int = 0


@dataclass(frozen=True)
class Run:
    """What came of requests.

    Members
    -------
    cycles : until all was done.
    ends : int array, of each request the cycle of its last beat, or of its response.
    commands : structured array of clock, command (place in `COMMANDS`), channel, bank, row.
    """

    cycles: int
    ends: np.ndarray
    commands: np.ndarray


@cache
def _library():
    library = ctypes.CDLL(str(build_plain("plain_stream.cpp", MEMORY)))
    library.stream_run.restype = ctypes.c_int64
    library.stream_run.argtypes = [ctypes.POINTER(Timing), _u32, _u64, ctypes.POINTER(_Request), _u64, _u64,
                                   ctypes.POINTER(_u64), ctypes.POINTER(Command), _u64, ctypes.POINTER(_u64)]
    return library


def run(timing, bus_bytes, requests, *, record=0, limit=1 << 32, **clocks):
    """Make requests of a memory.

    Parameters
    ----------
    timing : `MemoryTiming`
    record : DRAM commands to keep at most.
    limit : cycles after which what has not come is lost.
    clocks : fields of `ScovilleDram` in place of the data sheet's.

    Returns
    -------
    `Run`

    Raises
    ------
    SimError : something did not come, or there is no compiler.
    """
    size = max(request.address + request.beats * bus_bytes for request in requests)
    made = (_Request * len(requests))(*((request.cycle, request.address, request.beats, request.write, request.id)
                                        for request in requests))
    ends, commands, count = (_u64 * len(requests))(), (Command * max(record, 1))(), _u64()
    cycles = _library().stream_run(ctypes.byref(abi_timing(timing, **clocks)), bus_bytes, size, made, len(requests),
                                   limit, ends, commands, record, ctypes.byref(count))
    if cycles < 0:
        raise SimError(f"a memory did not do what was asked of it within {limit:,} cycles")
    return Run(cycles, np.array(ends, np.int64), np.frombuffer(commands, Command)[:min(record, count.value)])


@cache
def measured_limit(timing, bus_bytes, burst=None):
    """Beats a cycle that a reader gets at most: what a sequential stream through the C++ memory itself gets.

    In bursts of `burst` beats; if None, of the longest.
    """
    before = 65536 // bus_bytes
    beats = round(STREAM * timing.peak(bus_bytes))
    parts = [beats] if burst is None else [burst] * (beats // burst)
    requests = [Request(0, before)]
    for part in parts:
        requests.append(Request(requests[-1].address + requests[-1].beats * bus_bytes, part))
    ends = run(timing, bus_bytes, requests).ends
    return sum(parts) / int(ends[-1] - ends[0])


@cache
def measured_latency(timing, bus_bytes):
    """Cycles from the acceptance of a lone read to its first beat, no row open."""
    if not timing.dram:
        return timing.read_latency
    return int(run(timing, bus_bytes, [Request(0, 1, 100)]).ends[0]) - 101
