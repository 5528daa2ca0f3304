"""The multiplier: a product behind one register, which a platform may make of its own block."""

from amaranth.hdl import Module, Shape, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MULTIPLIER_BITS", "Multiplier"]

MULTIPLIER_BITS = 18  # of each factor: what the multiplier blocks of most FPGAs take


class Multiplier(wiring.Component):
    """o = a * b, exact, from a register. Latency: one cycle with `enable`; throughput: one product a cycle.

    A platform with a method ``multiplier(a, b)`` gives its own subclass for these shapes. For others it is this one,
    of which synthesis tools infer a block, with the register outside.

    Parameters
    ----------
    a, b : shapes, signed or unsigned, at most `MULTIPLIER_BITS` wide

    Members
    -------
    enable : In(1), the register moves
    a, b : In
    o : Out, as wide as both together, signed if one of them is
    """

    def __init__(self, a, b):
        self.factors = a, b = Shape.cast(a), Shape.cast(b)
        if max(a.width, b.width) > MULTIPLIER_BITS:
            raise ValueError(f"factors of {a.width} and {b.width} bits; a multiplier takes {MULTIPLIER_BITS}")
        width = a.width + b.width
        super().__init__({"enable": In(1), "a": In(a), "b": In(b),
                          "o": Out(signed(width) if a.signed or b.signed else unsigned(width))})

    @staticmethod
    def model(a, b):
        """a * b of integers."""
        return a * b

    def elaborate(self, platform):
        m = Module()
        if hasattr(platform, "multiplier"):
            m.submodules.block = block = platform.multiplier(*self.factors)
            m.d.comb += [block.enable.eq(self.enable), block.a.eq(self.a), block.b.eq(self.b), self.o.eq(block.o)]
        else:
            self.multiply(m)
        return m

    def multiply(self, m):
        """The portable form."""
        product = Signal(self.o.shape(), reset_less=True)
        with m.If(self.enable):
            m.d.sync += product.eq(self.a * self.b)
        m.d.comb += self.o.eq(product)
