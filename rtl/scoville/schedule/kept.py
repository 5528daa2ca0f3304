"""What a slot's last sampled token leaves for its next run, so that nothing of it is read from memory."""

from amaranth.hdl import Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check
from scoville.isa import POSITION_BITS

__all__ = ["Kept", "kept_layout"]


def kept_layout(config):
    """A sampled token and its position, 0 if none is sampled yet; where the logits of the next one go, 0 for nowhere.
    """
    return data.StructLayout({"position": POSITION_BITS, "token": 32, "logits": config.addr_bits})


class Kept(wiring.Component):
    """A word a slot.

    Parameters
    ----------
    config : ChipConfig, of which `slots` counts

    Members
    -------
    keep : In(1), `kept` : In(kept_layout), a token of slot `kept_slot` : In is sampled
    taken : In(1), slot `taken_slot` : In has another request, of which nothing is sampled
    read_slot : In; o : Out(kept_layout), in the cycle behind
    """

    def __init__(self, config):
        self.config = config
        slot = exact_log2(config.slots)
        super().__init__({
            "keep": In(1), "kept_slot": In(slot), "kept": In(kept_layout(config)),
            "taken": In(1), "taken_slot": In(slot),
            "read_slot": In(slot), "o": Out(kept_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Memory(shape=self.o.shape(), depth=self.config.slots, init=[])
        write, read = words.write_port(), words.read_port()
        m.d.comb += [
            write.en.eq(self.keep | self.taken),
            write.addr.eq(Mux(self.taken, self.taken_slot, self.kept_slot)),
            write.data.eq(Mux(self.taken, 0, self.kept.as_value())),
            read.addr.eq(self.read_slot), read.en.eq(1), self.o.eq(read.data),
        ]
        check(m, ~(self.keep & self.taken), "kept tokens: requests are taken when all tokens of a pass are")
        return m
