"""The chip without silicon: memory models and the Verilated chip."""

from .build import SimError, build_chip
from .chip import VerilatedChip
from .memory import MEMORIES, MemoryTiming, get_memory

__all__ = ["MEMORIES", "MemoryTiming", "SimError", "VerilatedChip", "build_chip", "get_memory"]
