"""What the KV-cache controller does, operation by operation: its RTL and the golden schedule answer to this."""

from collections import Counter, deque

from scoville.config import PAGE_TOKENS

__all__ = ["KvModel", "operation_cycles", "pages_of"]


def pages_of(tokens):
    """Pages that hold `tokens` tokens of a group."""
    return -(-tokens // PAGE_TOKENS)


def operation_cycles(config, name, *, done, moved):
    """Cycles from a command to its answer, where nobody uses the slot's pages.

    Parameters
    ----------
    config : ChipConfig
    name : of the operation
    done : whether it was
    moved : entries that changed hands, or became full (`KvModel.moved`)
    """
    if not done or name in ("open", "missing") or moved == 0 and name != "release":
        return 4
    more = {"commit": 5, "fork": 6, "reserve": 6, "leave": 8, "release": config.cache_groups + 7}[name]
    return more + (moved if name != "commit" else 0)


class _Slot:
    """One slot: an entry a page that it was given, by group; None where a window has given the page back."""

    def __init__(self, groups):
        self.open, self.tenant, self.full = False, 0, 0
        self.tables = [[] for _ in range(groups)]
        self.gone = [0] * groups  # entries that a window has given back: those before it

    @property
    def length(self):
        """Entries, the same in every group."""
        return len(self.tables[0])


class KvModel:
    """Pages, tables and reference counts of the KV cache.

    An operation answers False, and changes nothing, where it cannot be done. A page is *full* once `commit` said that
    all of its tokens have been written; only full pages are shared, and none of them is written.

    Order of allocation: pages that nobody ever had, in ascending order; then those that were given back, first come
    first served. `reserve` takes index by index, in each group by group; `release` gives back group by group, in each
    from index 0 up.

    Parameters
    ----------
    config : ChipConfig; `slots`, `cache_groups`, `pool_pages` and `slot_pages` count
    pages : pages in memory, the register KV_PAGES

    Members
    -------
    moved : entries that changed hands, or became full, by the last operation that was done

    Raises
    ------
    ValueError
        If the chip cannot keep account of so many pages.
    IndexError
        From every operation, if there is no such slot or group.
    """

    def __init__(self, config, pages):
        if not 0 <= pages <= config.pool_pages:
            raise ValueError(f"{pages} pages; it must be 0 to {config.pool_pages}")
        self.config, self.pages = config, pages
        self.slots = [_Slot(config.cache_groups) for _ in range(config.slots)]
        self.owners = [0] * pages  # reference counts
        self.moved = 0
        self._fresh, self._returned = 0, deque()

    @property
    def free(self):
        """Pages that nobody has."""
        return self.pages - self._fresh + len(self._returned)

    def open(self, slot, tenant):
        """The slot, which was closed, belongs to `tenant`, and is empty. False if it is open already."""
        it = self._slot(slot)
        if it.open:
            return False
        self.slots[slot] = it = _Slot(self.config.cache_groups)
        it.open, it.tenant = True, tenant
        return True

    def fork(self, slot, parent, count):
        """The slot, open and empty, shares the parent's first `count` pages of every group.

        False unless the parent is open and of the same tenant, these pages are full, and no window gave one back.
        """
        it, other = self._slot(slot), self._slot(parent)
        whole = count <= other.full and (count == 0 or not any(other.gone))
        if not (it.open and other.open and it.tenant == other.tenant and it.length == 0 and whole):
            return False
        for index in range(count):
            for table, parents in zip(it.tables, other.tables, strict=True):
                table.append(parents[index])
                self.owners[parents[index]] += 1
        it.full, self.moved = count, count * self.config.cache_groups
        return True

    def missing(self, slot, tokens):
        """How many pages `reserve` would take."""
        return max(pages_of(tokens) - self._slot(slot).length, 0) * self.config.cache_groups

    def reserve(self, slot, tokens):
        """The slot has pages for positions 0 to `tokens` - 1 in every group, new ones where it had none.

        False if it is closed, if its table is too short, or if there are not enough pages: then it gets none.
        """
        it = self._slot(slot)
        if not it.open or pages_of(tokens) > self.config.slot_pages or self.missing(slot, tokens) > self.free:
            return False
        self.moved = self.missing(slot, tokens)
        for _ in range(it.length, pages_of(tokens)):
            for table in it.tables:
                table.append(self._take())
        return True

    def commit(self, slot, tokens):
        """Positions 0 to `tokens` - 1 are written: pages wholly below are full, as are those that were before.

        False if the slot is closed, or has no pages for so many.
        """
        it = self._slot(slot)
        if not it.open or pages_of(tokens) > it.length:
            return False
        self.moved = max(tokens // PAGE_TOKENS - it.full, 0)
        it.full += self.moved
        return True

    def leave(self, slot, group, first):
        """A window has passed: the full pages wholly below token `first` go back. False if the slot is closed."""
        it = self._slot(slot)
        table = it.tables[self._group(group)]
        if not it.open:
            return False
        end = min(first // PAGE_TOKENS, it.full)
        self.moved = max(end - it.gone[group], 0)
        for index in range(it.gone[group], end):
            self._give(table[index])
            table[index] = None
        it.gone[group] += self.moved
        return True

    def release(self, slot):
        """All pages of the slot go back, and it is closed. False if it is closed already."""
        it = self._slot(slot)
        if not it.open:
            return False
        pages = [page for table in it.tables for page in table if page is not None]
        self.moved = len(pages)
        for page in pages:
            self._give(page)
        self.slots[slot] = _Slot(self.config.cache_groups)
        return True

    def read(self, slot, group, index):
        """The page that attention reads at this place; None, a fault, where the slot has none."""
        table = self._slot(slot).tables[self._group(group)]
        return table[index] if 0 <= index < len(table) else None

    def write(self, slot, group, index):
        """The page that an append goes to; None, a fault, where the slot has none or the page is full."""
        return self.read(slot, group, index) if index >= self._slot(slot).full else None

    def check(self):
        """Assert what holds between any two operations."""
        named, of_tenant = Counter(), {}
        for it in self.slots:
            assert all(len(table) == it.length <= self.config.slot_pages for table in it.tables)
            assert it.full <= it.length and all(gone <= it.full for gone in it.gone)
            assert it.open or it.length == 0
            for table, gone in zip(it.tables, it.gone, strict=True):
                assert [page is None for page in table] == [index < gone for index in range(it.length)]
                for index, page in enumerate(table):
                    if page is not None:
                        named[page] += 1
                        assert index < it.full or self.owners[page] == 1, "a page that is not full has one owner"
                        assert of_tenant.setdefault(page, it.tenant) == it.tenant, "a page is shared between tenants"
        assert self.owners == [named[page] for page in range(self.pages)], "a count is not that of the entries"
        assert len(set(self._returned)) == len(self._returned), "a page is free twice"
        assert all(self.owners[page] == 0 for page in self._returned), "a free page has an owner"
        used = sum(owners > 0 for owners in self.owners)
        assert self.free + used == self.pages, "a page is lost"

    def _slot(self, slot):
        if not 0 <= slot < self.config.slots:
            raise IndexError(f"slot {slot}; there are {self.config.slots}")
        return self.slots[slot]

    def _group(self, group):
        if not 0 <= group < self.config.cache_groups:
            raise IndexError(f"cache group {group}; there are {self.config.cache_groups}")
        return group

    def _take(self):
        if self._fresh < self.pages:
            page, self._fresh = self._fresh, self._fresh + 1
        else:
            page = self._returned.popleft()
        self.owners[page] = 1
        return page

    def _give(self, page):
        self.owners[page] -= 1
        if self.owners[page] == 0:
            self._returned.append(page)
