"""Backends: what turns a compiled model and a prompt into tokens. All of them give the same bits."""

import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import RequestError
from .driver import temperature_bits

__all__ = ["BACKENDS", "Backend", "GoldenBackend", "Result", "check_backend", "check_request", "get_backend"]


@dataclass(kw_only=True, eq=False)
class Result:
    """What a sequence gave.

    Members
    -------
    tokens : generated ids; a stop token counts and is the last.
    logits : float32 ``[len(tokens), vocab]``, those that each token was chosen from; None if a board kept none.
    seconds : wall-clock time.
    cycles, prefill_cycles, decode_cycles : clock cycles: in all, up to the first token, after it; None without a clock.
    activity : what `VerilatedChip.recorded` gave, if asked for.
    beats, work, stalls : bus beats read, cycles in which the array worked, and cycles in which it did not, by reason.
    """

    tokens: list
    logits: np.ndarray | None
    seconds: float
    cycles: int | None = None
    prefill_cycles: int | None = None
    beats: int | None = None
    work: int | None = None
    stalls: dict | None = None
    activity: tuple | None = None

    @property
    def decode_cycles(self):
        return None if self.cycles is None else self.cycles - self.prefill_cycles


class Backend(Protocol):
    """Runs an image."""

    name: str

    def generate(self, image, prompt_ids, max_new, *, position=0, temperature=0.0, seed=0, stop_ids=(),
                 on_token=None) -> Result:
        """Process the prompt and generate; `on_token` is called with each token as it comes.

        The prompt begins at `position`; the KV pages before it hold what `history.fill_history` wrote.
        """


def check_request(image, prompt_ids, max_new, temperature=0.0, position=0):
    """Refuse what no backend could run, and cut `max_new` to the positions that are left.

    Returns
    -------
    Most tokens to generate: the last one needs no position of its own.

    Raises
    ------
    RequestError
    """
    if not len(prompt_ids):
        raise RequestError("the prompt is empty; it must have at least one token")
    if len(prompt_ids) > image.context:
        raise RequestError(f"the prompt has {len(prompt_ids)} tokens; the context is {image.context} (see --context)")
    if not 0 <= position <= image.context - len(prompt_ids):
        raise RequestError(f"the prompt begins at position {position}; with {len(prompt_ids)} tokens and a context of "
                           f"{image.context}, it must be 0 to {image.context - len(prompt_ids)} (see --context)")
    wrong = [token for token in prompt_ids if not 0 <= token < image.vocab]
    if wrong:
        raise RequestError(f"prompt token {wrong[0]} is outside the vocabulary, 0 to {image.vocab - 1}")
    if max_new < 1:
        raise RequestError(f"{max_new} new tokens; it must be at least 1")
    temperature_bits(temperature)
    return min(max_new, image.context - position - len(prompt_ids) + 1)


class GoldenBackend:
    """The numpy model of the chip."""

    name = "golden"

    def generate(self, image, prompt_ids, max_new, *, position=0, temperature=0.0, seed=0, stop_ids=(),
                 on_token=None):
        from scoville.golden import GoldenChip

        from .history import fill_history

        start = time.perf_counter()
        memory = image.allocate()
        fill_history(image, memory, position)
        chip = GoldenChip(image.config, memory, image.registers, base=image.base)
        result = chip.run(list(prompt_ids), max_new, stop_ids=tuple(stop_ids), temperature=temperature, seed=seed,
                          on_token=on_token, position=position)
        return Result(tokens=list(map(int, result.tokens)), logits=result.logits, seconds=time.perf_counter() - start)


def _rtl(**options):
    from .rtl import RtlBackend

    return RtlBackend(**options)


def _board(*, memory=None, record=False, **options):
    from .board import BoardBackend

    return BoardBackend(**options)


BACKENDS = {"golden": lambda **options: GoldenBackend(), "rtl": _rtl, "board": _board}


def check_backend(name, memory=None):
    """Refuse a backend or a memory timing of an unknown name; the message lists those there are."""
    if name not in BACKENDS:
        raise RequestError(f"unknown backend {name!r}; there are: {', '.join(BACKENDS)}")
    if memory is not None:
        from .rtl import check_memory

        check_memory(memory)


def get_backend(name, **options):
    """The named backend; `options` are those of the simulation and mean nothing to the golden model."""
    check_backend(name)
    return BACKENDS[name](**options)
