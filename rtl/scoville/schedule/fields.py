"""The words of every slot's request: kept as they come, and given to a slot without being copied."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check
from scoville.schedule.submission import WORDS, word_layout

__all__ = ["RequestFields"]


class RequestFields(wiring.Component):
    """A row of words a slot, and one for the request that is being judged.

    Words go into the row that no slot has. When a slot takes the request, it takes the row, and its own becomes the one
    that no slot has.

    Parameters
    ----------
    config : ChipConfig, of which `slots` counts

    Members
    -------
    i : In(stream(word_layout)), from `SubmissionRing`; o : Out(the same), to the `Judge`
    taken : In(1), `slot` : In, who takes the request whose words came last
    read_slot, read_index : In; word : Out(32), of that slot's request, in the cycle behind
    """

    def __init__(self, config):
        self.config = config
        slot = exact_log2(config.slots)
        super().__init__({
            "i": In(stream.Signature(word_layout())), "o": Out(stream.Signature(word_layout())),
            "taken": In(1), "slot": In(slot),
            "read_slot": In(slot), "read_index": In(range(WORDS)), "word": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        slots = self.config.slots
        row = exact_log2(2 * slots)
        m.submodules.words = words = Memory(shape=32, depth=(1 << row) * WORDS, init=[])
        write, read = words.write_port(), words.read_port()
        rows = Signal(data.ArrayLayout(row, slots), init=list(range(slots)))
        spare = Signal(row, init=slots)  # the row that no slot has
        m.d.comb += [
            self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready),
            write.addr.eq((spare << exact_log2(WORDS)) | self.i.p.index), write.data.eq(self.i.p.word),
            write.en.eq(self.i.valid & self.i.ready),
            read.addr.eq((rows[self.read_slot] << exact_log2(WORDS)) | self.read_index), read.en.eq(1),
            self.word.eq(read.data),
        ]
        with m.If(self.taken):
            m.d.sync += [rows[self.slot].eq(spare), spare.eq(rows[self.slot])]
        check(m, ~(self.taken & write.en), "request fields: a request is taken between two")
        return m
