"""Lattice ECP5: the multiplier block, with its own register."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal

from scoville.numerics.multiplier import MULTIPLIER_BITS, Multiplier

from .ecp5_lutram import LUTRAM_MAP

__all__ = ["Ecp5Blocks", "Ecp5Multiplier"]


class Ecp5Multiplier(Multiplier):
    """A MULT18X18D with its output register: 3.5 ns of setup and 0.7 ns to the output (-6 in nextpnr). With the
    register in the fabric the block takes 3.9 ns and a wire.

    Names of ports and parameters: ECP5 and ECP5-5G sysDSP usage guide (FPGA-TN-02205).
    """

    def elaborate(self, platform):
        m = Module()
        product = Signal(2 * MULTIPLIER_BITS)
        ports = {f"o_P{n}": bit for n, bit in enumerate(product)}
        for name, factor in (("A", self.a), ("B", self.b)):
            # In the upper bits: zeros below cost no wires, as copies of the sign above would.
            unused = MULTIPLIER_BITS - len(factor)
            ports |= {f"i_{name}{n}": bit for n, bit in enumerate(Cat(Const(0, unused), factor))}
            ports |= {f"i_SIGNED{name}": Const(factor.shape().signed, 1), f"i_SOURCE{name}": Const(0, 1)}
        m.submodules.mult = Instance(
            "MULT18X18D", **ports, i_CLK0=ClockSignal(), i_CE0=self.enable, i_RST0=Const(0, 1),
            p_REG_INPUTA_CLK="NONE", p_REG_INPUTB_CLK="NONE", p_REG_PIPELINE_CLK="NONE",
            p_REG_OUTPUT_CLK="CLK0", p_REG_OUTPUT_CE="CE0", p_REG_OUTPUT_RST="RST0")
        m.d.comb += self.o.eq(product[-len(self.o):])
        return m


class Ecp5Blocks:
    """What an ECP5 platform gives in place of portable blocks; a base of `amaranth.vendor.LatticeECP5Platform`s."""

    multiplier = Ecp5Multiplier

    def toolchain_prepare(self, fragment, name, **options):
        self.add_file("lutram.map", LUTRAM_MAP)
        return super().toolchain_prepare(fragment, name, script_after_synth="techmap -map lutram.map", **options)
