"""Lattice ECP5: the multiplier block, with its own registers."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal

from scoville.numerics.multiplier import MULTIPLIER_BITS, Multiplier

__all__ = ["Ecp5Multiplier"]

REGISTERS = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")


class Ecp5Multiplier(Multiplier):
    """A MULT18X18D with its output register: 3.5 ns of setup and 0.7 ns to the output (-6 in nextpnr). With the
    register in the fabric the block takes 3.9 ns and a wire. With three stages also those at the factors and in the
    middle; nextpnr does not time the way between two of them, so there is no form with fewer.

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
            **{f"p_REG_{place}_{what}": source for place in REGISTERS for what, source in (
                ("CLK", "CLK0" if self.stages == 3 or place == "OUTPUT" else "NONE"), ("CE", "CE0"), ("RST", "RST0"))})
        m.d.comb += self.o.eq(product[-len(self.o):])
        return m
