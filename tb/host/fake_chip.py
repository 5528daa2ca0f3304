"""The golden model of many sequences in the place of the Verilated chip."""

import numpy as np
from scoville.golden_many import GoldenMany
from scoville.registers import REGISTERS
from scoville_host.runtime.driver import ERROR, RESET, START

__all__ = ["FakeChip"]

PASS = 1000  # cycles
NAMES = {register.address: register.name for register in REGISTERS}


class FakeChip:
    """A `VerilatedChip` whose passes take `PASS` cycles, in half of which the array works.

    Members
    -------
    made : all that there are
    many : GoldenMany, once it is started
    hook : called with the chip before each pass; if it returns True, the pass has no end
    """

    made: list = []

    def __init__(self, config, memory_bytes, *, timing, seed, watched=()):
        self.config, self.timing, self.seed = config, timing, seed
        self.memory, self.words, self.many = np.zeros(memory_bytes, np.uint8), {}, None
        self.cycles = self.work = self.told = 0
        self.interrupt = self.closed = False
        self.hook = lambda chip: False
        self.made.append(self)

    def close(self):
        self.closed = True

    def load(self, address, data):
        values = np.frombuffer(bytes(data), np.uint8)
        self.memory[address:address + values.size] = values

    def write(self, address, value):
        name = NAMES[address]
        self.words[name] = value
        if name == "CONTROL":
            if value == RESET:
                self.many, self.interrupt, self.told = None, False, 0
                return
            assert value == START
            registers = {name.removesuffix("_LO"): word | self.words.get(name.replace("_LO", "_HI"), 0) << 32
                         if name.endswith("_LO") else word for name, word in self.words.items()}
            self.cycles = self.work = 0
            self.many = GoldenMany(self.config, self.memory, registers)
        elif name in ("SUBMIT_TAIL", "COMPLETE_HEAD"):
            self.many.ring(self.many.submission if name == "SUBMIT_TAIL" else self.many.completion, value)
        elif name == "IRQ_STATUS":
            self.interrupt = False

    def read(self, address):
        config, name = self.config, NAMES[address]
        values = {"SHAPE": config.bus_bytes << 16 | config.rows << 8 | config.lanes, "SHAPE2": config.act_bits,
                  "CYCLES_LO": self.cycles, "WORK_LO": self.work, "BEATS_LO": 3 * self.work // 2}
        if name == "STATUS":
            return ERROR | self.many.status << 8 if self.many and self.many.status else 0
        if name == "SUBMIT_HEAD":
            return self.many.submission.head
        return values.get(name, 0)

    def run(self, limit):
        """Passes, whole ones, until one of them has a completion."""
        end = self.cycles + limit
        while self.cycles < end and not self.interrupt:
            if endless := self.hook(self):
                self.work += 1
            if endless or self.many.step() is None and not self.many.status:
                self.cycles = end
            else:
                self.cycles, self.work = self.cycles + PASS, self.work + PASS // 2
            tail = self.many.completion.tail
            self.interrupt, self.told = tail != self.told or bool(self.many.status), tail
