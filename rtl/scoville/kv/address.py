"""From a token's page to where it lies in memory, for whoever reads the cache or appends to it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check_stream
from scoville.config import PAGE_TOKENS
from scoville.isa import PAGE_SIZE_BITS, POSITION_BITS, Opcode, width
from scoville.kv.layouts import page_layout, place_layout

__all__ = ["NUMBER_BITS", "PageAddress", "page_address_layout", "page_request_layout"]

NUMBER_BITS = POSITION_BITS - exact_log2(PAGE_TOKENS)


def page_request_layout(config):
    """Which page: its number in the sequence of `slot`, in cache group `cache`."""
    return data.StructLayout({"page": NUMBER_BITS, "cache": width(Opcode.ATTEND, "cache"),
                              "slot": exact_log2(config.slots)})


def page_address_layout(config):
    """Where a page begins. With `fault` set there is no such page and `address` means nothing."""
    return data.StructLayout({"address": config.addr_bits, "fault": 1})


class PageAddress(wiring.Component):
    """``address = kv_base + page * page_bytes``, with the page that a translation has at the place.

    It is a fault if the translation has none, if a table has no such entry, or if the page does not begin below the
    last 256 MiB of the address space: a page is smaller, so no address in one that is given wraps.

    Throughput: one at a time. Latency: 2 cycles, and the translation's.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    request, response : In(stream(`page_request_layout`)), Out(stream(`page_address_layout`))
    place, page : Out(stream), In(stream), of a translation (`kv.one`, `kv.translation`)
    kv_base, page_bytes : In, the registers KV_BASE and KV_PAGE_BYTES
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "request": In(stream.Signature(page_request_layout(config))),
            "response": Out(stream.Signature(page_address_layout(config))),
            "place": Out(stream.Signature(place_layout(config))),
            "page": In(stream.Signature(page_layout(config))),
            "kv_base": In(config.addr_bits),
            "page_bytes": In(PAGE_SIZE_BITS),
        })

    @staticmethod
    def model(config, page, *, kv_base, page_bytes):
        """(address, fault); `page` is None where the translation has none."""
        address = kv_base + (page or 0) * page_bytes
        return address, page is None or address >= (1 << config.addr_bits) - (1 << PAGE_SIZE_BITS)

    def elaborate(self, platform):
        m = Module()
        config, asked, found, given = self.config, self.request.p, self.page.p, self.response.p
        beyond, product = Signal(reset_less=True), Signal(PAGE_SIZE_BITS + len(found.page), reset_less=True)
        address = Signal(max(len(product), config.addr_bits) + 1)
        last = address[min(PAGE_SIZE_BITS, config.addr_bits - 1):config.addr_bits]  # all ones in the last 256 MiB
        m.d.comb += [
            self.place.p.index.eq(asked.page), self.place.p.group.eq(asked.cache), self.place.p.slot.eq(asked.slot),
            address.eq(self.kv_base + product),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [self.place.valid.eq(self.request.valid), self.request.ready.eq(self.place.ready)]
                m.d.sync += beyond.eq(asked.page[exact_log2(config.slot_pages):].any())
                with m.If(self.place.valid & self.place.ready):
                    m.next = "page"
            with m.State("page"):
                m.d.comb += self.page.ready.eq(1)
                m.d.sync += product.eq(found.page * self.page_bytes)
                with m.If(self.page.valid):
                    m.d.sync += beyond.eq(beyond | found.fault)
                    m.next = "add"
            with m.State("add"):
                m.d.sync += [given.address.eq(address), self.response.valid.eq(1),
                             given.fault.eq(beyond | address[config.addr_bits:].any() | last.all())]
                m.next = "give"
            with m.State("give"), m.If(self.response.ready):
                m.d.sync += self.response.valid.eq(0)
                m.next = "idle"
        check_stream(m, self.response, "page address: response")
        return m
