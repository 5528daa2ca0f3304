"""What the planner has in hand: a record a slot, the plan, and the steps that every part of the rule may take."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum
from amaranth.utils import exact_log2

from scoville.config import PAGE_TOKENS
from scoville.isa import POSITION_BITS
from scoville.schedule.calls import Call
from scoville.schedule.choice import PRIORITY_BITS, Choice
from scoville.schedule.order import Order
from scoville.schedule.records import NONE

__all__ = ["KNOWN_BITS", "PAGE_SHIFT", "Hand", "SlotState"]

KNOWN_BITS = POSITION_BITS + 1
PAGE_SHIFT = exact_log2(PAGE_TOKENS)


class SlotState(enum.Enum, shape=2):
    """Of a slot; as `slots.State`."""

    FREE = 0
    WAITING = 1
    RUNNING = 2
    PARKED = 3


def _slot_layout():
    """What the planner keeps of a slot; what only others need of a request is with them."""
    return data.StructLayout({
        "state": SlotState, "known": KNOWN_BITS, "computed": KNOWN_BITS, "most": POSITION_BITS, "lengthy": 1, "park": 1,
        "id": 32, "tenant": 32, "parent": 32, "shared": POSITION_BITS})


class Hand:
    """Registers of the planner, the orders and the choice that it asks, and calls.

    Parameters
    ----------
    m : Module, the planner's, which gets them
    p : Planner

    Attributes
    ----------
    slots, priority : of each slot
    turns, parked, age : `Order` of those that run, who has waited longest for a seat first; of the parked ones, least
        recently used first; of all, as they were taken
    slot, other, at : the slot in hand, another one, and a walk over slots or seats; `mine` and `its` are their records
    runs, waits, prompts : a bit a slot; prompts run and have more than a token left
    seated, counts, planned, spare : slots in the order of their seats, seats of each, slots that have some, seats left
    """

    def __init__(self, m: Module, p):
        config = p.config
        self._m, self._p = m, p
        self.number = number = exact_log2(config.slots)
        self.seat_bits = max(1, exact_log2(config.seats))
        self.slots = Signal(data.ArrayLayout(_slot_layout(), config.slots))
        self.priority = Signal(data.ArrayLayout(PRIORITY_BITS, config.slots))
        m.submodules.turns = self.turns = Order(config)
        m.submodules.parked = self.parked = Order(config)
        m.submodules.age = self.age = Order(config)
        m.submodules.choice = self.choice = choice = Choice(config)
        m.d.comb += [choice.slots.eq(self.age.slots), choice.count.eq(self.age.count),
                     choice.priority.eq(self.priority)]

        self.slot = Signal(number)
        self.other = Signal(number)
        self.at = Signal(range(max(config.slots, config.seats) + 1))
        self.mine, self.its = self.slots[self.slot], self.slots[self.other]
        for order in (self.turns, self.parked, self.age):
            m.d.comb += order.slot.eq(self.slot)
        self.runs = Cat(each.state == SlotState.RUNNING for each in self.slots)
        self.waits = Cat(each.state == SlotState.WAITING for each in self.slots)
        self.prompts = Signal(config.slots)
        self.mine_left = Signal(KNOWN_BITS)
        m.d.comb += [
            self.prompts.eq(Cat((each.state == SlotState.RUNNING) & ((each.known - each.computed)[:KNOWN_BITS] > 1)
                                for each in self.slots)),
            self.mine_left.eq(self.mine.known - self.mine.computed)]

        self.seated = Signal(data.ArrayLayout(number, config.seats))
        self.counts = Signal(data.ArrayLayout(range(config.seats + 1), config.slots))
        self.planned = Signal(range(config.seats + 1))
        self.spare = Signal(range(config.seats + 1))
        self.seat = Signal(range(config.seats + 1))
        self.more = Signal(range(config.seats + 1))  # seats that the slot in hand could still use
        rest = self.mine_left - self.counts[self.slot]
        m.d.comb += self.more.eq(Mux(rest < self.spare, rest, self.spare))
        self.first_prompt = Signal(number)
        self.prompted = Signal()
        self.gave_way = Signal()
        self.seen = Signal(config.slots)  # slots that need not be looked at again
        self.leaves = Signal(config.cache_groups)  # whose windows have passed a page

        self.taking = Signal()  # who looks for a parent: a request, or else the slot in hand
        self.same = Signal()  # `other` has the request's id
        self.vacant = Signal()  # and then `free` is a slot of nobody
        self.free = Signal(number)
        self.kin = Signal()  # and then `family` is the parent's slot
        self.family = Signal(number)
        self.target = Signal(POSITION_BITS - PAGE_SHIFT)  # pages to share
        self.hope = Signal(range(2 * config.pool_pages + 1))  # pages that are free, or that parked slots have
        self.ok = Signal()
        self.pages = Signal(p.answer.p.pages.shape())

        self.news, self.command, self.entry = p.news.p, p.command.p, p.request.p
        self.report, self.close, self.evict, self.kv, self.choose, self.find = (
            Call(m, name) for name in ("REPORT", "CLOSE", "EVICT", "KV", "CHOOSE", "FIND"))

    def give(self, count):
        """Seats for the slot in hand."""
        m, seats = self._m, self.counts[self.slot]
        m.d.sync += [seats.eq(seats + count), self.spare.eq(self.spare - count)]
        with m.If(seats == 0):
            m.d.sync += [self.seated[self.planned[:self.seat_bits]].eq(self.slot), self.planned.eq(self.planned + 1)]

    def tell(self, event, then, *, code=0, token=NONE):
        """Report something about the slot in hand."""
        news = self.news
        self._m.d.sync += [news.id.eq(self.mine.id), news.event.eq(event), news.code.eq(code), news.slot.eq(self.slot),
                           news.token.eq(token), news.position.eq(self.mine.known)]
        self.report(then)

    def ask(self, op, then, amount=0, group=0):
        """A command for the slot in hand."""
        command = self.command
        self._m.d.sync += [command.op.eq(op), command.slot.eq(self.slot), command.parent.eq(self.other),
                           command.group.eq(group), command.tenant.eq(self.mine.tenant), command.amount.eq(amount)]
        self.kv(then)

    def best(self, among, then, last=0):
        """Choose by rank among some slots, the worst if `last`."""
        self._m.d.sync += [self.choice.among.eq(among), self.choice.last.eq(last)]
        self.choose(then)

    @staticmethod
    def window(computed, span):
        """The first token that is still looked back on."""
        return Mux((span != 0) & (computed >= span), computed - span + 1, 0)[:KNOWN_BITS]
