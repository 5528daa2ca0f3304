"""The backend ``golden``: the numpy model of the chip."""

import time

from .backend import Result
from .history import fill_history

__all__ = ["GoldenBackend"]


class GoldenBackend:
    """The numpy model of the chip."""

    name = "golden"

    def generate(self, image, prompt_ids, max_new, *, position=0, temperature=0.0, seed=0, stop_ids=(),
                 on_token=None):
        """See `backend.Backend`."""
        from scoville.golden import GoldenChip

        start = time.perf_counter()
        memory = image.allocate()
        fill_history(image, memory, position)
        chip = GoldenChip(image.config, memory, image.registers, base=image.base)
        result = chip.run(list(prompt_ids), max_new, stop_ids=tuple(stop_ids), temperature=temperature, seed=seed,
                          on_token=on_token, position=position)
        return Result(tokens=list(map(int, result.tokens)), logits=result.logits, seconds=time.perf_counter() - start)
