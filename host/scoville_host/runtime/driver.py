"""The driver: a sequence on the chip, through its registers alone. A simulator and a board differ only in the bus."""

from typing import Protocol

import numpy as np
from scoville.registers import REGISTERS, STALLS, Status, address_of
from scoville.sampler.temperature import inverse_temperature

from ..errors import ChipError, RequestError

__all__ = ["Bus", "Driver", "fault", "temperature_bits"]

RUNNING, DONE, ERROR, RESETTING = 1, 2, 4, 32  # STATUS bits
START, RESET = 1, 2  # CONTROL bits
PATIENCE = 100_000  # reads of STATUS until a soft reset has to be over
INTERRUPTS = 7  # token, done, error
STOPS = 4  # stop-token registers; a text that further tokens end is ended here, by a reset
NO_TOKEN = 0xFFFFFFFF


class Bus(Protocol):
    """32-bit registers."""

    def read(self, address: int) -> int: ...

    def write(self, address: int, value: int) -> None: ...


def temperature_bits(temperature):
    """The TEMPERATURE register: FP32 of 1/(T ln 2), 0 for arg-max.

    Raises
    ------
    RequestError
        If the register cannot hold it.
    """
    try:
        return int(inverse_temperature(temperature).view(np.uint32))
    except ValueError as error:
        raise RequestError(str(error)) from None


def fault(status, address):
    """What stopped the chip, by its registers STATUS and ERROR_ADDRESS."""
    code = status >> 8 & 255
    name = Status(code).name if code in list(Status) else f"code {code}"
    if code == Status.SETTING and (refused := [each.name for each in REGISTERS if each.address == address]):
        return f"the chip stopped: {name}, it refused a write of register {refused[0]}"
    return f"the chip stopped: {name} at {address:#x}"


class Driver:
    """Programs the chip and reads what it found.

    Parameters
    ----------
    bus : `Bus`.
    image : `Image`, already in the chip's memory.
    """

    def __init__(self, bus, image):
        self.bus, self.image = bus, image
        self.stops, self.counted = frozenset(), None  # stop tokens that the chip has no register for; a text's counts

    def read(self, name):
        """A register; of a pair _LO, _HI, both."""
        try:
            return self.bus.read(address_of(name))
        except KeyError:
            return self.bus.read(address_of(f"{name}_LO")) | self.bus.read(address_of(f"{name}_HI")) << 32

    def write(self, name, value):
        """A register; of a pair _LO, _HI, both."""
        try:
            self.bus.write(address_of(name), value)
        except KeyError:
            self.bus.write(address_of(f"{name}_LO"), value & 0xFFFFFFFF)
            self.bus.write(address_of(f"{name}_HI"), value >> 32)

    def check(self):
        """Refuse a chip of another shape than the image was compiled for."""
        shape, config = self.read("SHAPE"), self.image.config
        found = (shape >> 16, shape >> 8 & 255, shape & 255, self.read("SHAPE2") & 255)
        if found != (config.bus_bytes, config.rows, config.lanes, config.act_bits):
            raise RequestError(f"the chip has a bus of {found[0]} bytes, {found[1]} rows, {found[2]} lanes and "
                               f"activations of {found[3]} bits; the image is for configuration {config.name}")

    def start(self, prompt_length, max_new, *, position=0, temperature=0.0, seed=0, stop_ids=(), logits=True,
              watchdog=0):
        """Set everything up and start; the prompt, and the pages of the positions before it, are in memory.

        The chip stops at the first four of `stop_ids` by itself, `poll` at the others.
        """
        own, self.stops, self.counted = stop_ids[:STOPS], frozenset(stop_ids[STOPS:]), None
        for name, value in self.image.registers.items():
            self.write(name, value)
        if not logits:
            self.write("LOGITS", 0)
        self.write("PROMPT_LENGTH", prompt_length)
        self.write("POSITION", position)
        self.write("MAX_NEW", max_new)
        self.write("STOP_COUNT", len(own))
        for index, token in enumerate(own):
            self.write(f"STOP{index}", token)
        self.write("TEMPERATURE", temperature_bits(temperature))
        self.write("SEED", seed)
        self.write("WATCHDOG", watchdog)
        self.write("IRQ_STATUS", INTERRUPTS)
        self.write("IRQ_ENABLE", INTERRUPTS)
        self.write("CONTROL", START)

    def reset(self):
        """A soft reset: what runs is stopped, and a fault cleared. Settings stay.

        Raises
        ------
        ChipError
            If the memory never answers, so that the reset cannot be carried out.
        """
        self.write("CONTROL", RESET)
        for _ in range(PATIENCE):
            if not self.read("STATUS") & RESETTING:
                return
        raise ChipError("the chip does not stop: its memory does not answer; reset the board")

    def acknowledge(self):
        """Take the interrupt back."""
        self.write("IRQ_STATUS", INTERRUPTS)

    def poll(self):
        """Tokens that have come, and whether the sequence is over: (list, bool).

        A stop token that the chip knows nothing of ends it with a reset: a token comes after all of its pass, so what
        belongs to it is in memory, and what the chip has begun behind it is dropped.

        Raises
        ------
        ChipError
            If the chip stopped with an error.
        """
        status = self.read("STATUS")  # before the tokens: those of a finished sequence are all there
        tokens = []
        while (token := self.read("TOKEN")) != NO_TOKEN:
            tokens.append(token)
            if token in self.stops:
                self.counted = self.counters()
                self.reset()
                return tokens, True
        if status & ERROR:
            raise ChipError(fault(status, self.read("ERROR_ADDRESS")))
        return tokens, bool(status & DONE) and not status & RUNNING

    def counters(self):
        """Cycle counters of the sequence: dict with cycles, prefill_cycles, beats, work and stalls (a dict)."""
        if self.counted is not None:
            return self.counted
        names = {"cycles": "CYCLES", "prefill_cycles": "PREFILL_CYCLES", "beats": "BEATS", "work": "WORK"}
        found = {key: self.read(name) for key, name in names.items()}
        stalls = {}
        for index, reason in enumerate(STALLS):
            self.write("STALL_SELECT", index)
            stalls[reason] = self.read("STALL")
        return found | {"stalls": stalls}
