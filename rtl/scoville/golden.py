"""The golden model: the whole chip in numpy, bit for bit.

It executes the same program from the same memory as the RTL, and is a composition of the units' own models. A result
does not depend on the number of lanes, so the model takes as many tokens a pass as is fast.
"""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from .control.legality import Legality, Refused
from .golden_memory import GoldenMemory, OutsideMemory
from .golden_pages import PageFault
from .golden_pass import Part, Pass
from .isa import INSTRUCTION_BYTES, Dest, Opcode, decode
from .registers import Status, fits
from .sampler import sampler
from .sampler.temperature import inverse_temperature

__all__ = ["ContextOverrun", "GoldenChip", "GoldenResult", "PageFault", "Refused", "failure"]

LANES = 16  # tokens a pass, unless told otherwise


class GoldenResult(NamedTuple):
    """Generated tokens, and the float32 logits ``[len(tokens), vocab]`` that each was chosen from."""

    tokens: list
    logits: np.ndarray


@contextmanager
def failure(chip):
    """What ends a model's run becomes its `status`."""
    try:
        yield
    except PageFault:
        chip.status = Status.PAGE_FAULT
    except ContextOverrun:
        chip.status = Status.CONTEXT
    except OutsideMemory:
        chip.status = Status.WINDOW
    except Refused as refused:
        chip.status = refused.status


class GoldenChip:
    """The chip's model.

    Parameters
    ----------
    config : ChipConfig; ``act_bits`` is all that matters to the results, ``bus_bytes`` to the layout of the memory.
    memory : uint8 array; KV appends are written to it.
    registers : dict with the values of the registers PROGRAM, KV_BASE, KV_PAGES, KV_PAGE_BYTES and CONTEXT, and
        perhaps others; addresses are whole. With one that does not fit, no sequence runs: `Status.SETTING`.
    base : address of ``memory[0]``

    Members
    -------
    program : the instructions, as dicts of fields; the last is END, or None where there is no such opcode
    vocab : logits of a token
    status : `Status`, why the last `run` ended
    """

    def __init__(self, config, memory, registers, *, base=0):
        self.config = config
        self.program, self.vocab, self.status = [], 0, Status.OK
        self.refused = not all(fits(config, name, value) for name, value in registers.items())
        if self.refused:
            return
        self.context = registers["CONTEXT"]
        window = (registers["WINDOW_BASE"], registers["WINDOW_LIMIT"]) if "WINDOW_LIMIT" in registers else None
        self.memory = GoldenMemory(config, memory, base=base, kv_base=registers["KV_BASE"],
                                   kv_pages=registers["KV_PAGES"], kv_page_bytes=registers["KV_PAGE_BYTES"],
                                   window=window)
        self.program = self._fetch(registers["PROGRAM"])
        self.vocab = next((i["limit"] for i in self.program if i and i.get("dest") == Dest.LOGITS), 0)
        self.page_bytes = registers["KV_PAGE_BYTES"]

    def _fetch(self, address):
        program = []
        while not program or (program[-1] and program[-1]["opcode"] is not Opcode.END):
            word = self.memory.view(address, INSTRUCTION_BYTES).tobytes()
            program.append(decode(word) if word[0] & 15 in list(Opcode) else None)
            address += INSTRUCTION_BYTES
        return program

    def run(self, prompt_ids, max_new_tokens, stop_ids=(), temperature=0.0, seed=0, on_token=None, lanes=None,
            position=0):
        """Process a prompt and generate, until a stop token, the limit, or an error that `status` tells.

        Parameters
        ----------
        prompt_ids : token ids, at least one
        max_new_tokens : most tokens to generate, at least one; a stop token counts and is the last
        temperature : as for `temperature.inverse_temperature`; 0 for arg-max
        seed : of the sampler
        on_token : called with each token as it comes
        lanes : tokens of the prompt a pass; any value gives the same bits
        position : of the first prompt token; the memory holds the keys and values of those before it

        Returns
        -------
        GoldenResult
        """
        ids = [int(token) for token in prompt_ids]
        lanes = lanes or LANES
        tokens, logits = [], []
        done = 0
        self.status = Status.OK
        if self.refused:
            self.status = Status.SETTING
            return GoldenResult([], np.zeros((0, 0), np.float32))
        with failure(self):
            while not tokens or (len(tokens) < max_new_tokens and tokens[-1] not in stop_ids):
                chunk = ids[done:done + lanes]
                last = done + len(chunk) == len(ids)
                values = self.forward(chunk, position + done, last=last)
                done += len(chunk)
                if last:
                    logits.append(values[-1])
                    tokens.append(sampler.model(values[-1], inverse_temperature(temperature), seed,
                                                position + done - 1))
                    ids.append(tokens[-1])
                    if on_token:
                        on_token(tokens[-1])
        return GoldenResult(tokens, np.array(logits, np.float32).reshape(len(tokens), self.vocab))

    def logits(self, ids, *, lanes=2 * LANES, progress=None):
        """Logits after every token of `ids` (teacher forcing): float32 ``[len(ids), vocab]``.

        Parameters
        ----------
        progress : called with (tokens done, tokens) after each pass

        Raises
        ------
        ContextOverrun
            If there are more tokens than positions.
        """
        result = np.empty((len(ids), self.vocab), np.float32)
        for start in range(0, len(ids), lanes):
            end = min(start + lanes, len(ids))
            result[start:end] = self.forward(ids[start:end], start, last=True)
            if progress:
                progress(end, len(ids))
        return result

    def forward(self, ids, position, *, last):
        """One pass: tokens `ids` at `position` and on. Returns logits ``[len(ids), vocab]``, or None if not `last`.

        Raises
        ------
        ContextOverrun, Refused, PageFault, OutsideMemory
        """
        if position + len(ids) > self.context:
            raise ContextOverrun(f"{position + len(ids)} positions; CONTEXT is {self.context}")
        return self.execute(ids, [Part(len(ids), position, self.memory.cache)], last=last)

    def execute(self, ids, parts, *, last):
        """One pass over tokens of any sequences. Returns logits ``[len(ids), vocab]``, or None if not `last`.

        Parameters
        ----------
        ids : token ids
        parts : list of `Part`, of as many tokens
        last : whether one of them is to choose a token

        Raises
        ------
        Refused, PageFault, OutsideMemory
        """
        state = Pass(self.config, self.memory, ids, parts)
        legality = Legality(self.config)
        seen = {"tokens": len(ids), "last": int(last), "seats": [
            {"position": int(position), "token": token} for position, token in zip(state.positions, ids, strict=True)]}
        for instruction in self.program:
            status = legality.check(instruction, seen, self.page_bytes)
            if status is not Status.OK:
                raise Refused(status)
            if last or not instruction["only_last"]:
                state.execute(instruction)
        return state.logits


class ContextOverrun(Exception):
    """A sequence longer than CONTEXT."""
