"""Clock gates for units that sleep: off in the chip that is built, on in its simulation, where an edge costs time."""

from contextlib import contextmanager

from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, ResetSignal, Signal

__all__ = ["clock_gating", "gate_reset", "sleeper"]

_gates = None  # the emission in progress, if it has gates


class _Gates:
    """What the gates of one emission share."""

    count = 0
    soft_reset = 0


@contextmanager
def clock_gating():
    """What is elaborated inside has clock gates. No cycle and no bit that leaves the chip differs."""
    global _gates
    before, _gates = _gates, _Gates()
    try:
        yield
    finally:
        _gates = before


def gate_reset(reset):
    """Tell units behind gates the chip's soft reset; called before the first of them is made."""
    if _gates is not None:
        _gates.soft_reset = reset


def sleeper(m, component, *awake, tail=63, signs=("valid", "busy"), wrap=lambda component: component):
    """`component`, ready to be a submodule of `m`; with gates, its clock stands still while it has nothing to do.

    It is awake while a stream of it is valid, its `busy` is high, one of `awake` is, or in reset, and `tail` cycles
    longer. A unit qualifies if its state stands still in that condition, and if it takes its inputs from streams.

    Parameters
    ----------
    m : Module
    component : wiring.Component
    awake : further 1-bit values that wake it
    tail : cycles that it takes to settle after the last of these signs, or more
    signs : names of the members that wake it
    wrap : function that is applied to the component without gates
    """
    if _gates is None:
        return wrap(component)
    found = [signal for path, _, signal in component.signature.flatten(component) if path[-1] in signs]
    _gates.count += 1
    name, low_name = f"gated{_gates.count}", f"low{_gates.count}"
    gated = ClockDomain(name, local=True)
    # The enable changes while the clock is low, so that a gated clock has no short pulses.
    low = ClockDomain(low_name, clk_edge="neg", reset_less=True, local=True)
    m.domains += [gated, low]
    reset, now, enable = Signal(), Signal(), Signal(init=1)
    left = Signal(range(tail + 1), init=tail)
    m.d.comb += [
        reset.eq(ResetSignal() | _gates.soft_reset),
        now.eq(Cat(*found, *awake, reset).any()),
        low.clk.eq(ClockSignal()),
        gated.clk.eq(ClockSignal() & enable),
        gated.rst.eq(reset),
    ]
    with m.If(now):
        m.d.sync += left.eq(tail)
    with m.Elif(left != 0):
        m.d.sync += left.eq(left - 1)
    m.d[low_name] += enable.eq(now | (left != 0))
    return DomainRenamer(name)(component)
