"""The page walk: page numbers to addresses, and the check that every access goes through."""

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check_stream

__all__ = ["PageWalker", "page_address_layout", "page_request_layout"]

ENTRY_BITS = 32
COUNT_BITS = 24  # of a page's number, in its row and in the pool, and of its size


def page_request_layout(config):
    """Which page: address of the KV head's row of the page table, and the page's number in that row."""
    return data.StructLayout({"row": config.addr_bits, "page": COUNT_BITS})


def page_address_layout(config):
    """Where a page is. With `fault` set there is no such page and `address` means nothing."""
    return data.StructLayout({"address": config.addr_bits, "fault": 1})


class PageWalker(wiring.Component):
    """Translates page numbers to byte addresses for several users.

    ``address = kv_base + entry * page_bytes`` with ``entry`` the u32 at ``row + 4 * page``. It is a fault if the entry
    is not below `kv_pages` (so 0xFFFFFFFF, unmapped, is one), if the read fails, or if the page does not begin below
    the last 16 MiB of the address space: a page is smaller, so no address in one that is given wraps.

    Each port keeps the last beat of the table that it read, so the next pages of a row cost no read.

    Throughput: one walk at a time; a port whose response is not taken does not hold up the others.
    Latency: 4 cycles from request to response when the beat is kept, otherwise the memory's latency more.

    Parameters
    ----------
    config : ChipConfig
    ports : number of users

    Members
    -------
    request0, request1, ... : In(stream), `page_request_layout`; rows are bus-aligned.
    response0, response1, ... : Out(stream), `page_address_layout`, in order within a port
    read_request : Out(stream) of {address}: one bus-aligned beat.
    read_response : In(stream) of {data, error}
    kv_base, kv_pages, page_bytes : In, the window that holds every page, and the size of one
    invalidate : In(1), drops what is kept; a walk under way is not affected.
    """

    def __init__(self, config, ports=2):
        self.config = config
        self.ports = ports
        members = {}
        for port in range(ports):
            members[f"request{port}"] = In(stream.Signature(page_request_layout(config)))
            members[f"response{port}"] = Out(stream.Signature(page_address_layout(config)))
        super().__init__(members | {
            "read_request": Out(stream.Signature(data.StructLayout({"address": config.addr_bits}))),
            "read_response": In(stream.Signature(data.StructLayout({"data": config.bus_bits, "error": 1}))),
            "kv_base": In(config.addr_bits),
            "kv_pages": In(COUNT_BITS),
            "page_bytes": In(COUNT_BITS),
            "invalidate": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        beat_bits = exact_log2(config.bus_bytes)
        tag_bits = config.addr_bits - beat_bits
        requests = [getattr(self, f"request{port}") for port in range(self.ports)]
        responses = [getattr(self, f"response{port}") for port in range(self.ports)]

        kept_data = Array(Signal(config.bus_bits, reset_less=True, name=f"kept_data{k}") for k in range(self.ports))
        kept_tag = Array(Signal(tag_bits, reset_less=True, name=f"kept_tag{k}") for k in range(self.ports))
        kept_valid = Array(Signal(name=f"kept_valid{k}") for k in range(self.ports))
        for response in responses:
            with m.If(response.ready):
                m.d.sync += response.valid.eq(0)

        port = Signal(range(max(2, self.ports)))
        entry_address = Signal(config.addr_bits, reset_less=True)
        tag = entry_address[beat_bits:]
        word = entry_address[2:beat_bits]
        entry = Signal(ENTRY_BITS, reset_less=True)
        bad = Signal(reset_less=True)
        stale = Signal()  # `invalidate` came during the read: use the beat, do not keep it
        # The product's halves, by the entry's: one below `kv_pages` has no more bits.
        half = COUNT_BITS // 2
        low, high = (Signal(COUNT_BITS + half, name=name, reset_less=True) for name in ("low", "high"))
        physical = Signal(max(2 * COUNT_BITS, config.addr_bits) + 1)
        top = physical[min(COUNT_BITS, config.addr_bits - 1):config.addr_bits]  # all ones in the last 16 MiB
        m.d.comb += [
            physical.eq(self.kv_base + low + (high << half)),
            self.read_request.payload.address.eq(Cat(Const(0, beat_bits), tag)),
        ]

        with m.FSM():
            with m.State("IDLE"):
                for k, (request, response) in reversed(list(enumerate(zip(requests, responses, strict=True)))):
                    # Later statements win: port 0 goes first.
                    with m.If(request.valid & ~response.valid):
                        m.d.comb += [r.ready.eq(r is request) for r in requests]
                        m.d.sync += [
                            port.eq(k),
                            entry_address.eq((request.payload.row + (request.payload.page << 2))[:config.addr_bits]),
                        ]
                        m.next = "LOOK"
            with m.State("LOOK"):
                m.d.sync += [
                    entry.eq(kept_data[port].word_select(word, ENTRY_BITS)),
                    bad.eq(0),
                    stale.eq(0),
                ]
                with m.If(kept_valid[port] & (kept_tag[port] == tag)):
                    m.next = "MULTIPLY"
                with m.Else():
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.read_request.valid.eq(1)
                with m.If(self.read_request.ready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.read_response.ready.eq(1)
                m.d.sync += [
                    entry.eq(self.read_response.payload.data.word_select(word, ENTRY_BITS)),
                    bad.eq(self.read_response.payload.error),
                ]
                with m.If(self.read_response.valid):
                    m.d.sync += [
                        kept_data[port].eq(self.read_response.payload.data),
                        kept_tag[port].eq(tag),
                        kept_valid[port].eq(~self.read_response.payload.error & ~stale),
                    ]
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [
                    low.eq(entry[:half] * self.page_bytes),
                    high.eq(entry[half:2 * half] * self.page_bytes),
                    bad.eq(bad | (entry >= self.kv_pages)),
                ]
                m.next = "ADD"
            with m.State("ADD"):
                for k, response in enumerate(responses):
                    with m.If(port == k):
                        m.d.sync += [
                            response.valid.eq(1),
                            response.payload.address.eq(physical[:config.addr_bits]),
                            response.payload.fault.eq(bad | physical[config.addr_bits:].any() | top.all()),
                        ]
                m.next = "IDLE"

        for waiting in (self.read_request, *responses):
            check_stream(m, waiting, "page walker: requests and responses")
        with m.If(self.invalidate):
            m.d.sync += [stale.eq(1)] + [valid.eq(0) for valid in kept_valid]
        return m

    @staticmethod
    def model(config, memory, row, page, *, kv_base, kv_pages, page_bytes):
        """(address, fault) of a page; `memory` maps byte ranges: ``memory[a:b]`` is bytes."""
        entry = int.from_bytes(memory[row + 4 * page:row + 4 * page + 4], "little")
        address = kv_base + entry * page_bytes
        return address, entry >= kv_pages or address >= (1 << config.addr_bits) - (1 << COUNT_BITS)
