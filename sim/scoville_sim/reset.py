"""The chip behind a register for its reset, which makes its simulation faster and changes nothing else."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring

__all__ = ["RegisteredReset"]


class RegisteredReset(wiring.Component):
    """`component`, with its reset one cycle later.

    Verilator evaluates all logic that an input port reaches twice a cycle, and reset reaches the next state of every
    register. Behind a register it counts as state, and the twice evaluated part shrinks to what the buses reach.

    Parameters
    ----------
    component : wiring.Component

    Members
    -------
    Those of `component`.
    """

    def __init__(self, component):
        self.component = component
        super().__init__(component.signature)

    def elaborate(self, platform):
        m = Module()
        m.domains.inner = inner = ClockDomain(local=True)
        m.submodules.chip = DomainRenamer("inner")(self.component)
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(ResetSignal())
        m.d.comb += [inner.clk.eq(ClockSignal()), inner.rst.eq(reset)]
        for (_, member, ours), (_, _, theirs) in zip(
                self.signature.flatten(self), self.component.signature.flatten(self.component), strict=True):
            m.d.comb += ours.eq(theirs) if member.flow == wiring.Out else theirs.eq(ours)
        return m
