"""A chip with several slots, as the host has it: registers, memory, and waiting."""

from typing import Protocol

__all__ = ["Machine"]


class Machine(Protocol):
    """What `Requests` needs of a simulated or real chip.

    Members
    -------
    name : of the backend
    unit : of `time`: "passes" or "cycles"
    time, passes : since the start
    seats : tokens that its passes computed
    most_pages : of the pool that were not free after a pass, at most
    """

    name: str
    unit: str
    passes: int
    seats: int
    most_pages: int

    @property
    def time(self) -> int: ...

    def read(self, name: str) -> int:
        """A register; of a pair _LO, _HI, both."""

    def write(self, name: str, value: int) -> None:
        """A register; of a pair _LO, _HI, both."""

    def store(self, address: int, data: bytes) -> None:
        """Bytes to memory."""

    def fetch(self, address: int, size: int) -> bytes:
        """Bytes from memory."""

    def wait(self) -> bool:
        """Return when there may be completions to take, or the chip has stopped. False: without a doorbell there will
        be none."""
