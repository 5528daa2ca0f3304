"""The multiplier: a product behind one register or three, which a platform may make of its own block."""

from amaranth.hdl import Module, Shape, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MULTIPLIER_BITS", "Multiplier"]

MULTIPLIER_BITS = 18  # of each factor: what the multiplier blocks of most FPGAs take


class Multiplier(wiring.Component):
    """o = a * b, exact, from a register. Latency: `stages` cycles with `enable`; throughput: one product a cycle.

    A platform with a method ``multiplier(a, b, stages)`` gives its own subclass for these shapes. For others it is this
    one, of which synthesis tools infer a block, with the registers outside.

    Parameters
    ----------
    a, b : shapes, signed or unsigned, at most `MULTIPLIER_BITS` wide
    stages : 1, a register behind the product, or 3, one at the factors and two behind

    Members
    -------
    enable : In(1), the registers move
    a, b : In
    o : Out, as wide as both together, signed if one of them is
    """

    def __init__(self, a, b, stages=1):
        self.factors = a, b = Shape.cast(a), Shape.cast(b)
        self.stages = stages
        if stages not in (1, 3):
            raise ValueError(f"a multiplier of {stages} stages; it has 1 or 3")
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
            m.submodules.block = block = platform.multiplier(*self.factors, self.stages)
            m.d.comb += [block.enable.eq(self.enable), block.a.eq(self.a), block.b.eq(self.b), self.o.eq(block.o)]
        else:
            self.multiply(m)
        return m

    def multiply(self, m):
        """The portable form."""
        a, b = self.a, self.b
        product = Signal(self.o.shape(), reset_less=True)
        result = product
        with m.If(self.enable):
            if self.stages == 3:
                a, b, result = (Signal.like(value, reset_less=True) for value in (a, b, product))
                m.d.sync += [a.eq(self.a), b.eq(self.b), result.eq(product)]
            m.d.sync += product.eq(a * b)
        m.d.comb += self.o.eq(result)
