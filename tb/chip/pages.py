"""Conservation of pages on the whole chip: what its controller did in every cycle, as the simulator has recorded it."""

from kv.conservation import Conservation, Packed, events
from many_machine import NANO

__all__ = ["PATHS", "WIDTHS", "Pages"]

INSIDE = {name: (f"schedule.kv.{path}", width) for name, (path, width) in events(NANO).items()}
INSIDE["reset"] = "schedule.kv.pool.reset", 1
PATHS = tuple(path for path, _ in INSIDE.values())  # what a chip of these tests watches
WIDTHS = {name: width for name, (_, width) in INSIDE.items()}
CHANGES = 1 << 20  # that are kept from one look to the next


class Pages:
    """Beside a chip that watches `PATHS`, from now on.

    Parameters
    ----------
    chip : VerilatedChip
    pages : in memory

    Members
    -------
    model : Conservation
    resets, changes : so far; changes are cycles in which something is other than in the one before
    """

    def __init__(self, chip, pages):
        self.chip, self.model = chip, Conservation(NANO, pages)
        self.resets = self.changes = 0
        chip.record(CHANGES)

    def take(self):
        """What was recorded since the last time: cycles, the words from these on, and the cycle that comes now."""
        cycles, words, lost = self.chip.recorded
        assert not lost
        self.chip.record(CHANGES)
        return cycles.tolist(), words.tolist(), self.chip.cycles + 1

    def follow(self, cycles, words, end):
        """Every cycle of these, by the model."""
        seen = Packed(WIDTHS)
        for cycle, after, word in zip(cycles, [*cycles[1:], end], words, strict=True):
            seen.word = word
            if seen["reset"]:
                self.model.start()
                self.resets += 1
                continue
            try:
                self.model.cycles(seen, after - cycle)
            except AssertionError as error:
                raise AssertionError(f"cycle {cycle}: {error}") from error
        self.changes += len(words)

    def check(self):
        """Every cycle since the last time."""
        self.follow(*self.take())

    def tables(self):
        """Pages of each slot that has some."""
        found = {}
        for (slot, _, index), page in sorted(self.model.entries.items()):
            assert index == len(found.setdefault(slot, []))
            found[slot].append(page)
        return found
