"""Lattice ECP5: which blocks of the part stand in for portable ones."""

from scoville.verilog import STRIP

from .ecp5_bank import Ecp5Bank
from .ecp5_lutram import LUTRAM_MAP
from .ecp5_multiplier import Ecp5Multiplier

__all__ = ["Ecp5Blocks"]


class Ecp5Blocks:
    """What an ECP5 platform gives in place of portable blocks; a base of `amaranth.vendor.LatticeECP5Platform`s."""

    multiplier = Ecp5Multiplier
    bank = Ecp5Bank

    def toolchain_prepare(self, fragment, name, **options):
        self.add_file("lutram.map", LUTRAM_MAP)
        return super().toolchain_prepare(fragment, name, script_after_read=STRIP,
                                         script_after_synth="techmap -map lutram.map", **options)
