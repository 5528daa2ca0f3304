"""The chip's counters over all of its lives: each start sets them to zero."""

__all__ = ["Cycles"]

NAMES = ("cycles", "beats", "work")


class Cycles:
    """Counters that never go back.

    Members
    -------
    seen : dict of cycles, beats, work, and `stalls`, a dict by reason; empty until something was noted. A new one each
        time, so that other threads may keep it
    """

    def __init__(self):
        self.seen, self._before = {}, {}

    def note(self, counters):
        """Those of `Machine.counters`, as of now; None where a chip has none."""
        if counters is not None:
            stalls = self._before.get("stalls", {})
            self.seen = {name: counters[name] + self._before.get(name, 0) for name in NAMES} | {
                "stalls": {name: count + stalls.get(name, 0) for name, count in counters["stalls"].items()}}

    def restart(self):
        """The chip counts from zero again; what it did since the last look is lost."""
        self._before = self.seen
