"""The pool of pages: their order, their owners, how many are free, and a page and a change a cycle."""

from collections import Counter

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from kv.operations import configuration
from scoville.kv.pool import Pool, change_layout

SETTLED = 5  # cycles after which a change has been carried out


class System:
    """A pool whose pages are taken by a sink; `order` is that in which they have to come."""

    def __init__(self, dut, seed, stalls, pages):
        self.dut, self.pages = dut, pages
        self.config = configuration(**harness.parameters())
        self.tb = harness.Bench(dut, seed)
        self.taken, self.change = self.tb.sink("taken", 1.0), self.tb.source("change", stalls)
        self.owners, self.order, self.seen = Counter(), list(range(pages)), 0

    async def start(self):
        self.dut.pages.value = self.pages
        await self.tb.reset()
        self.owners, self.order, self.seen = Counter(), list(range(self.pages)), 0

    def send(self, page, share):
        assert self.owners[page]
        self.owners[page] += 1 if share else -1
        if not self.owners[page]:
            self.order.append(page)
        self.change.send([harness.pack(change_layout(self.config), {"page": page, "share": share})])

    def changes(self, count, share):
        """Up to so many legal changes: of pages that have been seen to come, of none twice in a row."""
        rng, last = self.tb.rng, None
        for _ in range(count):
            can = [page for page, owners in self.owners.items() if owners and page != last]
            if not can:
                return
            last = rng.choice(can)
            self.send(last, int(self.owners[last] < self.config.slots and rng.random() < share))

    async def settled(self):
        """Until all is done: what came is what had to, and `free` is right."""
        await self.change.drain()
        await self.tb.wait(SETTLED)
        for page in self.taken.received[self.seen:]:
            assert page == self.order[self.seen] and not self.owners[page], (page, self.order, self.seen)
            self.owners[page] = 1
            self.seen += 1
        used = sum(count > 0 for count in self.owners.values())
        assert harness.peek(self.dut.free) == self.pages - used == len(self.order) - self.seen

    async def take_all(self):
        self.taken.stalls = 0.0
        await self.tb.wait(2 * self.pages + SETTLED)
        self.taken.stalls = 1.0
        await self.tb.wait(1)
        await self.settled()
        assert harness.peek(self.dut.free) == 0 and not harness.peek(self.dut.taken__valid)


@cocotb.test()
@cocotb.parametrize(seed=[1, 2, 3, 4])
async def random_changes(dut, seed):
    """Pages are taken while others change, or not; now and then none is left, or all have come back."""
    most = configuration(**harness.parameters()).pool_pages
    stalls = [0.3, 0.0, 0.6, 0.0][seed - 1]
    system = System(dut, seed, stalls, [most, most - 1, 3, most][seed - 1])
    await system.start()
    shares = harness.parameters()["slots"] > 1
    for turn in range(30):
        system.taken.stalls = system.tb.rng.choice([1.0, 0.7, stalls, 0.0])
        everything = turn % 10 == 9
        system.changes(1000 if everything else system.tb.rng.randrange(30),
                       system.tb.rng.choice([0.2, 0.8]) if shares and not everything else 0)
        await system.change.drain()
        system.taken.stalls = 1.0
        await system.tb.wait(1)
        await system.settled()
    await system.take_all()
    for page in range(system.pages):
        if system.owners[page] < system.config.slots:
            system.send(page, 1)
    await system.settled()
    await system.start()  # after a reset every page is fresh, and has one owner when it is taken
    await system.take_all()
    for page in range(system.pages):
        system.send(page, 0)
    await system.settled()


@cocotb.test()
async def a_page_a_cycle(dut):
    """Fresh ones and returned ones; changes too, which count two cycles later; a page comes two after that."""
    system = System(dut, 9, 0.0, configuration(**harness.parameters()).pool_pages)
    await system.start()
    most = system.pages
    for turn in range(2):
        await system.take_all()
        cycles = system.taken.cycles[turn * most:]
        assert len(cycles) == most and cycles[-1] - cycles[0] == most - 1
        sends = (1, 0, 0) if system.config.slots > 1 else (0,)
        for share in sends:
            for page in range(most):
                system.send(page, share)
        await system.settled()
        cycles = system.change.cycles[-len(sends) * most:]
        assert cycles[-1] - cycles[0] == len(sends) * most - 1
    await system.take_all()
    counted = 1 if system.config.slots == 1 else 2
    system.send(1, 0)
    while not harness.moves(dut, "change"):
        await RisingEdge(dut.clk)
    for cycle in range(counted + 3):
        assert harness.peek(dut.free) == (cycle >= counted), cycle
        assert harness.peek(dut.taken__valid) == (cycle > counted + 1), cycle
        await RisingEdge(dut.clk)


@cocotb.test()
async def changes_beside_takes(dut):
    """Half of the pages are taken, at each cycle about a burst of changes of the other half: none is lost."""
    most = configuration(**harness.parameters()).pool_pages
    system = System(dut, 12, 0.0, most)
    await system.start()
    await system.take_all()
    for late in range(8):
        for page in sorted(system.owners, key=system.owners.get)[:most // 2]:
            while system.owners[page]:
                system.send(page, 0)
                await system.settled()
        for page in [page for page, owners in system.owners.items() if owners]:
            system.send(page, int(system.config.slots > 1 and system.owners[page] < system.config.slots))
        await system.tb.wait(late)
        await system.take_all()
    while any(system.owners.values()):
        system.changes(1000, 0)
        await system.settled()
        for page in [page for page, owners in system.owners.items() if owners]:
            system.send(page, 0)
            await system.settled()
    assert harness.peek(dut.free) == most


@cocotb.test()
async def pages_stand_still(dut):
    """Their number is looked at until the first is taken; more than the pool are as many as the pool."""
    most = configuration(**harness.parameters()).pool_pages
    tb = harness.Bench(dut, 11)
    await tb.reset()
    for pages, there in ((5, 5), (0, 0), (2 * most - 1, most), (most + 1, most), (3, 3)):
        dut.pages.value = pages
        await tb.wait(3)
        assert harness.peek(dut.free) == there and harness.peek(dut.taken__valid) == (there > 0)
    dut.hold.value = 1
    dut.pages.value = 5
    await tb.wait(3)
    assert harness.peek(dut.free) == 3
    dut.taken__ready.value = 1
    await tb.wait(1)
    dut.hold.value = 0
    for _ in range(5):
        await tb.wait(1)
        dut.pages.value = tb.rng.randrange(2 * most)
    dut.taken__ready.value = 0
    await tb.wait(2)
    assert harness.peek(dut.free) == 0


@cocotb.test()
async def freed_twice(dut):
    """A page that several have comes back with the last of them, and is then given to one only."""
    system = System(dut, 10, 0.0, 2)
    await system.start()
    await system.take_all()
    owners = system.config.slots
    for share in [1] * (owners - 1) + [0] * owners:
        assert system.order == [0, 1]
        system.send(0, share)
        await system.settled()
    system.send(1, 0)
    await system.take_all()
    assert system.taken.received == [0, 1, 0, 1]


@pytest.mark.parametrize("sizes", [{"slots": 2, "pool": 16}, {"slots": 1, "pool": 16}, {"slots": 16, "pool": 8}],
                         ids=str)
def test_pool(sim, sizes):
    harness.run(Pool(configuration(**sizes)), __name__, sim=sim, parameters=sizes)
