"""Which page holds which tokens, where the chip has one slot: there is nothing to keep."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check_stream
from scoville.kv.layouts import page_count, page_layout, place_layout

__all__ = ["OneSlot"]


class OneSlot(wiring.Component):
    """Page n of the sequence is page n of the pool. Nobody shares it, and the next sequence has all pages again.

    A cycle from a request to its answer. The ports are those of `Translation`.

    Parameters
    ----------
    config : ChipConfig, of one slot and one cache group

    Members
    -------
    pages : In, pages in memory; of more than `pool_pages`, those are used
    read, read_page : In(stream(`place_layout`)), Out(stream(`page_layout`)): for attention
    append, append_page : the same: for appends
    """

    def __init__(self, config):
        if config.slots > 1 or config.cache_groups > 1:
            raise ValueError("several slots or cache groups have page tables")
        self.config = config
        place, page = place_layout(config), page_layout(config)
        super().__init__({
            "pages": In(page_count(config)),
            "read": In(stream.Signature(place)), "read_page": Out(stream.Signature(page)),
            "append": In(stream.Signature(place)), "append_page": Out(stream.Signature(page)),
        })

    @staticmethod
    def model(config, index, pages):
        """The page, or None, a fault."""
        return index if index < min(pages, config.pool_pages) else None

    def elaborate(self, platform):
        m = Module()
        for port, answer in ((self.read, self.read_page), (self.append, self.append_page)):
            m.d.comb += port.ready.eq(~answer.valid | answer.ready)
            with m.If(port.ready):
                m.d.sync += [answer.valid.eq(port.valid), answer.p.page.eq(port.p.index),
                             answer.p.fault.eq(port.p.index >= self.pages)]
            check_stream(m, answer, "one slot: answers")
        return m
