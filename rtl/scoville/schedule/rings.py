"""The rings, as the chip sees them: records in memory, two counts a ring that run freely modulo 2^32."""

from .records import COMPLETION, COMPLETION_BYTES, REQUEST, REQUEST_BYTES, decode, encode

__all__ = ["CompletionRing", "SubmissionRing"]

_COUNTS = 1 << 32


class _Ring:
    """``memory.view(address, size)`` gives bytes, uint8 without a copy.

    Members
    -------
    head, tail : records taken and put
    """

    def __init__(self, memory, base, entries):
        if not 2 <= entries <= 1 << 16 or entries & (entries - 1):
            raise ValueError(f"{entries} entries; it must be a power of two, 2 to 65536")
        self.memory, self.base, self.entries = memory, base, entries
        self.head = self.tail = 0

    def __len__(self):
        return (self.tail - self.head) % _COUNTS

    def _entry(self, count, size):
        return self.memory.view(self.base + count % self.entries * size, size)


class SubmissionRing(_Ring):
    """The host puts requests, the chip takes them."""

    def ring(self, tail):
        """The doorbell SUBMIT_TAIL. False, and nothing changes, if there is no room for so many, or it goes back."""
        if not 0 <= tail < _COUNTS or not len(self) <= (tail - self.head) % _COUNTS <= self.entries:
            return False
        self.tail = tail
        return True

    def take(self):
        """The fields of the next entry, or None."""
        if not len(self):
            return None
        fields = decode(REQUEST, self._entry(self.head, REQUEST_BYTES).tobytes())
        self.head = (self.head + 1) % _COUNTS
        return fields


class CompletionRing(_Ring):
    """The chip puts completions, the host takes them."""

    def ring(self, head):
        """The doorbell COMPLETE_HEAD. False, and nothing changes, if there are not so many to take."""
        if not 0 <= head < _COUNTS or (head - self.head) % _COUNTS > len(self):
            return False
        self.head = head
        return True

    def put(self, fields):
        """Write a completion. False, and it is not written, while the ring is full."""
        if len(self) == self.entries:
            return False
        self._entry(self.tail, COMPLETION_BYTES)[:] = list(encode(COMPLETION, **fields))
        self.tail = (self.tail + 1) % _COUNTS
        return True
