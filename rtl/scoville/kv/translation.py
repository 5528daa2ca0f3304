"""From a place in a slot's table to the page there, for whoever reads the cache and whoever appends to it."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.kv.layouts import page_layout, place_layout
from scoville.kv.tables import look_signature

__all__ = ["Translation"]


class Translation(wiring.Component):
    """Looks up pages: a fault where the slot is closed, or its table has no such entry, or no longer.

    A page that an append is given is not full, and so has one owner.

    Two cycles from a request to its answer, whatever the tables hold and whatever is done to them. A port has one
    lookup under way: one in three cycles if its answers are taken at once. Ports do not hold each other up, except that
    a request of `append` waits for one of `read` that comes in the same cycle.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    read, read_page : In(stream(`place_layout`)), Out(stream(`page_layout`)): for attention
    append, append_page : the same: for appends, which also fault where the page is full
    look : Out(`look_signature`), to `Tables`
    rest : In(1), no page that was given is in use: what was read has come, what was written has its response
    used : Out, a bit a slot: a page may be in use that was looked up for it
    """

    def __init__(self, config):
        self.config = config
        place, page = place_layout(config), page_layout(config)
        super().__init__({
            "read": In(stream.Signature(place)), "read_page": Out(stream.Signature(page)),
            "append": In(stream.Signature(place)), "append_page": Out(stream.Signature(page)),
            "look": Out(look_signature(config)),
            "rest": In(1),
            "used": Out(config.slots),
        })

    def elaborate(self, platform):
        m = Module()
        # The lookup under way: whose, and where.
        reading, appending = Signal(), Signal()
        place = Signal(place_layout(self.config), reset_less=True)
        read, append = self.read.payload, self.append.payload
        m.d.comb += [
            self.read.ready.eq(~reading & ~self.read_page.valid),
            self.append.ready.eq(~appending & ~self.append_page.valid & ~(self.read.valid & self.read.ready)),
            self.look.place.eq(Mux(self.read.ready & self.read.valid, read, append)),
            self.look.slot.eq(place.slot),
        ]
        m.d.sync += [
            reading.eq(self.read.valid & self.read.ready),
            appending.eq(self.append.valid & self.append.ready),
            place.eq(self.look.place),
        ]
        lengths = self.look.lengths
        missing = Signal()
        m.d.comb += missing.eq(~self.look.open | (place.index >= lengths.length)
                               | (place.index < lengths.gone[place.group]))
        for come, answer, fault in ((reading, self.read_page, missing),
                                    (appending, self.append_page, missing | (place.index < lengths.full))):
            with m.If(come):
                m.d.sync += [answer.valid.eq(1), answer.payload.page.eq(self.look.page),
                             answer.payload.fault.eq(fault)]
            with m.Elif(answer.ready):
                m.d.sync += answer.valid.eq(0)
            check_stream(m, answer, "translation: answers")
            check(m, ~(come & answer.valid), "translation: a port has one lookup under way")

        with m.If(self.rest):
            m.d.sync += self.used.eq(0)
        with m.If(reading | appending):
            m.d.sync += self.used.bit_select(place.slot, 1).eq(1)
        check(m, ~self.rest | ~(self.read_page.valid | self.append_page.valid),
              "translation: nobody is at rest whom a page is given")
        return m
