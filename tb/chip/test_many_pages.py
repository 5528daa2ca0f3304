"""Pages of the whole chip in every cycle: free, owned or shared exactly as often as counted, whatever goes wrong."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from machine import FAST
from many_machine import Host, image_of, planned, rtl, tokens_for
from pages import PATHS, WIDTHS, Pages
from scoville.registers import Status
from scoville.schedule.records import Event
from scoville_host.runtime.driver import ERROR
from traffic import Traffic

SETTLE = 2000  # cycles after which what is behind a completion is done
TROUBLE = ("reset", "read", "write")
FEW, MANY = (1, 4), (4, 8)  # chips, and requests in the life of each that ends by itself


class Watched:
    """A chip of a random pool and memory, and lives of it that end in trouble."""

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        plan = planned(image_of(), pages=int(rng.integers(4, 8)), running=int(rng.integers(2, 5)))
        stalls = {f"stall_{channel}": float(rng.choice([0, 0.3])) for channel in ("ar", "r", "aw", "w", "b")}
        self.timing = dataclasses.replace(FAST, read_latency=int(rng.integers(2, 60)), **stalls)
        self.host = Host(rtl(plan, self.timing, seed, watched=PATHS), plan)
        self.pages = Pages(self.host.machine.chip, plan.pages)

    def whole(self, count):
        """A life that ends by itself: what then is not free is of parked sequences, to the page, and comes back."""
        traffic, chip = Traffic(self.host, self.rng), self.host.machine.chip
        traffic.go(count)
        chip.step(SETTLE)
        self.pages.check()
        assert {slot: len(pages) for slot, pages in self.pages.tables().items()} == traffic.tables()
        traffic.leave()
        chip.step(SETTLE)
        self.pages.check()
        assert self.pages.model.all_free()
        return self.host.done

    def trouble(self, what):
        """A life in which an access of memory answers with an error, or a soft reset comes, at a random cycle. Returns
        the `Status`, or None.
        """
        host, rng = self.host, self.rng
        machine, image = host.machine, host.plan.image
        chip = machine.chip
        Traffic(host, rng, coming=1.0).go(20, completions=int(rng.integers(4, 40)))
        chip.step(int(rng.integers(1, 5000)))
        if what == "read":
            chip.inject_error(image.base, len(image.memory), decode=bool(rng.integers(2)))
        elif what == "write":
            for told in host.open:
                chip.inject_error(told.rows, told.limit * host.plan.row_bytes)
        found = None
        while what != "reset" and host.open and found is None:
            chip.step(1000)
            host.hear()
            status = machine.read("STATUS")
            found = Status(status >> 8 & 255) if status & ERROR else None
        self.pages.check()
        before = self.pages.resets
        chip.clear_injected_errors()
        machine.driver.reset()
        machine.driver.acknowledge()
        self.pages.check()
        assert self.pages.resets > before and self.pages.model.all_free()
        host.start()
        return found


@pytest.mark.parametrize("chips,requests", [
    pytest.param(*FEW, marks=pytest.mark.heavy), pytest.param(*MANY, marks=pytest.mark.slow)])  # a simulator of its own
def test_every_page(chips, requests, run_seed):
    """Runs to their end, and runs that go on behind errors and soft resets."""
    events, found, changes, shared = [], [], 0, 0
    for number in range(chips):
        watched = Watched(100 * run_seed + number)
        events += [done.event for done in watched.whole(requests)]
        for what in watched.rng.permutation(TROUBLE)[:1 if chips == 1 else len(TROUBLE)]:
            found.append(watched.trouble(what))
            events += [done.event for done in watched.whole(requests // 2)]
        changes += watched.pages.changes
        shared += watched.pages.model.shared
        watched.host.machine.close()
    counts = {event.name: events.count(event) for event in Event}
    print(f"{chips} chips, {changes} changes, {shared} pages shared, {counts}, {Counter(found)}")
    if chips > FEW[0]:
        assert shared > chips and counts["PREEMPTED"] and counts["EVICTED"] > chips
        assert all(found.count(it) > chips / 2 for it in (None, Status.READ_ERROR, Status.WRITE_ERROR))


def spoiled(words, name, change, where=lambda seen: True):
    """The recorded words, with `change` of this field in the first word that `where` is true of."""
    offset = sum(list(WIDTHS.values())[:list(WIDTHS).index(name)])
    mask = (1 << WIDTHS[name]) - 1
    for number, word in enumerate(words):
        if where({field: word >> sum(list(WIDTHS.values())[:n]) & (1 << width) - 1
                  for n, (field, width) in enumerate(WIDTHS.items())}):
            other = word & ~(mask << offset) | (change(word >> offset & mask) & mask) << offset
            return [*words[:number], other, *words[number + 1:]]
    raise AssertionError("there is no such word")


SHARE = 1 << WIDTHS["change"] - 1
SPOILS = {
    "a fork that does not count": ("changes", lambda _: 0, lambda seen: seen["changes"] and seen["change"] & SHARE),
    "a page that is not given back": ("changes", lambda _: 0,
                                      lambda seen: seen["changes"] and not seen["change"] & SHARE),
    "a count too many": ("count", lambda count: count + 1, lambda seen: seen["counts"] and seen["count"]),
    "a page twice": ("taken_page", lambda page: page ^ 1, lambda seen: seen["takes"]),
    "an entry of another page": ("entered_page", lambda page: page ^ 1, lambda seen: seen["enters"]),
    "an entry of another slot": ("slot", lambda slot: slot ^ 1, lambda seen: seen["enters"]),
    "a page lost": ("free", lambda free: free - 1, lambda seen: seen["free"] > 1),
    "a reset that clears nothing": ("reset", lambda _: 0, lambda seen: seen["reset"]),
}


@pytest.mark.heavy
def test_what_is_seen(run_seed):
    """The model does not take every stream of events for a good one."""
    plan = planned(image_of(), pages=5)
    host, rng = Host(rtl(plan, watched=PATHS), plan), np.random.default_rng(run_seed)
    chip, stem = host.machine.chip, tokens_for(rng, 34)
    pages = Pages(chip, plan.pages)
    for _ in range(2):
        host.request(0, stem, 9)
        host.request(1, stem, 2, parent=0, shared=34)
        host.ring()
        while host.told[1].reason is None:
            host.machine.wait()
            host.hear()
        host.machine.driver.reset()
        host.start()
    cycles, words, end = pages.take()
    for spoil in SPOILS.values():
        with pytest.raises(AssertionError, match="cycle"):
            Pages(chip, plan.pages).follow(cycles, spoiled(words, *spoil), end)
    pages.follow(cycles, words, end)
    assert pages.model.shared == 2 and pages.resets == 2
    host.machine.close()
