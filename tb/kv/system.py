"""The KV-cache controller beside its model: every answer, every translation and every cycle is compared."""

import cocotb
import harness
from kv.operations import configuration, random_operation
from scoville.kv.layouts import Op, answer_layout, command_layout, page_layout, place_layout
from scoville.kv.model import KvModel, operation_cycles

__all__ = ["System", "sizes_of"]

FIELDS = {"open": ("slot", "tenant"), "fork": ("slot", "parent", "amount"), "leave": ("slot", "group", "amount"),
          "release": ("slot",)}  # of a command, in the order of the arguments; of the others: slot, amount


def sizes_of(parameters):
    """The configuration that a test's parameters say."""
    return configuration(**{name: value for name, value in parameters.items() if name != "pages"})


class System:
    """A controller, whoever gives it operations and whoever looks pages up.

    Parameters
    ----------
    dut, seed : of the test
    stalls : of commands and answers
    pages : in memory; as many as the pool by default
    """

    def __init__(self, dut, seed, stalls=0.0, pages=None):
        self.dut, self.stalls = dut, stalls
        self.config = sizes_of(harness.parameters())
        self.pages = self.config.pool_pages if pages is None else pages
        self.tb = harness.Bench(dut, seed)
        self.command, self.answer = self.tb.source("command", stalls), self.tb.sink("answer", stalls)
        self.asks = {port: self.tb.source(port, stalls) for port in ("read", "append")}
        self.finds = {port: self.tb.sink(f"{port}_page", stalls) for port in ("read", "append")}
        self.log = []  # operations: name, arguments, whether done, entries moved, pages that were or are missing
        self.model = None

    async def start(self):
        """Reset: from now on everybody is at rest."""
        self.model = KvModel(self.config, self.pages)
        self.dut.pages.value = self.pages
        self.dut.rest.value = 1
        await self.tb.reset()

    def send(self, name, *arguments):
        """Queue an operation, and carry it out in the model."""
        fields = dict(zip(FIELDS.get(name, ("slot", "amount")), arguments, strict=True))
        self.command.send([harness.pack(command_layout(self.config), {"op": Op[name.upper()].value, **fields})])
        is_open = self.model.slots[arguments[0]].open
        pages = self.model.missing(*arguments) if name in ("reserve", "missing") and is_open else None
        done = getattr(self.model, name)(*arguments)
        if name == "missing":
            done = is_open
        elif done:
            pages = None
        self.log.append((name, arguments, bool(done), self.model.moved, pages))
        self.model.check()
        return done

    async def answered(self, waits=()):
        """Every answer is the model's, and in time; those of `waits` had to wait for users of their pages."""
        count = len(self.log)
        for number, packed in enumerate(await self.answer.receive(count), len(self.answer.received) - count):
            name, arguments, done, moved, pages = self.log.pop(0)
            got = harness.unpack(answer_layout(self.config), packed)
            assert got["ok"] == done, (name, arguments, got)
            if pages is not None:
                assert got["pages"] == pages, (name, arguments, got, pages)
            cycles = self.answer.cycles[number] - self.command.cycles[number]
            least = operation_cycles(self.config, name, done=done, moved=moved)
            late = cycles > least and (self.stalls or name in waits)
            assert cycles == least or late, (name, arguments, cycles, least)
        if self.command.idle:
            assert harness.peek(self.dut.free) == self.model.free

    async def do(self, name, *arguments, waits=()):
        """One operation, to its answer; what the model says."""
        done = self.send(name, *arguments)
        await self.answered(waits)
        return done

    async def lookup(self, port, *places):
        """Pages of (slot, group, index) by the port `read` or `append`; faults are None. They are the model's."""
        self.dut.rest.value = 0
        wanted = [getattr(self.model, {"read": "read", "append": "write"}[port])(*place) for place in places]
        self.ask(port, *places)
        pages = [self.page(packed) for packed in await self.finds[port].receive(len(places))]
        for place, page, want in zip(places, pages, wanted, strict=True):
            assert page == want, (port, place, page, want)
        return pages

    def ask(self, port, *places):
        """Queue lookups of (slot, group, index)."""
        layout = place_layout(self.config)
        self.asks[port].send([harness.pack(layout, dict(zip(("slot", "group", "index"), place, strict=True)))
                              for place in places])

    def page(self, packed):
        """The page of an answer; None is a fault."""
        got = harness.unpack(page_layout(self.config), packed)
        return None if got["fault"] else got["page"]

    async def rest(self):
        """Nobody uses a page any more."""
        self.dut.rest.value = 1
        await self.tb.wait(2)

    def places(self, slots=None):
        """Every place of these slots' tables, or of all."""
        return [(slot, group, index) for slot in (range(self.config.slots) if slots is None else slots)
                for group in range(self.config.cache_groups) for index in range(self.config.slot_pages)]

    async def look_at(self, places):
        """Both ports at once."""
        both = [cocotb.start_soon(self.lookup(port, *self.tb.rng.sample(places, len(places)))) for port in self.asks]
        for each in both:
            await each

    async def random_burst(self, count):
        """Operations one behind the other, while pages of slots that they leave alone are looked up."""
        rng = self.tb.rng
        still = set(rng.sample(range(self.config.slots), self.config.slots // 3))
        for _ in range(count):
            name, arguments = random_operation(rng, self.model)
            if arguments[0] not in still:
                self.send(name, *arguments)
        lookups = None
        if still:
            places = self.places(still)
            lookups = cocotb.start_soon(self.look_at(rng.sample(places, min(len(places), 4 * count))))
        await self.answered()
        if lookups is not None:
            await lookups
            await self.rest()

    async def written(self, slot, tokens):
        """The slot has so many tokens, all written."""
        await self.do("reserve", slot, tokens)
        assert await self.do("commit", slot, tokens)

    async def all_released(self):
        """Everything comes back."""
        await self.rest()
        for slot in range(self.config.slots):
            await self.do("release", slot)
        assert harness.peek(self.dut.free) == self.pages == self.model.free


