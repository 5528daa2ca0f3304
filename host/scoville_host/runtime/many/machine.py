"""A chip with several slots, as the host has it: registers, memory, and waiting."""

from typing import Protocol

from .pool import PoolLog

__all__ = ["Machine"]


class Machine(Protocol):
    """What `Requests` needs of a simulated or real chip.

    Members
    -------
    name : of the backend
    unit : of `time`: "passes" or "cycles"
    rate : how many of them are a second of a trace
    time : since the start
    seats : tokens that its passes computed; None where nothing says so, and so are:
    pool : PoolLog
    beats : that the stream reader received
    counters : cycles, work, beats and stalls since the start, see `Driver.counters`
    """

    name: str
    unit: str
    rate: float
    seats: int | None
    pool: PoolLog | None

    @property
    def beats(self) -> int | None: ...

    @property
    def counters(self) -> dict | None: ...

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

    def reset(self) -> None:
        """A soft reset: what runs is stopped, and a fault cleared; the image is in memory as at first. ChipError if the
        chip cannot carry it out."""

    def wait(self, until: float | None = None) -> bool:
        """Return when there may be completions to take, the chip has stopped, or it is so late. False: without a
        doorbell there will be none."""
