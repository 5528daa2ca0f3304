"""The chip behind registers for all it is given, which makes its simulation faster and changes nothing else."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring

__all__ = ["RegisteredInputs"]


class RegisteredInputs(wiring.Component):
    """`component`, whose inputs and reset take what is given to this one's at the clock edge before.

    Verilator evaluates the logic that an input port reaches before the clock edge, and again after it. Behind a
    register an input counts as state: that logic is evaluated once a cycle, after the edge. The simulator, whose memory
    decides what it drives from its own state alone, gives the inputs of the next cycle with the edge, so nothing comes
    later.

    Parameters
    ----------
    component : wiring.Component
    passed : names of members whose inputs have no register, because what drives them answers in the same cycle

    Members
    -------
    Those of `component`.
    """

    def __init__(self, component, passed=()):
        self.component, self.passed = component, passed
        super().__init__(component.signature)

    def elaborate(self, platform):
        m = Module()
        m.domains.inner = inner = ClockDomain(local=True)
        m.submodules.chip = DomainRenamer("inner")(self.component)
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(ResetSignal())
        m.d.comb += [inner.clk.eq(ClockSignal()), inner.rst.eq(reset)]
        for (path, member, ours), (_, _, theirs) in zip(
                self.signature.flatten(self), self.component.signature.flatten(self.component), strict=True):
            if member.flow == wiring.Out:
                m.d.comb += ours.eq(theirs)
            elif path[0] in self.passed:
                m.d.comb += theirs.eq(ours)
            else:
                register = Signal(ours.shape(), reset_less=True, name="_".join(map(str, path)))
                m.d.sync += register.eq(ours)
                m.d.comb += theirs.eq(register)
        return m
