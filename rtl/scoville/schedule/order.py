"""A list of slots in an order: who has waited longest, who was used longest ago, who was taken first."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check

__all__ = ["Change", "Order"]


class Change(enum.Enum, shape=2):
    """What happens to the list."""

    NONE = 0
    ADD = 1  # a slot that is not in it joins at the end
    DROP = 2  # a slot leaves, and those behind it move up
    RENEW = 3  # a slot goes to the end


class Order(wiring.Component):
    """Keeps a slot at most once, the first in front. One change a cycle; the list shows it in the next.

    Parameters
    ----------
    config : ChipConfig, of which `slots` counts

    Members
    -------
    change : In(Change), of `slot` : In; not of a slot that is missing, or there already
    clear : In(1), in place of a change: the list is empty
    slots : Out(array), those in the list, from the front on; `count` : Out, how many
    member : Out(a bit a slot), whether it is in the list
    """

    def __init__(self, config):
        self.config = config
        number = exact_log2(config.slots)
        super().__init__({
            "change": In(Change), "slot": In(number), "clear": In(1),
            "slots": Out(data.ArrayLayout(number, config.slots)), "count": Out(range(config.slots + 1)),
            "member": Out(config.slots),
        })

    @staticmethod
    def model(slots, change, slot):
        """The list behind a change, for one before it."""
        rest = [each for each in slots if each != slot]
        return list(slots) if change is Change.NONE else rest if change is Change.DROP else [*rest, slot]

    def elaborate(self, platform):
        m = Module()
        leaves = (self.change == Change.DROP) | (self.change == Change.RENEW)
        joins = (self.change == Change.ADD) | (self.change == Change.RENEW)
        end = Signal.like(self.count)  # the first place behind those that stay
        m.d.comb += end.eq(self.count - leaves)
        moved = 0  # the slot was in front of this place, or at it
        for place in range(self.config.slots):
            here = self.slots[place]
            moved = moved | (leaves & (here == self.slot) & (place < self.count))
            behind = self.slots[place + 1] if place + 1 < self.config.slots else here
            m.d.sync += here.eq(Mux(joins & (end == place), self.slot, Mux(moved, behind, here)))
        m.d.sync += self.count.eq(end + joins)
        with m.If(joins):
            m.d.sync += self.member.bit_select(self.slot, 1).eq(1)
        with m.Elif(leaves):
            m.d.sync += self.member.bit_select(self.slot, 1).eq(0)
        with m.If(self.clear):
            m.d.sync += [self.count.eq(0), self.member.eq(0)]
        known = self.member.bit_select(self.slot, 1)
        check(m, self.clear | (self.change == Change.NONE) | (known == leaves),
              "order: who joins is not in the list, and who leaves is")
        check(m, self.count == sum(Cat(self.member)), "order: the list has its members")
        return m
