"""The golden model of many sequences behind registers and memory, as a chip would be."""

from ..driver import ERROR, START
from .pool import PoolLog

__all__ = ["GoldenMachine"]


class GoldenMachine:
    """See `machine.Machine`; its clock counts passes.

    Parameters
    ----------
    plan : Plan
    """

    name, unit, rate, beats, counters = "golden", "passes", 1.0, None, None

    def __init__(self, plan):
        self.plan, self.memory, self.settings = plan, plan.allocate(), {}
        self.time = self.seats = 0
        self.pool = PoolLog()
        self.chip = None

    def read(self, name):
        if name == "STATUS":
            return ERROR | self.chip.status << 8 if self.chip.status else 0
        return {"SUBMIT_HEAD": lambda: self.chip.submission.head, "COMPLETE_TAIL": lambda: self.chip.completion.tail,
                "ERROR_ADDRESS": lambda: 0}[name]()

    def write(self, name, value):
        from scoville.golden_many import GoldenMany

        if name == "SUBMIT_TAIL":
            self.chip.ring(self.chip.submission, value)
        elif name == "COMPLETE_HEAD":
            self.chip.ring(self.chip.completion, value)
        elif name == "CONTROL" and value == START:
            self.chip = GoldenMany(self.plan.config, self.memory, self.settings, base=self.plan.image.base)
        else:
            self.settings[name] = value

    def store(self, address, data):
        start = address - self.plan.image.base
        self.memory[start:start + len(data)] = bytearray(data)

    def fetch(self, address, size):
        start = address - self.plan.image.base
        return self.memory[start:start + size].tobytes()

    def reset(self):
        self.store(self.plan.image.base, self.plan.image.memory)

    def wait(self, until=None):
        """A pass, if there is something to compute."""
        done = self.chip.step()
        if done is not None:
            self.time += 1
            self.seats += sum(len(run.tokens) for run in done.runs)
            self.pool.note(self.time, self.chip.kv, [slot.index for slot in self.chip.scheduler.parked])
        return done is not None or bool(self.chip.status) or len(self.chip.completion) > 0
