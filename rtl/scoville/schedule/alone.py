"""The schedule of a chip with one slot: a sequence, where its logits go, and its pages."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from scoville.control.logits_place import LogitsPlace
from scoville.isa import POSITION_BITS
from scoville.kv.layouts import page_count, page_layout, place_layout
from scoville.kv.one import OneSlot
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.schedule.seats import Sampling
from scoville.schedule.sequence import STOPS, SequenceController

__all__ = ["Alone", "alone_settings"]


def alone_settings(config):
    """The registers that it knows, stable while a sequence runs."""
    address = config.addr_bits
    return data.StructLayout({
        "prompt": address, "prompt_length": POSITION_BITS, "position": POSITION_BITS, "max_new": 32,
        "context": POSITION_BITS, "stop_count": range(STOPS + 1), **{f"stop{index}": 32 for index in range(STOPS)},
        "logits": address, "logits_stride": 32, "seed": 64, "temperature": 32, "kv_pages": page_count(config)})


class Alone(wiring.Component):
    """Sequence, place of its logits and page numbers, wired; what `BatchController` is where there are more slots.

    Parameters
    ----------
    config : ChipConfig, of one slot

    Members
    -------
    settings : In(alone_settings)
    start, halt, running, state, begin, pass_done, sampled, token, finished, generated, overrun : as of
        `SequenceController`
    read_error : Out(1), for one cycle, `refused` by the window, at `error_address`
    sampling : Out(Sampling); held : Out(1), a token is there for the host
    request, response : Out(stream), In(stream), short reads of the fetch port
    read, read_page, append, append_page : as of `OneSlot`
    """

    def __init__(self, config):
        self.config = config
        self.sequence = SequenceController(config)
        place, page = place_layout(config), page_layout(config)
        members = self.sequence.signature.members
        super().__init__({name: members[name] for name in (
            "start", "halt", "running", "state", "begin", "pass_done", "sampled", "token", "finished", "generated",
            "overrun", "read_error", "error_address")} | {
            "settings": In(alone_settings(config)), "sampling": Out(Sampling(config)), "refused": Out(1),
            "held": Out(1),
            "request": Out(stream.Signature(fetch_layout(config))),
            "response": In(stream.Signature(response_layout(config))),
            "read": In(stream.Signature(place)), "read_page": Out(stream.Signature(page)),
            "append": In(stream.Signature(place)), "append_page": Out(stream.Signature(page)),
        })

    def elaborate(self, platform):
        m = Module()
        settings, sequence = self.settings, self.sequence
        m.submodules.sequence = sequence
        m.submodules.logits_place = place = LogitsPlace(self.config)
        m.submodules.pages = pages = OneSlot(self.config)
        for name in ("read", "read_page", "append", "append_page"):
            connect(m, flipped(getattr(self, name)), getattr(pages, name))
        connect(m, flipped(self.sampled), sequence.sampled)
        connect(m, sequence.token, flipped(self.token))
        m.d.comb += [
            pages.pages.eq(settings.kv_pages),
            sequence.start.eq(self.start), sequence.halt.eq(self.halt), sequence.pass_done.eq(self.pass_done),
            *(getattr(self, name).eq(getattr(sequence, name)) for name in (
                "running", "state", "begin", "finished", "generated", "overrun", "read_error", "error_address")),
            *(getattr(sequence, name).eq(getattr(settings, name)) for name in (
                "prompt", "prompt_length", "max_new", "context", "stop_count")),
            *(sequence.stops[index].eq(getattr(settings, f"stop{index}")) for index in range(STOPS)),
            sequence.first.eq(settings.position),
            place.start.eq(self.start), place.next.eq(self.sampled.valid & self.sampled.ready),
            place.first.eq(settings.logits), place.stride.eq(settings.logits_stride),
            self.sampling[0].logits.eq(place.address), self.sampling[0].seed.eq(settings.seed),
            self.sampling[0].invt.eq(settings.temperature),
            self.request.payload.eq(sequence.request.payload), self.request.valid.eq(sequence.request.valid),
            sequence.request.ready.eq(self.request.ready),
            sequence.response.p.data.eq(self.response.p.data), sequence.response.p.error.eq(self.response.p.error),
            sequence.response.valid.eq(self.response.valid), self.response.ready.eq(sequence.response.ready),
            self.refused.eq(self.response.p.refused), self.held.eq(self.token.valid),
        ]
        return m
