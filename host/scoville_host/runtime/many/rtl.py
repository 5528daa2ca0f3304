"""A Verilated chip of several slots."""

from ..driver import Driver
from ..rtl import as_host_error

__all__ = ["RtlMachine"]

PATIENCE = 20_000_000  # cycles without a completion: longer than any pass


class RtlMachine:
    """See `machine.Machine`; its clock counts cycles.

    Parameters
    ----------
    plan : Plan
    timing, seed : of the memory, `MemoryTiming`; no result bit depends on them
    patience : cycles without a completion after which there is nothing to wait for

    Members
    -------
    chip : VerilatedChip
    """

    name, unit = "rtl", "cycles"

    def __init__(self, plan, timing=None, seed=0, patience=PATIENCE):
        from scoville_sim import SimError, VerilatedChip

        self.plan, self.patience = plan, patience
        self.passes = self.seats = self.most_pages = 0
        try:
            self.chip = VerilatedChip(plan.config, plan.image.base + plan.size, timing=timing, seed=seed)
        except SimError as error:
            raise as_host_error(error) from None
        self.chip.load(plan.image.base, plan.image.memory)
        self.driver = Driver(self.chip, plan.image)
        self.driver.check()
        self.driver.write("IRQ_ENABLE", 7)

    def close(self):
        self.chip.close()

    @property
    def time(self):
        return self.driver.read("CYCLES")

    def read(self, name):
        return self.driver.read(name)

    def write(self, name, value):
        self.driver.write(name, value)

    def store(self, address, data):
        self.chip.load(address, data)

    def fetch(self, address, size):
        return self.chip.memory[address:address + size].tobytes()

    def wait(self):
        """To the next completion."""
        self.chip.run(self.patience)
        heard = bool(self.chip.interrupt)
        self.driver.acknowledge()
        return heard
