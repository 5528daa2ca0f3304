"""A Verilated chip with its memory, as a Python object."""

import ctypes

import numpy as np
from scoville.registers import address_of

from .abi import Timing, abi_timing
from .build import SimError, build_chip
from .memory import MemoryTiming

__all__ = ["SimError", "VerilatedChip"]

SLVERR, DECERR = 2, 3
SLICE = 100_000  # cycles between two looks at what Python has to do, such as an interrupt from the keyboard
CHANNELS = [f"{bus}.{channel}" for bus in ("m_axi", "s_axil") for channel in ("ar", "r", "aw", "w", "b")]

_u8, _u32, _u64 = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64
_chip = ctypes.c_void_p


class _Counters(ctypes.Structure):
    _fields_ = [(name, _u64) for name in ("cycles", "read_bursts", "read_beats", "write_bursts", "write_beats",
                                          "read_idle_cycles")]


class _Event(ctypes.Structure):
    _fields_ = [("cycle", _u64), ("word", _u64)]


_FUNCTIONS = {
    "create": (_chip, [ctypes.POINTER(_u8), _u64, ctypes.POINTER(Timing), _u64]),
    "destroy": (None, [_chip]),
    "reset": (None, [_chip, _u32]),
    "step": (None, [_chip, _u64]),
    "run": (_u64, [_chip, _u64]),
    "interrupt": (ctypes.c_int, [_chip]),
    "write": (ctypes.c_int, [_chip, _u32, _u32]),
    "read": (ctypes.c_int, [_chip, _u32, ctypes.POINTER(_u32)]),
    "handshakes": (_u32, [_chip]),
    "activity": (_u32, [_chip]),
    "inject": (None, [_chip, _u64, _u64, _u32]),
    "clear_injections": (None, [_chip]),
    "set_timing": (None, [_chip, ctypes.POINTER(Timing)]),
    "counters": (ctypes.POINTER(_Counters), [_chip]),
    "error_count": (_u32, [_chip]),
    "error": (ctypes.c_char_p, [_chip, _u32]),
    "record": (None, [_chip, _u64]),
    "recorded": (_u64, [_chip]),
    "events": (ctypes.POINTER(_Event), [_chip]),
    "trace": (ctypes.c_int, [_chip, ctypes.c_char_p]),
}


