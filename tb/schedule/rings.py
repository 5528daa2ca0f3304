"""The counts of a ring, and its doorbell, for the testbenches of those who have a ring."""

import harness
from cocotb.triggers import RisingEdge

__all__ = ["FIRST", "MODULUS", "Doorbell"]

MODULUS = 1 << 32
FIRST = MODULUS - 8  # of both counts, which soon wrap; in testbenches entries are numbered from 0


class Doorbell:
    """What a system with a ring's ports in `dut` hears and says of its counts."""

    @property
    def head(self):
        return (harness.peek(self.dut.head) - FIRST) % MODULUS

    @property
    def tail(self):
        return (harness.peek(self.dut.tail) - FIRST) % MODULUS

    async def ring(self, count):
        self.dut.count.value, self.dut.strobe.value = (FIRST + count) % MODULUS, 1
        await RisingEdge(self.dut.clk)
        self.dut.strobe.value = 0
