"""The choices of one request: its jobs, and what comes of them as text."""

import asyncio
import secrets
import time

from scoville.schedule.records import Reason

from ..errors import ChipError, RequestError
from .engine import Busy, Closing, Job
from .errors import ApiError
from .text import StopText

__all__ = ["Choices"]

REASONS = {Reason.STOP: "stop", Reason.LENGTH: "length", Reason.CONTEXT: "length", Reason.CANCELLED: "stop"}


class Choices:
    """Asks the engine for the choices of a request, and has their parts in the order in which they come.

    Parameters
    ----------
    engine, session, measures : Engine, Session, Measures
    request : of `schemas`
    prompts : lists of token ids; each has ``request.choices`` choices, numbered on
    tenant : int

    Members
    -------
    tokens : of each choice, that count
    cached : tokens of the prompts that others had computed
    """

    def __init__(self, engine, session, measures, request, prompts, tenant):
        self._engine, self._tokenizer, self._measures = engine, session.tokenizer, measures
        self._loop, self._come = asyncio.get_running_loop(), asyncio.Queue()
        self._ends = set(session.stop_ids())
        self._since = time.monotonic()
        context = session.image.context
        seed = secrets.randbits(63) if request.seed is None else request.seed % (1 << 64)
        self.jobs, self._texts = [], []
        for prompt in prompts:
            limit = request.limit or max(1, context - len(prompt))
            for number in range(request.choices):
                settings = {"temperature": request.heat, "seed": (seed + number) % (1 << 64), "tenant": tenant,
                            "stops": session.stop_ids()}
                index = len(self.jobs)
                self.jobs.append(Job(prompt=prompt, limit=limit, top=request.top, settings=settings,
                                     tell=lambda what, index=index: self._tell(index, what)))
                self._texts.append(StopText(self._tokenizer, request.stops))
        self.tokens, self._last = [0] * len(self.jobs), [None] * len(self.jobs)
        self._logs = [[] if job.top is not None else None for job in self.jobs]
        self._open = set(range(len(self.jobs)))

    @property
    def cached(self):
        return sum(job.sequence.shared for job in self.jobs if job.sequence is not None)

    @property
    def times(self):
        """Of each choice, the chip's time from when it came to the driver to each of its tokens; `unit` beside."""
        return {"unit": self.jobs[0].unit, "times": [[time - job.since for time in job.sequence.times]
                                                     if job.sequence else [] for job in self.jobs]}

    @property
    def more(self):
        """Whether the next part is there already, or none comes any more."""
        return not self._come.empty() or not self._open

    def begin(self):
        """Give all jobs to the engine, or none; ApiError if it takes none."""
        given = []
        try:
            for job in self.jobs:
                self._engine.submit(job)
                given.append(job)
        except (Busy, Closing, ChipError) as error:
            for job in given:
                self._engine.cancel(job)
            raise as_api_error(error) from None

    def cancel(self):
        """End what has not ended; nobody waits for it."""
        for index in self._open:
            self._engine.cancel(self.jobs[index])
            self._measures.ended("abort", time.monotonic() - self._since)
        self._open.clear()

    async def parts(self):
        """(choice, text, its tokens' logarithms or None, reason or None), up to the last choice's reason; ApiError."""
        try:
            while self._open:
                index, what, *rest = await self._come.get()
                if index in self._open:
                    yield self._part(index, what, *rest)
        finally:
            self.cancel()

    def _tell(self, index, what):
        self._loop.call_soon_threadsafe(self._come.put_nowait, (index, *what))

    def _part(self, index, what, value, logs=None):
        text = self._texts[index]
        if what == "error":
            self._open.discard(index)
            self._measures.ended("error", time.monotonic() - self._since)
            raise as_api_error(value)
        if what == "end":
            return index, text.finish(), self._take_logs(index), self._end(index, REASONS[value])
        self.tokens[index] += 1
        now = time.monotonic()
        self._measures.token(None if self._last[index] is None else now - self._last[index], now - self._since)
        self._last[index] = now
        if value in self._ends:  # the token that ends a text is none of it
            return index, "", None, None
        if logs is not None:
            self._logs[index].append((value, logs))
        shown = text.add(value)
        if text.stopped:
            self._engine.cancel(self.jobs[index])
            return index, shown, self._take_logs(index), self._end(index, "stop")
        return index, shown, self._take_logs(index) if shown else None, None

    def _take_logs(self, index):
        """Of the tokens since the last part that had text."""
        logs = self._logs[index]
        if logs is not None:
            self._logs[index] = []
        return logs

    def _end(self, index, reason):
        self._open.discard(index)
        self._measures.ended(reason, time.monotonic() - self._since)
        return reason


def as_api_error(error):
    """What the engine says, for a client: nothing of the server's own affairs."""
    if isinstance(error, Busy):
        return ApiError(429, "too many requests wait", headers={"Retry-After": "1"})
    if isinstance(error, Closing):
        return ApiError(503, "the server is shutting down")
    if isinstance(error, RequestError):
        return ApiError(400, str(error))
    return ApiError(500, "the chip failed while it computed this request", code="chip_error")
