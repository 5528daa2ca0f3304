"""The host's ends of the rings: requests are put, completions taken."""

from types import SimpleNamespace

from scoville.schedule.records import COMPLETION, COMPLETION_BYTES, REQUEST, REQUEST_BYTES, decode, encode

__all__ = ["Rings"]

_COUNTS = 1 << 32


class Rings:
    """Both rings of a machine that has not been started.

    Parameters
    ----------
    machine : Machine
    registers : dict of SUBMIT_BASE, SUBMIT_ENTRIES, COMPLETE_BASE, COMPLETE_ENTRIES
    """

    def __init__(self, machine, registers):
        self.machine = machine
        self._submit, self._places = registers["SUBMIT_BASE"], registers["SUBMIT_ENTRIES"]
        self._complete, self._entries = registers["COMPLETE_BASE"], registers["COMPLETE_ENTRIES"]
        self._put = self._free = self._taken = 0  # entries put, those that the chip had taken at the last look; taken
        machine.store(self._complete, bytes(self._entries * COMPLETION_BYTES))  # a new entry is known by its number

    @property
    def full(self):
        """Whether the submission ring has no place."""
        if (self._put - self._free) % _COUNTS == self._places:
            self._free = self.machine.read("SUBMIT_HEAD")
        return (self._put - self._free) % _COUNTS == self._places

    def put(self, **fields):
        """A request, by the fields of its record; the ring is not full."""
        assert not self.full
        self.machine.store(self._submit + self._put % self._places * REQUEST_BYTES, encode(REQUEST, **fields))
        self._put = (self._put + 1) % _COUNTS
        self.machine.write("SUBMIT_TAIL", self._put)

    def take(self):
        """The completions that have come, oldest first, as namespaces of the fields of their record."""
        found = []
        while len(found) < self._entries:
            place = self._complete + self._taken % self._entries * COMPLETION_BYTES
            done = SimpleNamespace(**decode(COMPLETION, self.machine.fetch(place, COMPLETION_BYTES)))
            if done.number != (self._taken + 1) % _COUNTS:
                break
            self._taken = (self._taken + 1) % _COUNTS
            found.append(done)
        if found:
            self.machine.write("COMPLETE_HEAD", self._taken)
        return found
