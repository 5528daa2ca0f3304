"""Lattice ECP5: which blocks of the part stand in for portable ones."""

from scoville.verilog import STRIP

from .ecp5_bank import Ecp5Bank
from .ecp5_lutram import LUTRAM_MAP
from .ecp5_multiplier import Ecp5Multiplier

__all__ = ["Ecp5Blocks"]

# Registers that synth_ecp5 may use, but a clock enable for fewer than 8 or a set or reset for fewer than 48 becomes
# logic before D. Each such signal binds a slice's registers together, far from where they are wanted, and comes late:
# the zeros of the FP32 units were resets of 16 to 32 registers, at the end of the longest paths.
REGISTERS = "dfflegalize -minsrst 48 -mince 8 " + " ".join(f"-cell {cell}" for cell in (
    "$_DFF_?_ 01", "$_DFF_?P?_ r", "$_SDFF_?P?_ r", "$_DFFE_??_ 01", "$_DFFE_?P??_ r", "$_SDFFE_?P??_ r",
    "$_DLATCH_?_ x"))


class Ecp5Blocks:
    """What an ECP5 platform gives in place of portable blocks; a base of `amaranth.vendor.LatticeECP5Platform`s."""

    multiplier = Ecp5Multiplier
    bank = Ecp5Bank

    def toolchain_prepare(self, fragment, name, **options):
        self.add_file("lutram.map", LUTRAM_MAP)
        options["synth_opts"] = f"{options.get('synth_opts', '')} -run begin:map_ffs".strip()
        finish = f"opt_clean\n{REGISTERS}\nsynth_ecp5 -run map_ffs: -top {name}\ntechmap -map lutram.map"
        return super().toolchain_prepare(fragment, name, script_after_read=STRIP, script_after_synth=finish, **options)
