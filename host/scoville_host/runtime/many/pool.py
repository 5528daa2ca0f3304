"""Who has the pages of the pool, over time."""

__all__ = ["KINDS", "PoolLog"]

KINDS = ("running", "shared", "parked", "free")


class PoolLog:
    """What each page of a golden chip's pool was, each time that this changed.

    A page is free, or *shared* if it has several owners, or else its owner's: running, or parked.

    Members
    -------
    changes : lists as long as each other: `passes`, how many were computed, and how many pages of each of `KINDS` there
        were from then on, up to the next entry
    most : pages that were not free after a pass, at most
    """

    def __init__(self):
        self.changes = {name: [] for name in ("passes", *KINDS)}
        self.most = 0

    def note(self, passes, kv, parked):
        """After a pass.

        Parameters
        ----------
        kv : KvModel
        parked : its slots that are parked
        """
        owners = kv.owners
        kept = {page for slot in parked for table in kv.slots[slot].tables for page in table if page is not None}
        counts = {"shared": sum(count > 1 for count in owners), "parked": sum(owners[page] == 1 for page in kept),
                  "free": kv.free}
        counts["running"] = kv.pages - sum(counts.values())
        self.most = max(self.most, kv.pages - kv.free)
        if any(self.changes[name][-1:] != [counts[name]] for name in KINDS):
            for name, value in (counts | {"passes": passes}).items():
                self.changes[name].append(value)
