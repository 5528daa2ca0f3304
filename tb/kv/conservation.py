"""Every page is free, owned or shared exactly as often as its count says: a model that follows each event, for the
controller alone and for the whole chip.
"""

from collections import Counter

from amaranth.hdl import Shape
from harness import unpack
from scoville.kv.layouts import page_count, page_shape, place_layout
from scoville.kv.pool import change_layout

__all__ = ["Conservation", "Packed", "events"]

SETTLE = 3  # cycles without an event after which nothing changes any more


def events(config):
    """What is looked at in every cycle: name to (path in the controller, bits), or where there is none, no entry."""
    found = {
        "takes": ("pool.take", 1), "taken_page": ("pool.taken__payload", page_shape(config)),
        "changes": ("operations.change__valid", 1), "change": ("operations.change__payload", change_layout(config)),
        "enters": ("operations.edit__enter", 1), "entered": ("operations.edit__enter_place", place_layout(config)),
        "entered_page": ("operations.edit__enter_page", page_shape(config)), "free": ("pool.free", page_count(config)),
    }
    if config.slots > 1:
        found |= {
            "slot": ("operations.edit__slot", place_layout(config)["slot"].shape),
            "counts": ("pool.write__en", 1), "counted_page": ("pool.write__addr", page_shape(config)),
            "count": ("pool.write__data", place_layout(config)["slot"].shape),
        }
    return {name: (path, Shape.cast(shape).width) for name, (path, shape) in found.items()}


class Packed:
    """The events of a cycle in one word, the first of `widths` in the lowest bits."""

    def __init__(self, widths):
        self._places, self.word, offset = {}, 0, 0
        for name, width in widths.items():
            self._places[name] = offset, (1 << width) - 1
            offset += width
        assert offset <= 64

    def __getitem__(self, name):
        offset, mask = self._places[name]
        return self.word >> offset & mask


class Conservation:
    """Entries of the tables, owners of the pages and their counts, by the events of each cycle.

    Parameters
    ----------
    config : ChipConfig
    pages : in memory

    Members
    -------
    owners : of each page, a Counter; entries : place to page
    shared : how often a page got an owner more
    """

    def __init__(self, config, pages):
        self.config, self.pages, self.shared = config, pages, 0
        self.start()

    def start(self):
        """Behind a reset."""
        self.owners, self.entries, self.counts, self._forked = Counter(), {}, {}, []
        self._late = [0] * (self.config.slots > 1)  # pages that came back, and count a cycle later
        self._free = None  # once KV_PAGES is looked at: pages that are free

    def cycle(self, seen):
        """One cycle. `seen` gives the events by name; what goes with one is asked for only where it happens."""
        free = seen["free"]
        if self._free is None:
            assert free in (0, self.pages), "other pages than there are"
            if free:
                self._free = free
        assert free == (self._free or 0), "pages that are free are not counted, or others are"
        self.entries.update(self._forked)  # the page of a forked entry is shared in the cycle after
        self._forked, changed = [], None
        if seen["changes"]:
            changed, gone = self._change(seen)
            self._late.append(gone)
        else:
            self._late.append(0)
        if seen["takes"]:
            assert self._free, "a page is given out that is not there"
            assert not self.owners[seen["taken_page"]], "a page is given out that somebody has"
            self.owners[seen["taken_page"]] = 1
        if seen["enters"]:
            self._enter(seen)
        owners = +self.owners
        assert owners == Counter(self.entries.values()), "owners of a page are not those that name it"
        if self.config.slots > 1:
            if seen["counts"]:
                self.counts[seen["counted_page"]] = seen["count"]
            assert all(self.counts.get(page) == count - 1 for page, count in owners.items() if page != changed), \
                "a count is not that of the owners besides the first"
        self._late.pop(0)
        if self._free is not None:
            self._free = self.pages - len(owners) - sum(self._late)

    def cycles(self, seen, count):
        """The same for `count` cycles in which the events are the same; few have any."""
        quiet = not any(seen[name] for name in ("takes", "changes", "enters", "counts"))
        for _ in range(min(count, SETTLE) if quiet else count):
            self.cycle(seen)

    def _enter(self, seen):
        place = unpack(place_layout(self.config), seen["entered"])
        place = place["slot"], place["group"], place["index"]
        assert place not in self.entries, "an entry is overwritten"
        assert self.config.slots == 1 or place[0] == seen["slot"], "an entry of another slot is written"
        (self.entries.update if seen["takes"] else self._forked.extend)([(place, seen["entered_page"])])

    def _change(self, seen):
        """A page gets an owner more, or less, with the entry: the page, and whether it is nobody's now."""
        change = unpack(change_layout(self.config), seen["change"])
        page = change["page"]
        assert self.owners[page], "a page changes that nobody has"
        if change["share"]:
            self.owners[page] += 1
            self.shared += 1
            return page, 0
        self.owners[page] -= 1
        slot = seen["slot"] if self.config.slots > 1 else 0
        places = [place for place, named in self.entries.items() if named == page and place[0] == slot]
        assert len(places) == 1, "a slot gives back a page that it does not have"
        del self.entries[places[0]]
        return page, int(not self.owners[page])

    def all_free(self):
        """Whether nobody has a page."""
        return not +self.owners and not self.entries