class VerilatedChip:
    """A chip, its memory from address 0, and its clock; out of reset when made.

    Parameters
    ----------
    config : ChipConfig
    memory_bytes : size of the memory; reads and writes past it are answered by DECERR.
    timing : MemoryTiming
    seed : of the memory's random stalls.
    component : function ``config -> component`` for a chip other than `scoville.chip.Chip`.
    waves : path of a VCD file to write; None for none.
    watched : paths of signals in the chip, as those of `build.watching`; `record` keeps them in place of the trace
        port.

    Members
    -------
    memory : uint8 array, the chip's memory itself.

    Raises
    ------
    SimError : a build failed, a register access failed, or an assertion of the chip failed, or it broke the AXI4
        protocol; both with the cycle.
    """

    def __init__(self, config, memory_bytes, *, timing=None, seed=0, component=None, waves=None, watched=()):
        self.config = config
        self._chip = None
        self._capacity = 0  # changes of the trace port that are kept
        library = ctypes.CDLL(str(build_chip(config, component, waves=waves is not None, watched=watched)))
        self._library = {}
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, f"chip_{name}")
            function.restype, function.argtypes = result, arguments
            self._library[name] = function
        self.memory = np.zeros(memory_bytes, np.uint8)
        self._timing = abi_timing(timing or MemoryTiming())
        self._chip = self._library["create"](self.memory.ctypes.data_as(ctypes.POINTER(_u8)), memory_bytes,
                                             ctypes.byref(self._timing), seed)
        if waves is not None:
            self._call("trace", str(waves).encode())

    def _call(self, name, *arguments):
        return self._library[name](self._chip, *arguments)

    def close(self):
        """Free the simulator and close the waves; the memory stays."""
        if self._chip is not None:
            self._call("destroy")
            self._chip = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __del__(self):
        self.close()

    def load(self, offset, data):
        """Copy bytes, or an array's bytes, into the memory."""
        raw = isinstance(data, bytes | bytearray | memoryview)
        values = np.frombuffer(data, np.uint8) if raw else np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        if offset < 0 or offset + values.size > self.memory.size:
            raise SimError(f"{values.size} bytes at {offset:#x} do not fit a memory of {self.memory.size:#x} bytes")
        self.memory[offset:offset + values.size] = values

    def write(self, register, value):
        """Write a register, by name or address."""
        address = address_of(register) if isinstance(register, str) else register
        response = self._call("write", address, value & 0xFFFFFFFF)
        self._check()
        if response:
            raise SimError(f"write of register {register}: " + ("no response" if response < 0 else "error response"))

    def read(self, register):
        """Read a register, by name or address."""
        address = address_of(register) if isinstance(register, str) else register
        value = _u32()
        response = self._call("read", address, ctypes.byref(value))
        self._check()
        if response:
            raise SimError(f"read of register {register}: " + ("no response" if response < 0 else "error response"))
        return value.value

    def _check(self):
        if errors := self.errors:
            raise SimError("the chip broke a rule: " + "; ".join(errors[:3]))

    def step(self, cycles=1):
        """Let `cycles` cycles pass."""
        for left in range(cycles, 0, -SLICE):
            self._call("step", min(SLICE, left))
            self._check()

    def run(self, max_cycles):
        """Run until the interrupt is high, at most `max_cycles` cycles; returns the cycles that passed."""
        passed = 0
        while passed < max_cycles:
            part = min(SLICE, max_cycles - passed)
            done = self._call("run", part)
            passed += done
            self._check()
            if done < part:
                break
        return passed

    def reset(self, cycles=5):
        """Reset the chip; the memory stays."""
        self._call("reset", cycles)

    def inject_error(self, base, size, *, decode=False):
        """Answer accesses to these addresses with SLVERR, or with DECERR."""
        self._call("inject", base, size, DECERR if decode else SLVERR)

    def clear_injected_errors(self):
        self._call("clear_injections")

    def set_timing(self, timing):
        """Another memory timing from this cycle on."""
        self._call("set_timing", ctypes.byref(abi_timing(timing)))

    def record(self, capacity):
        """Record what is watched, or what `Chip.activity` shows, from now on, and keep the last `capacity` changes; 0
        stops it.
        """
        self._capacity = capacity
        self._call("record", capacity)

    @property
    def recorded(self):
        """What `record` kept: (cycles uint64 [n], words uint64 [n]), oldest first, and whether anything was lost."""
        count = self._call("recorded")
        if not self._capacity or not count:
            return np.zeros(0, np.uint64), np.zeros(0, np.uint64), False
        kept = np.ctypeslib.as_array(self._call("events"), (self._capacity,)).view(np.uint64).reshape(-1, 2)
        kept = np.roll(kept, -int(count % self._capacity), 0) if count > self._capacity else kept[:count]
        return kept[:, 0].copy(), kept[:, 1].copy(), count > self._capacity

    @property
    def handshakes(self):
        """The channels of the buses as they are now: {name: (VALID, READY)}."""
        bits = self._call("handshakes")
        return {name: (bits >> 2 * n & 1, bits >> 2 * n + 1 & 1) for n, name in enumerate(CHANNELS)}

    @property
    def activity(self):
        """The word that `Chip.activity` shows now."""
        return self._call("activity")

    @property
    def interrupt(self):
        return bool(self._call("interrupt"))

    @property
    def cycles(self):
        """Cycles since the chip was made."""
        return self._call("counters").contents.cycles

    @property
    def counters(self):
        """What the memory saw: cycles, read_bursts, read_beats, write_bursts, write_beats, read_idle_cycles."""
        counters = self._call("counters").contents
        return {name: getattr(counters, name) for name, _ in _Counters._fields_}

    @property
    def errors(self):
        """Protocol errors, in words."""
        return [self._call("error", index).decode() for index in range(self._call("error_count"))]
