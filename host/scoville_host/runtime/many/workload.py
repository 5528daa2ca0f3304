"""Traces of requests: when each comes, and the tokens of its prompt and of its output."""

import csv
import json
import math
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from ...checkpoint.schema import Strict
from ...errors import RequestError
from ...files import write_text
from .lines import json_entry, read_lines

__all__ = ["Arrival", "poisson", "read_trace", "write_trace"]

# What public traces call the columns: Azure's LLM inference traces, BurstGPT.
COLUMNS = {"arrival": ("arrival", "TIMESTAMP", "Timestamp"), "prompt": ("prompt", "ContextTokens", "Request tokens"),
           "output": ("output", "GeneratedTokens", "Response tokens")}


@dataclass(frozen=True)
class Arrival:
    """A request: seconds since the begin, tokens of its prompt and of its output."""

    arrival: float
    prompt: int
    output: int


class _Line(Strict):
    arrival: Annotated[float, Field(ge=0)]
    prompt: Annotated[int, Field(ge=1)]
    output: Annotated[int, Field(ge=1)]


def poisson(count, rate, *, prompt_mean, output_mean, sigma, longest, seed):
    """Requests that come independently, `rate` a second, with log-normal lengths of so much mean.

    Parameters
    ----------
    sigma : standard deviation of the logarithms of lengths; the mean stays what it is
    longest : tokens of a request; a prompt is cut to half of them, an output to what is left. So means become smaller

    Raises
    ------
    RequestError
        If a number makes no sense.
    """
    for name, value, least in (("requests", count, 1), ("longest", longest, 2)):
        if value < least:
            raise RequestError(f"--{name} is {value}; it must be at least {least}")
    for name, value in (("rate", rate), ("prompt-mean", prompt_mean), ("output-mean", output_mean)):
        if not 0 < value < math.inf:
            raise RequestError(f"--{name} is {value}; it must be above 0")
    if not 0 <= sigma <= 8:
        raise RequestError(f"--sigma is {sigma}; it must be 0 to 8")
    if seed < 0:
        raise RequestError(f"--seed is {seed}; it must be at least 0")
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, count))
    lengths = rng.lognormal(np.log([prompt_mean, output_mean]) - sigma * sigma / 2, sigma, (count, 2))
    prompts = np.clip(np.rint(lengths[:, 0]), 1, longest // 2).astype(int)
    outputs = np.clip(np.rint(lengths[:, 1]), 1, longest - prompts).astype(int)
    return [Arrival(round(float(at), 6), int(prompt), int(output))
            for at, prompt, output in zip(arrivals, prompts, outputs, strict=True)]


def write_trace(path, trace):
    """A line of JSON a request."""
    write_text(path, "".join(json.dumps(asdict(one)) + "\n" for one in trace))


def read_trace(path):
    """The requests of a file, the first to come first: JSON as `write_trace` has it, or in a file ``*.csv`` a table
    with the columns of a public trace; its times count from the first.

    Raises
    ------
    RequestError
        With the first line that is wrong.
    """
    lines = read_lines(path)
    if Path(path).suffix.lower() == ".csv":
        found = _table(path, lines)
    else:
        found = [Arrival(**json_entry(_Line, f"{path} line {number}", line).model_dump()) for number, line in lines]
    return sorted(found, key=lambda one: one.arrival)


def _table(path, lines):
    (_, header), *rest = lines
    names = next(csv.reader([header]))
    places = {}
    for field, columns in COLUMNS.items():
        place = next((names.index(column) for column in columns if column in names), None)
        if place is None:
            raise RequestError(f"{path}: no column {' or '.join(columns)}")
        places[field] = place
    found = []
    for number, line in rest:
        cells = next(csv.reader([line]))
        try:
            tokens = [int(cells[places[name]]) for name in ("prompt", "output")]
            found.append(Arrival(_seconds(cells[places["arrival"]]), *tokens))
        except (IndexError, ValueError):
            raise RequestError(f"{path} line {number}: must have a time and two whole numbers") from None
        if min(tokens) < 1:
            raise RequestError(f"{path} line {number}: {tokens[0]} prompt and {tokens[1]} output tokens; each must be "
                               "at least 1")
    if not found:
        raise RequestError(f"{path}: no request")
    first = min(one.arrival for one in found)
    return [Arrival(one.arrival - first, one.prompt, one.output) for one in found]


def _seconds(text):
    """Seconds, or a date and a time."""
    try:
        value = float(text)
    except ValueError:
        value = datetime.fromisoformat(text.strip()).timestamp()
    if not math.isfinite(value):
        raise ValueError(text)
    return value
