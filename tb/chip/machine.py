"""A Verilated chip with an image in its memory, driven as a host would drive it."""

import numpy as np
from scoville.control.activity import unpack
from scoville.registers import STALLS, Status
from scoville_host.runtime.driver import DONE, ERROR, INTERRUPTS, NO_TOKEN, RUNNING, Driver
from scoville_sim import MemoryTiming, SimError, VerilatedChip

__all__ = ["FAST", "Machine"]

FAST = MemoryTiming(read_latency=5, write_latency=5)  # saves cycles where timing is not what is tested
SATURATED, IDLE_BUS = 8, 16
PATIENCE = 4_000_000  # cycles
QUIET = 50_000  # cycles without a beat in which a chip that runs would have had one


class Machine:
    """A chip, its memory and its driver.

    Parameters
    ----------
    image : `Image`
    timing, seed : of the memory
    spare : bytes of memory behind the image that its window does not allow
    """

    def __init__(self, image, *, timing=FAST, seed=0, spare=0):
        self.image = image
        self.chip = VerilatedChip(image.config, image.size + spare, timing=timing, seed=seed)
        self.chip.load(0, image.memory)
        self.driver = Driver(self.chip, image)
        self.driver.check()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.chip.close()

    def region(self, name):
        return self.image.region(self.chip.memory, name)

    def start(self, prompt, max_new, **settings):
        """Put the prompt into memory and start; the keywords that are registers (upper case) are written last."""
        overrides = {name: settings.pop(name) for name in list(settings) if name.isupper()}
        self.chip.load(self.image.registers["PROMPT"], np.array(prompt, np.uint32))
        if overrides:
            registers = self.image.registers
            self.image.registers = registers | overrides
            try:
                self.driver.start(len(prompt), max_new, **settings)
            finally:
                self.image.registers = registers
        else:
            self.driver.start(len(prompt), max_new, **settings)

    def wait(self, cycles=PATIENCE):
        """Run to the next interrupt, and take it back: its bits. A chip that hangs is told from one that is slow."""
        before, passed = None, 0
        while not self.chip.interrupt:
            counters = self.chip.counters
            beats = counters["read_beats"], counters["write_beats"]
            assert beats != before, f"no beat on the memory bus for {QUIET} cycles; {self.state()}"
            assert passed < cycles, f"no interrupt for {cycles} cycles; {self.state()}"
            before = beats
            passed += self.chip.run(min(QUIET, cycles - passed))
        bits = self.chip.read("IRQ_STATUS")
        self.chip.write("IRQ_STATUS", bits)
        return bits

    def state(self):
        """What a chip that hangs is doing, a line for the chip, its units, and each channel of its buses."""
        activity = unpack(self.chip.activity)
        stalls = dict(enumerate(STALLS, 1)) | {0: "work", 31: "no sequence"}
        busy = [name for name, value in activity.items() if value and name != "charged"]
        try:
            status = f"STATUS {self.chip.read('STATUS'):#x}"
        except SimError as error:
            status = str(error)
        lines = [f"cycle {self.chip.cycles}, {status}",
                 f"charged to {stalls.get(activity['charged'])}; busy: {', '.join(busy) or 'no unit'}"]
        lines += [f"{name}: valid={valid} ready={ready}" for name, (valid, ready) in self.chip.handshakes.items()]
        return "\n  ".join(lines)

    def finish(self):
        """Take tokens until the sequence is over: (tokens, logits)."""
        tokens, done = [], False
        while not done:
            assert self.wait() & ~ERROR
            fresh, done = self.driver.poll()
            tokens += fresh
        return tokens, self.logits(len(tokens))

    def run(self, prompt, max_new, **settings):
        """A whole sequence: (tokens, logits)."""
        self.start(prompt, max_new, **settings)
        return self.finish()

    def logits(self, count):
        """The logits in memory, float32 ``[count, vocab]``."""
        rows = self.region("logits").reshape(-1, self.image.registers["LOGITS_STRIDE"])[:count]
        return np.ascontiguousarray(rows).view(np.float32)[:, :self.image.vocab].copy()

    def fail(self):
        """Run until the chip stops with an error: (`Status`, ERROR_ADDRESS, tokens before it)."""
        while not self.wait() & ERROR:
            assert not self.chip.read("STATUS") & DONE, "the sequence ended without an error"
        status = self.chip.read("STATUS")
        self.chip.step(4)
        assert status & ERROR and not self.chip.read("STATUS") & RUNNING
        tokens = []
        while (token := self.chip.read("TOKEN")) != NO_TOKEN:
            tokens.append(token)
        return Status(status >> 8 & 255), self.driver.read("ERROR_ADDRESS"), tokens

    def soft_reset(self, cycles=20000):
        """Ask for a reset, and wait until it has happened."""
        self.chip.write("CONTROL", 2)
        for _ in range(cycles // 100):
            self.chip.step(100)
            if self.chip.read("STATUS") == IDLE_BUS:
                self.chip.write("IRQ_STATUS", INTERRUPTS)
                return
        raise AssertionError(f"no reset within {cycles} cycles; STATUS {self.chip.read('STATUS'):#x}")

    def counters_add_up(self):
        """Whether every cycle of the sequence is charged once."""
        counters = self.driver.counters()
        assert set(counters["stalls"]) == set(STALLS)
        return counters["work"] > 0 and counters["work"] + sum(counters["stalls"].values()) == counters["cycles"]
