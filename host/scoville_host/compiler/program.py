"""What the compiler writes into: a list of instructions, and a map of memory."""

import numpy as np
from scoville.isa import INSTRUCTION_BYTES, encode

from ..errors import RequestError
from .layout import align

__all__ = ["MemoryMap", "Program"]

STEP = 256  # regions start at multiples of the widest bus
FETCH = 256  # bytes: the fetcher reads ahead of END by up to one chunk, which is never larger than this


class Program:
    """Instructions and a remark for each."""

    def __init__(self):
        self.code = []
        self.remarks = []

    def emit(self, remark, opcode, **fields):
        """Append an instruction.

        Raises
        ------
        RequestError
            If a number of the model does not fit its field.
        """
        try:
            self.code.append(encode(opcode, **fields))
        except ValueError as error:
            raise RequestError(f"{remark}: {error}") from None
        self.remarks.append(remark)

    def data(self):
        """The program's bytes; zeros (END) fill what the fetcher reads ahead."""
        return b"".join(self.code).ljust(align(len(self.code) * INSTRUCTION_BYTES, FETCH) + FETCH, b"\0")


class MemoryMap:
    """Regions of memory, one after the other from `base`.

    Members
    -------
    regions : dict of name to (address, bytes).
    end : the first address behind the last region.
    """

    def __init__(self, config, base=0):
        if base % 4096:
            raise RequestError(f"the image's base address is {base:#x}; it must be a multiple of 4096")
        self.config, self.base, self.end = config, base, base
        self.regions = {}
        self.pieces = {}

    def reserve(self, name, size, step=STEP):
        """Room for `size` bytes; returns the address."""
        address = align(self.end, step)
        self.regions[name] = (address, size)
        self.end = address + size
        return address

    def fill(self, name, array):
        """The contents of a region, padded with zeros."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if len(data) > self.regions[name][1]:
            raise AssertionError(f"{len(data)} bytes in region {name} of {self.regions[name][1]}")
        self.pieces[name] = data

    def place(self, name, array):
        """A region with contents, whole beats long; returns the address."""
        address = self.reserve(name, align(np.asarray(array).nbytes, self.config.bus_bytes))
        self.fill(name, array)
        return address

    def place_once(self, name, array):
        """Like `place`, but a region that exists already is shared; returns (address, bytes)."""
        if name not in self.regions:
            self.place(name, array)
        return self.regions[name]

    def contents(self):
        """All bytes from `base` to `end`, uint8."""
        memory = np.zeros(self.end - self.base, np.uint8)
        for name, data in self.pieces.items():
            start = self.regions[name][0] - self.base
            memory[start:start + len(data)] = data
        return memory
