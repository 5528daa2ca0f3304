"""Room in memory that is taken and given back: the first gap that is wide enough."""

from bisect import bisect

__all__ = ["STEP", "Heap"]

STEP = 256  # of addresses and sizes: the widest bus


class Heap:
    """Addresses from `base` on, `size` bytes, both multiples of `STEP`.

    No two gaps touch; so with nothing taken there is one, and whatever fits the heap at all fits again.

    Members
    -------
    free : bytes in gaps
    """

    def __init__(self, base, size):
        assert base % STEP == size % STEP == 0
        self._gaps = [(base, size)] if size else []  # (address, bytes), by address
        self._taken = {}

    @property
    def free(self):
        return sum(size for _, size in self._gaps)

    def take(self, size):
        """The address of `size` bytes; None where no gap has them."""
        size = max(-(-size // STEP), 1) * STEP
        for index, (address, gap) in enumerate(self._gaps):
            if gap >= size:
                self._gaps[index:index + 1] = [(address + size, gap - size)] if gap > size else []
                self._taken[address] = size
                return address
        return None

    def give(self, address):
        """What `take` gave is free again; KeyError if it is already."""
        size = self._taken.pop(address)
        index = bisect(self._gaps, (address,))
        first, behind = index, index
        if index and sum(self._gaps[index - 1]) == address:
            first, (address, size) = index - 1, (self._gaps[index - 1][0], self._gaps[index - 1][1] + size)
        if index < len(self._gaps) and self._gaps[index][0] == address + size:
            behind, size = index + 1, size + self._gaps[index][1]
        self._gaps[first:behind] = [(address, size)]
