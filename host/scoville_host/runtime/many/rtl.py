"""A Verilated chip of several slots."""

from math import ceil

from ...errors import ChipError
from ..driver import INTERRUPTS, Driver
from ..rtl import WATCHDOG, as_host_error

__all__ = ["RtlMachine"]

PATIENCE = 1_000_000  # cycles without work of the array, of a chip that has something to do
SLICES = 10_000


class RtlMachine:
    """See `machine.Machine`; its clock counts cycles. A context: at its end the simulator is closed.

    Parameters
    ----------
    plan : Plan
    timing, seed : of the memory, `MemoryTiming`; no result bit depends on them
    patience : cycles without a completion, and without work of the array, after which there is nothing to wait for;
        `SLICES` of them without a completion are too many
    watched : of `VerilatedChip`

    Members
    -------
    chip : VerilatedChip
    """

    name, unit = "rtl", "cycles"
    seats = pool = None

    def __init__(self, plan, timing=None, seed=0, patience=PATIENCE, watched=()):
        from scoville_sim import MemoryTiming, SimError, VerilatedChip

        self.plan, self.patience, timing = plan, patience, timing or MemoryTiming()
        self.rate = timing.chip_mhz * 1e6
        try:
            with plan.enough():
                self.chip = VerilatedChip(plan.config, plan.image.base + plan.size, timing=timing, seed=seed,
                                          watched=watched)
        except SimError as error:
            raise as_host_error(error) from None
        self.chip.load(plan.image.base, plan.image.memory)
        self.driver = Driver(self.chip, plan.image)
        self.driver.check()
        self.write("WATCHDOG", WATCHDOG)
        self.write("IRQ_ENABLE", INTERRUPTS)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        from scoville_sim import SimError

        self.close()
        if isinstance(error, SimError):
            raise as_host_error(error) from None

    def close(self):
        self.chip.close()

    @property
    def time(self):
        return self.read("CYCLES")

    @property
    def beats(self):
        return self.read("BEATS")

    @property
    def counters(self):
        return self.driver.counters()

    def read(self, name):
        return self.driver.read(name)

    def write(self, name, value):
        self.driver.write(name, value)

    def store(self, address, data):
        self.chip.load(address, data)

    def fetch(self, address, size):
        return self.chip.memory[address:address + size].tobytes()

    def reset(self):
        self.driver.reset()
        self.driver.acknowledge()
        self.store(self.plan.image.base, self.plan.image.memory)

    def wait(self, until=None):
        """To the next completion."""
        for _ in range(SLICES):
            left = self.patience if until is None else min(self.patience, ceil(until - self.time))
            if left <= 0:
                return True
            worked = self.read("WORK")
            self.chip.run(left)
            if self.chip.interrupt:
                self.driver.acknowledge()
                return True
            if left == self.patience and self.read("WORK") == worked:
                return False
        raise ChipError(f"no interrupt for {SLICES * self.patience:,} cycles")
