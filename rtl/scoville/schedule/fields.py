"""The fields of every slot's request: kept as their words come, and given to a slot without being copied."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check
from scoville.schedule.records import REQUEST
from scoville.schedule.submission import word_layout

__all__ = ["RequestFields", "fields_layout"]

KEPT = ("temperature", "tokens", "seed", "stops", "stop_count", "logits", "logits_stride")
PLACES = [(name, offset // 4, size // 4) for name, offset, size, _ in REQUEST if name in KEPT]
WORDS_KEPT = [first + n for _, first, count in PLACES for n in range(count)]  # their indices in a request


def fields_layout():
    """What is needed of a request while it is computed; the rest of it, the planner keeps."""
    return data.StructLayout({name: 32 * count for name, _, count in PLACES})


class RequestFields(wiring.Component):
    """A row a slot, and one for the request that is being judged.

    Words go into the row that no slot has. When a slot takes the request, it takes the row, and its own becomes the one
    that no slot has. A row is read whole.

    Parameters
    ----------
    config : ChipConfig, of which `slots` counts

    Members
    -------
    i : In(stream(word_layout)), from `SubmissionRing`; o : Out(the same), to the `Judge`
    taken : In(1), `slot` : In, who takes the request whose words came last
    read_slot : In; fields : Out(fields_layout), of that slot's request, in the cycle behind
    """

    def __init__(self, config):
        self.config = config
        slot = exact_log2(config.slots)
        super().__init__({
            "i": In(stream.Signature(word_layout())), "o": Out(stream.Signature(word_layout())),
            "taken": In(1), "slot": In(slot),
            "read_slot": In(slot), "fields": Out(fields_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        slots = self.config.slots
        row = exact_log2(2 * slots)
        m.submodules.words = words = Memory(shape=data.ArrayLayout(32, len(WORDS_KEPT)), depth=1 << row, init=[])
        write, read = words.write_port(granularity=1), words.read_port()
        row_of = Signal(data.ArrayLayout(row, slots), init=list(range(slots)))
        spare = Signal(row, init=slots)  # the row that no slot has
        come = Signal()
        m.d.comb += [
            self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready),
            come.eq(self.i.valid & self.i.ready),
            write.addr.eq(spare),
            read.addr.eq(row_of[self.read_slot]), read.en.eq(1),
            self.fields.eq(read.data.as_value()),
        ]
        for place, index in enumerate(WORDS_KEPT):
            m.d.comb += [write.data[place].eq(self.i.p.word), write.en[place].eq(come & (self.i.p.index == index))]
        with m.If(self.taken):
            m.d.sync += [row_of[self.slot].eq(spare), spare.eq(row_of[self.slot])]
        assert fields_layout().size == 32 * len(WORDS_KEPT)
        check(m, ~(self.taken & come), "request fields: a request is taken between two")
        return m
