"""The backend ``rtl``: the Verilated chip, driven through its registers as a board would be."""

import time

import numpy as np

from ..errors import ChipError, RequestError
from .backend import Result
from .driver import Driver
from .history import fill_history

__all__ = ["DEFAULT_MEMORY", "RtlBackend", "as_host_error", "check_memory", "memory_limit"]

DEFAULT_MEMORY = "ideal"
WATCHDOG = 1_000_000  # cycles without progress: far above any memory latency
SLICE = 10_000_000  # cycles between two looks at an interrupt that does not come
SLICES = 1000
RECORD = 1 << 22  # changes of the trace port that are kept, 16 bytes each: at least as many cycles


def check_memory(name):
    """The timing of a named memory; RequestError, with the names there are, if there is none."""
    from scoville_sim import get_memory

    try:
        return get_memory(name)
    except ValueError as error:
        raise RequestError(str(error)) from None


def as_host_error(error):
    """A `SimError` as an error of the host: the user's settings were wrong, or the run failed."""
    from scoville_sim import SettingError

    return (RequestError if isinstance(error, SettingError) else ChipError)(str(error))


def memory_limit(name, bus_bytes):
    """Beats a cycle that a named memory gives a plain stream on a bus of so many bytes.

    Raises
    ------
    ChipError, RequestError
        If the memory's model cannot be built.
    """
    from scoville_sim import SimError, measured_limit

    try:
        return measured_limit(check_memory(name), bus_bytes)
    except SimError as error:
        raise as_host_error(error) from None


class RtlBackend:
    """Simulates the chip cycle by cycle.

    Parameters
    ----------
    memory : name of a memory timing; see `scoville_sim.MEMORIES`.
    seed : of the memory's random stalls. No result bit depends on either.
    waves : path of a VCD file to write, or None.
    record : whether to record the chip's trace port: `Result.activity`.
    report : called with a line of text before anything slow happens.
    """

    name = "rtl"

    def __init__(self, memory=None, seed=0, waves=None, record=False, report=lambda line: None):
        self.timing = check_memory(memory or DEFAULT_MEMORY)
        self.seed, self.waves, self.record, self.report = seed, waves, record, report

    def generate(self, image, prompt_ids, max_new, *, position=0, temperature=0.0, seed=0, stop_ids=(),
                 on_token=None):
        """See `backend.Backend`.

        Raises
        ------
        ChipError, RequestError
            If the chip cannot be built, breaks a rule of its buses or stops with an error.
        """
        from scoville_sim import SimError, VerilatedChip

        if image.config.slots > 1:
            raise RequestError(f"configuration {image.config.name} has {image.config.slots} slots and takes prompts "
                               "from a ring; it must be several --prompt or --prompts FILE (bench: --batch), or a "
                               "configuration of one slot")
        self.report(f"simulating configuration {image.config.name}")
        try:
            with VerilatedChip(image.config, image.base + image.size, timing=self.timing, seed=self.seed,
                               waves=self.waves) as chip:
                return self._run(chip, image, prompt_ids, max_new, on_token,
                                 {"position": position, "temperature": temperature, "seed": seed, "stop_ids": stop_ids})
        except SimError as error:
            raise as_host_error(error) from None

    def _run(self, chip, image, prompt_ids, max_new, on_token, settings):
        chip.load(image.base, image.memory)
        chip.load(image.registers["PROMPT"], np.array(prompt_ids, np.uint32))
        fill_history(image, chip.memory[image.base:], settings["position"])
        driver = Driver(chip, image)
        driver.check()
        if self.record:
            chip.record(RECORD)
        start = time.perf_counter()
        driver.start(len(prompt_ids), max_new, watchdog=WATCHDOG, **settings)
        tokens, done = [], False
        while not done:
            self._wait(chip)
            driver.acknowledge()  # before the tokens are taken: one that comes after them raises the interrupt again
            fresh, done = driver.poll()
            for token in fresh:
                tokens.append(token)
                if on_token:
                    on_token(token)
        seconds = time.perf_counter() - start
        rows = image.region(chip.memory[image.base:], "logits").reshape(-1, image.registers["LOGITS_STRIDE"])
        logits = rows[:len(tokens)].view(np.float32)[:, :image.vocab].copy()
        return Result(tokens=tokens, logits=logits, seconds=seconds, activity=chip.recorded if self.record else None,
                      **driver.counters())

    @staticmethod
    def _wait(chip):
        for _ in range(SLICES):
            chip.run(SLICE)
            if chip.interrupt:
                return
        raise ChipError(f"no interrupt for {SLICE * SLICES:,} cycles")
