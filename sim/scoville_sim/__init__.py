"""The chip without silicon: memory models and the Verilated chip."""

from .chip.build import SettingError, SimError, build_chip
from .chip.chip import VerilatedChip
from .chip.memory import MEMORIES, MemoryTiming, get_memory
from .chip.plain_stream import measured_latency, measured_limit

__all__ = ["MEMORIES", "MemoryTiming", "SettingError", "SimError", "VerilatedChip", "build_chip", "get_memory",
           "measured_latency", "measured_limit"]
