"""A load for any server with OpenAI's API: requests of a trace, streamed, and how they were served."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import numpy as np

from ..errors import ChipError, RequestError
from ..runtime.many.measure import distribution

__all__ = ["Goal", "Outcome", "drive", "figures", "prompts_for"]

WORDS = ("the dog sun tree ball house little big went to saw and was happy with a friend in park one day they played "
         "found looked said ran home").split()
STEMS = 4  # beginnings that prompts share
SECONDS = 600  # that a request may take


@dataclass
class Outcome:
    """What became of a request; times are seconds since the load began.

    Members
    -------
    due, sent : when it was to be sent, and was
    times : of each part that had text
    prompt, tokens : as the server counted them
    unit, chip : of each token, the time on the chip's clock since the request came to it; None where no chip says so
    error : one line, or None
    """

    due: float
    sent: float = 0.0
    times: list = field(default_factory=list)
    prompt: int = 0
    tokens: int = 0
    unit: str | None = None
    chip: list | None = None
    error: str | None = None

    @property
    def first(self):
        return self.times[0] - self.sent

    @property
    def between(self):
        return np.diff(self.times).tolist()


@dataclass(frozen=True)
class Goal:
    """A request is served well if its first token, and in the mean the others, come within so many seconds."""

    first: float
    between: float

    def met(self, outcome):
        return not outcome.error and bool(outcome.times) and outcome.first <= self.first and (
            len(outcome.times) < 2 or float(np.mean(outcome.between)) <= self.between)


def prompts_for(trace, shared, seed):
    """A text for each request, about a token a word; a part of them begins with one of a few stems.

    Parameters
    ----------
    trace : list of Arrival
    shared : the part, 0 to 1
    """
    rng = np.random.default_rng(seed)
    longest = max(one.prompt for one in trace)
    stems = [rng.choice(WORDS, longest).tolist() for _ in range(STEMS)]
    found = []
    for one in trace:
        words = rng.choice(WORDS, one.prompt).tolist()
        stem = stems[rng.integers(STEMS)][:one.prompt // 2] if rng.random() < shared else []
        found.append(" ".join([*stem, *words[len(stem):]]))
    return found


async def _one(client, model, prompt, limit, outcome, clock):
    body = {"model": model, "prompt": prompt, "max_tokens": limit, "stream": True,
            "stream_options": {"include_usage": True}}
    outcome.sent = clock()
    try:
        async with client.stream("POST", "completions", json=body) as answer:
            if answer.status_code != 200:
                await answer.aread()
                outcome.error = f"status {answer.status_code}: {answer.text[:200]}".strip()
                return
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    _hear(outcome, json.loads(line[6:]), clock())
    except (httpx.HTTPError, ValueError) as error:
        outcome.error = f"{type(error).__name__}: {error}".strip(": ")


def _hear(outcome, part, now):
    if "error" in part:
        outcome.error = str(part["error"].get("message", part["error"]))
    if any(choice.get("text") for choice in part.get("choices", ())):
        outcome.times.append(now)
    if counts := part.get("usage"):
        outcome.prompt, outcome.tokens = counts["prompt_tokens"], counts["completion_tokens"]
        if told := counts.get("scoville"):
            outcome.unit, outcome.chip = told["unit"], told["times"][0]


async def drive(url, trace, prompts, *, model=None, key=None, done=lambda: None):
    """Send each request of a trace when it is due; list of Outcome, in their order.

    Parameters
    ----------
    url : of the API, such as http://127.0.0.1:8000/v1
    trace : list of Arrival, the first to come first
    prompts : their texts
    model : a name, or None for the server's first
    key : of the API, or None
    done : called when one has ended

    Raises
    ------
    RequestError
        If there is no such server.
    """
    headers = {"Scoville-Times": "yes"} | ({"Authorization": f"Bearer {key}"} if key else {})
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=SECONDS, limits=limits) as client:
        try:
            found = (await client.get("models")).raise_for_status().json()
            model = model or found["data"][0]["id"]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError) as error:
            raise RequestError(f"--url {url}: no server with OpenAI's API answers ({error})") from None
        outcomes, start = [Outcome(one.arrival) for one in trace], time.monotonic()

        def clock():
            return time.monotonic() - start

        async def when_due(one, prompt, outcome):
            await asyncio.sleep(max(0.0, outcome.due - clock()))
            await _one(client, model, prompt, one.output, outcome, clock)
            done()

        await asyncio.gather(*map(when_due, trace, prompts, outcomes))
    return outcomes


def figures(outcomes, goal):
    """The JSON of a load.

    Raises
    ------
    ChipError
        If nothing was served.
    """
    good = [each for each in outcomes if not each.error and each.times]
    if not good:
        raise ChipError(f"no request was served; the first: {outcomes[0].error or 'no text'}")
    end = max(each.times[-1] for each in good)
    tokens, well = sum(each.tokens for each in good), sum(map(goal.met, outcomes))
    errors = dict(Counter(each.error for each in outcomes if each.error))
    return {"requests": len(outcomes), "served": len(good), "errors": errors, "seconds": end,
            "prompt_tokens": sum(each.prompt for each in good), "generated_tokens": tokens,
            "tokens_per_second": tokens / end, "requests_per_second": len(good) / end,
            "goodput": well / end, "served_well": well, "first_within": goal.first, "between_within": goal.between,
            "first_token": distribution([each.first for each in good]),
            "between_tokens": distribution([gap for each in good for gap in each.between]), "chip": _chip(good)}


def _chip(outcomes):
    """The same on the chip's clock, or None."""
    told = [each for each in outcomes if each.chip]
    if not told:
        return None
    return {"unit": told[0].unit, "first_token": distribution([each.chip[0] for each in told]),
            "between_tokens": distribution([gap for each in told for gap in np.diff(each.chip).tolist()])}
