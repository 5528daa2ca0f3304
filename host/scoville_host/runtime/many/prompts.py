"""What several users want to be continued: prompts of the command line, or of a file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ...checkpoint.schema import Strict
from ...errors import RequestError
from ..session import Prompt, parse_prompt
from .lines import json_entry, read_lines

__all__ = ["Asked", "read_prompts", "several", "token_ids"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A prompt, and how it is to be continued.

    Members
    -------
    where : what errors about it begin with
    prompt : text, unless there are `ids`
    limit, temperature, seed, priority, tenant : as for `Requests.submit`
    """

    where: str
    prompt: str | None = None
    ids: tuple | None = None
    limit: int
    temperature: float
    seed: int
    priority: int = 0
    tenant: int = 0


class _Line(Strict):
    prompt: str | None = None
    ids: list[int] | None = None
    limit: int | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    seed: int | None = None
    priority: int | None = None
    tenant: int | None = None


def several(prompts, default):
    """Prompts of the command line, each with what `default` (an `Asked`) says besides."""
    return [replace(default, where=f"--prompt {number}", prompt=text) for number, text in enumerate(prompts, 1)]


def read_prompts(path, default):
    """The prompts of a file: a line each. In a file ``*.jsonl`` a line is an object with `prompt` or `ids`, and what
    is to be different from `default`.

    Raises
    ------
    RequestError
    """
    found = []
    for number, line in read_lines(path):
        where = f"{path} line {number}"
        if Path(path).suffix.lower() != ".jsonl":
            found.append(replace(default, where=where, prompt=line))
            continue
        given = json_entry(_Line, where, line).model_dump(exclude_none=True)
        if ("prompt" in given) == ("ids" in given):
            raise RequestError(f"{where}: give either prompt or ids")
        found.append(replace(default, where=where, **given | ({"ids": tuple(given["ids"])} if "ids" in given else {})))
    return found


def token_ids(session, asked, *, system=None, raw=False):
    """The token ids of a prompt: as given, or of its text as ``scoville generate`` takes it."""
    if asked.ids is not None:
        return list(asked.ids)
    return parse_prompt(session, Prompt(text=asked.prompt, system=system, raw=raw))
