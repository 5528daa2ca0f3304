"""Lattice ECP5: clocks."""

from math import gcd

from amaranth.hdl import ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib.cdc import FFSynchronizer

__all__ = ["Clocks", "pll_parameters"]

VCO_HZ = (400_000_000, 800_000_000)  # ECP5 family data sheet (FPGA-DS-02012), sysCLOCK PLL timing
LEAST_PHASE_HZ = 3_125_000  # of the phase detector


def pll_parameters(input_hz, output_hz, phase):
    """Parameters of an EHXPLLL whose CLKOP is `output_hz` and whose CLKOS is the same, `phase` degrees later.

    Raises
    ------
    ValueError
        If the PLL cannot make that clock from the input exactly.
    """
    common = gcd(input_hz, output_hz)
    divider = next((n for n in range(128, 0, -1) if VCO_HZ[0] <= n * output_hz <= VCO_HZ[1]), None)
    eighths = phase * (divider or 0) * 8 // 360
    if divider is None or common < LEAST_PHASE_HZ or max(input_hz, output_hz) // common > 128:
        raise ValueError(f"no exact PLL setting from {input_hz} Hz to {output_hz} Hz")
    return {"p_CLKI_DIV": input_hz // common, "p_CLKFB_DIV": output_hz // common,
            "p_CLKOP_ENABLE": "ENABLED", "p_CLKOP_DIV": divider, "p_CLKOP_CPHASE": divider - 1, "p_CLKOP_FPHASE": 0,
            "p_CLKOS_ENABLE": "ENABLED", "p_CLKOS_DIV": divider, "p_CLKOS_CPHASE": divider - 1 + eighths // 8,
            "p_CLKOS_FPHASE": eighths % 8}


class Clocks(Elaboratable):
    """Domain sync from a pin through the PLL, and domain late, the same clock after `phase`.

    Sync stands still until the PLL locks, and begins as the bitstream left it: it needs no reset, whose net would reach
    every register of the chip. The domains are those of the module that this one is in, which makes them by `domains`.

    Parameters
    ----------
    pin : Signal of the clock pin
    input_hz, output_hz : of the pin and of sync
    phase : degrees that domain late is behind sync
    """

    def __init__(self, pin, input_hz, output_hz, phase=270):
        self.pin, self.output_hz = pin, output_hz
        self.parameters = pll_parameters(input_hz, output_hz, phase)

    @staticmethod
    def domains():
        """What the parent adds to its `m.domains`."""
        return [ClockDomain("sync", reset_less=True), ClockDomain("late", reset_less=True)]

    def elaborate(self, platform):
        m = Module()
        locked, runs = Signal(), Signal()
        clock = Signal(attrs={"keep": 1})  # its name is in the constraint file
        late, gated = Signal(), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL", a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            p_FEEDBK_PATH="CLKOP", **self.parameters,
            i_CLKI=self.pin, i_CLKFB=clock, i_RST=Const(0), i_STDBY=Const(0), i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0), i_PHASEDIR=Const(1), i_PHASESTEP=Const(1), i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0), i_ENCLKOP=Const(0), o_CLKOP=clock, o_CLKOS=late, o_LOCK=locked)
        m.submodules.runs = FFSynchronizer(locked, runs, o_domain="late")
        m.submodules.gate = Instance("DCCA", i_CLKI=clock, i_CE=runs, o_CLKO=gated)
        m.d.comb += [ClockSignal("sync").eq(gated), ClockSignal("late").eq(late)]
        platform.add_clock_constraint(clock, self.output_hz)
        return m
