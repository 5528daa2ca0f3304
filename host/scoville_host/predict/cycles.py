"""The analytical model: cycles of a run, from the program and the configuration, without simulating the chip."""

from dataclasses import dataclass, field

from scoville.config import PAGE_TOKENS
from scoville.isa import INSTRUCTION_BYTES, Opcode, decode

from .cycle_pass import PassTimer
from .cycle_stream import Memory

__all__ = ["Cycles", "PassCycles", "memory_of", "program_of"]

PLAN = 3  # cycles of the sequence controller before a pass
SAMPLED = 2  # and after one that makes a token
TOKEN = 8  # cycles of reading a prompt token besides the memory's latency


@dataclass
class Cycles:
    """What a sequence takes: cycles in all and up to the first token; those of the array; beats of the stream."""

    cycles: float = 0.0
    prefill: float = 0.0
    work: float = 0.0
    beats: float = 0.0
    stalls: dict = field(default_factory=dict)

    def plus(self, less, more, times):
        """This and, so many times, what `more` has beyond `less`."""
        def line(name):
            return getattr(self, name) + times * (getattr(more, name) - getattr(less, name))

        stalls = {name: self.stalls.get(name, 0) + times * (more.stalls.get(name, 0) - less.stalls.get(name, 0))
                  for name in self.stalls | more.stalls}
        return Cycles(*(line(name) for name in ("cycles", "prefill", "work", "beats")), stalls)


def memory_of(timing, bus_bytes=64, burst=None):
    """The `Memory` that a `scoville_sim.MemoryTiming` is to a reader with a bus of so many bytes, and its bursts.

    A DRAM's rate and latency are those that a plain stream through the simulated memory has.
    """
    from scoville_sim import measured_latency, measured_limit

    if timing.dram:
        rate = measured_limit(timing, bus_bytes, burst)
    else:
        refresh = timing.refresh_cycles / timing.refresh_interval if timing.refresh_interval else 0
        rate = min(1, timing.beats / timing.period) * (1 - refresh)
    return Memory(rate=rate, shared=timing.dram is not None or timing.beats <= timing.period,
                  read_latency=measured_latency(timing, bus_bytes), write_latency=timing.write_latency)


def program_of(image):
    """The instructions of an image up to its END, decoded."""
    region = image.regions["program"]
    data = image.memory[region.address - image.base:][:region.size].tobytes()
    program = []
    for at in range(0, len(data), INSTRUCTION_BYTES):
        program.append(decode(data[at:at + INSTRUCTION_BYTES]))
        if program[-1]["opcode"] is Opcode.END:
            return program, region.address
    raise ValueError("the program has no END")


class PassCycles:
    """Cycles of passes; those that differ in nothing that counts are computed once. `patience` : see `Steady`."""

    def __init__(self, image, memory, patience=None):
        self.patience = patience
        self.config, self.memory = image.config, memory
        self.program, self.address = program_of(image)
        self.known = {}

    def timed(self, position, tokens, last):
        """The `PassTimer` of a pass."""
        key = position // PAGE_TOKENS, (position + tokens - 1) // PAGE_TOKENS, tokens, last
        if key not in self.known:
            self.known[key] = PassTimer(self.config, self.memory, self.program, self.address, position, tokens, last,
                                        self.patience)
        return self.known[key]

    def sequence(self, every, prompt_tokens):
        """A sequence of passes (position, tokens, makes a token), of which the first take `prompt_tokens`.

        Returns
        -------
        `Cycles`
        """
        found = Cycles()
        left = prompt_tokens
        for position, tokens, last in every:
            timer = self.timed(position, tokens, last)
            prompt = tokens * (self.memory.read_latency + TOKEN) if left > 0 else 0
            between = {"prompt": prompt, "sampling": PLAN + last * SAMPLED}
            cycles = timer.cycles + sum(between.values())
            found.prefill += cycles * (left > 0)
            left -= tokens
            found.cycles += cycles
            found.work += timer.stream.work
            found.beats += timer.stream.beat
            for name, count in (timer.stalls() | between).items():
                found.stalls[name] = found.stalls.get(name, 0) + count
        return found
