"""In every cycle every page is free, owned or shared exactly as often as its count says: a model follows each event."""

from collections import Counter

import cocotb
import harness
import pytest
from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from kv.operations import USUAL
from kv.system import System, sizes_of
from scoville.kv.controller import KvController
from scoville.kv.layouts import place_layout
from scoville.kv.pool import change_layout

from formal.opened import Opened

EVENTS = {"takes": "pool.take", "taken_page": "taken__payload", "changes": "change__valid", "change": "change__payload",
          "enters": "edit__enter", "entered": "edit__enter_place", "entered_page": "edit__enter_page",
          "slot": "edit__slot"}  # ports of `Watched`, and which signals they show


class Watched(wiring.Component):
    """The controller, and what happens in it."""

    def __init__(self, config):
        self.controller = KvController(config)
        self.seen = Opened(self.controller)
        super().__init__(dict(self.controller.signature.members)
                         | {name: Out(len(Value.cast(self.seen[path])) or 1) for name, path in EVENTS.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = self.seen
        for name, member in self.controller.signature.members.items():
            outside, inside = getattr(self, name), getattr(self.controller, name)
            if member.is_signature:
                connect(m, flipped(outside), inside)
            elif member.flow is Out:
                m.d.comb += outside.eq(inside)
            else:
                m.d.comb += inside.eq(outside)
        m.d.comb += [getattr(self, name).eq(self.seen[path]) for name, path in EVENTS.items()]
        return m


class Seen:
    """The events of a cycle; what goes with one is read only where it happens, and unknown bits are an error then."""

    def __init__(self, dut):
        self.dut = dut

    def __getitem__(self, name):
        return harness.peek(getattr(self.dut, name))


class Conservation:
    """Entries of the tables and owners of the pages, by the events of each cycle."""

    def __init__(self, system):
        self.system, self.dut = system, system.dut
        self.shared = 0
        self.start()
        system.tb.each_cycle(self.cycle)

    def start(self):
        """Behind a reset."""
        self.owners, self.entries, self.forked = Counter(), {}, []
        self.free = None  # the number that is known in the next cycle
        self.late = [0] * (self.system.config.slots > 1)  # pages that came back, and count a cycle later

    def cycle(self):
        dut = self.dut
        if self.free is not None:
            assert harness.peek(dut.free) == self.free
        seen = Seen(dut)
        self.entries.update(self.forked)  # the page of a forked entry is shared in the cycle after
        self.forked = []
        self.late.append(self.change(seen) if seen["changes"] else 0)
        if seen["takes"]:
            assert not self.owners[seen["taken_page"]], "a page is given out that somebody has"
            self.owners[seen["taken_page"]] = 1
        if seen["enters"]:
            place = harness.unpack(place_layout(self.system.config), seen["entered"])
            place = place["slot"], place["group"], place["index"]
            assert place not in self.entries, "an entry is overwritten"
            assert place[0] == seen["slot"], "an entry of another slot is written"
            (self.entries.update if seen["takes"] else self.forked.extend)([(place, seen["entered_page"])])
        assert +self.owners == Counter(self.entries.values()), "a count is not that of the entries"
        self.late.pop(0)
        self.free = self.system.pages - len(+self.owners) - sum(self.late)

    def change(self, seen):
        """A page gets an owner more, or less, with the entry; whether it is nobody's now."""
        change = harness.unpack(change_layout(self.system.config), seen["change"])
        page = change["page"]
        assert self.owners[page], "a page changes that nobody has"
        if change["share"]:
            self.owners[page] += 1
            self.shared += 1
            return 0
        self.owners[page] -= 1
        [place] = [place for place, named in self.entries.items() if named == page and place[0] == seen["slot"]]
        del self.entries[place]
        return int(not self.owners[page])


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.4])
async def random_operations(dut, stalls):
    """To their end, or to a reset at a random cycle."""
    system = System(dut, int(10 * stalls), stalls)
    watch = Conservation(system)
    for _ in range(4):
        await system.start()
        watch.start()
        for _ in range(8):
            await system.random_burst(12)
        for _ in range(12):
            system.send("reserve", system.tb.rng.randrange(system.config.slots), system.tb.rng.randrange(256))
        await system.tb.wait(system.tb.rng.randrange(60))
        system.log.clear()
    await system.start()
    watch.start()
    for _ in range(8):
        await system.random_burst(12)
    await system.all_released()
    assert not +watch.owners and not watch.entries
    assert watch.shared or system.config.slots == 1


@pytest.mark.parametrize("sizes", [USUAL, {"slots": 1, "groups": 1, "pool": 8},
                                   {"slots": 16, "groups": 1, "pool": 32}], ids=str)
def test_conservation(sim, sizes):
    harness.run(Watched(sizes_of(sizes)), __name__, sim=sim, parameters=sizes)
