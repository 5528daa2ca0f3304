"""What every backend takes and gives: a compiled model and a prompt, and tokens. All of them give the same bits."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import RequestError
from .driver import temperature_bits

__all__ = ["Backend", "Result", "check_request"]


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
