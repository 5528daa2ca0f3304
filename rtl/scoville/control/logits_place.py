"""Where the logits of the next token go."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LogitsPlace"]


class LogitsPlace(wiring.Component):
    """``address = first + n * stride`` for the n-th token; nowhere if `first` is 0.

    An address that does not fit stays at the topmost bus word, which is outside every window, as no WINDOW_LIMIT is
    above it.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    start : In(1), a sequence begins; `next` : In(1), its token has been sampled
    first, stride : In, the settings LOGITS and LOGITS_STRIDE, multiples of the bus
    address : Out(addr_bits), 0 for nowhere
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(1), "next": In(1),
            "first": In(config.addr_bits), "stride": In(32),
            "address": Out(config.addr_bits),
        })

    def model(self, first, stride, token):
        """The address of a token's logits."""
        top = (1 << self.config.addr_bits) - self.config.bus_bytes
        return first and min(first + stride * token, top)

    def elaborate(self, platform):
        m = Module()
        after = Signal(self.config.addr_bits + 1)
        m.d.comb += after.eq(self.address + self.stride)
        with m.If(self.start):
            m.d.sync += self.address.eq(self.first)
        with m.Elif(self.next & (self.address != 0)):
            m.d.sync += self.address.eq(Mux(after[-1], (1 << self.config.addr_bits) - self.config.bus_bytes, after))
        return m
