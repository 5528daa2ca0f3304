"""The choice by rank: the slot of the highest priority that was taken first, or the other way round."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check

__all__ = ["PRIORITY_BITS", "Choice"]

PRIORITY_BITS = 8


class Choice(wiring.Component):
    """Walks the slots in the order in which their requests were taken, and keeps the best of those that are asked for.

    So no number of a request is compared, and none can run over. Cycles from `start` to `done`: as many as there are
    slots in the order, and 1.

    Parameters
    ----------
    config : ChipConfig, of which `slots` counts

    Members
    -------
    slots, count : In, of the `Order` of taking; `priority` : In(array), a slot
    among : In(a bit a slot), who may be chosen; `last` : In(1), who comes last by rank; stable up to `done`
    start : In(1); done : Out(1), for one cycle
    found : Out(1), there is one, `slot` : Out; from `done` to the next `start`
    """

    def __init__(self, config):
        self.config = config
        number = exact_log2(config.slots)
        super().__init__({
            "slots": In(data.ArrayLayout(number, config.slots)), "count": In(range(config.slots + 1)),
            "priority": In(data.ArrayLayout(PRIORITY_BITS, config.slots)),
            "among": In(config.slots), "last": In(1),
            "start": In(1), "done": Out(1),
            "found": Out(1), "slot": Out(number),
        })

    @staticmethod
    def model(slots, priority, among, last):
        """The slot, or None; `slots` in the order of taking, `priority` of each slot, `among` a set."""
        ranked = sorted((slot for slot in slots if slot in among), key=lambda slot: -priority[slot])
        return None if not ranked else ranked[-1] if last else ranked[0]

    def elaborate(self, platform):
        m = Module()
        place = Signal(range(self.config.slots + 1))
        best = Signal(PRIORITY_BITS, reset_less=True)
        here, mine = Signal.like(self.slot), Signal(PRIORITY_BITS)
        walking = Signal()
        m.d.comb += [
            here.eq(self.slots[place[:max(1, exact_log2(self.config.slots))]] if self.config.slots > 1 else 0),
            mine.eq(self.priority[here] if self.config.slots > 1 else self.priority[0]),
            self.done.eq(walking & (place == self.count)),
        ]
        # Of equals the first one has the better rank, and the last one the worse.
        better = ~self.found | (self.last & (mine <= best)) | (~self.last & (mine > best))
        with m.If(self.start):
            m.d.sync += [place.eq(0), walking.eq(1), self.found.eq(0)]
        with m.Elif(self.done):
            m.d.sync += walking.eq(0)
        with m.Elif(walking):
            m.d.sync += place.eq(place + 1)
            with m.If(self.among.bit_select(here, 1) & better):
                m.d.sync += [self.found.eq(1), self.slot.eq(here), best.eq(mine)]
        check(m, ~self.start | ~walking, "choice: one at a time")
        return m
