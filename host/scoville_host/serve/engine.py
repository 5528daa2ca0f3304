"""The thread that has the chip: it takes jobs from whoever serves clients, and gives back tokens as they come."""

import queue
import threading
from dataclasses import dataclass, field

from ..errors import ChipError, RequestError
from .distribution import distribution

__all__ = ["Busy", "Closing", "Engine", "Job", "Seen"]

RESTARTS = 3  # of a chip that stops without having given a token in between


class Busy(Exception):
    """As many requests wait as may."""


class Closing(Exception):
    """The server takes no more requests."""


@dataclass(eq=False)
class Job:
    """A sequence that a client waits for.

    Members
    -------
    prompt, limit, settings : of `Requests.submit`
    top : likeliest tokens that are told beside each token, or None: no logarithms of probabilities at all
    tell : called by the engine's thread with ``("token", id, distribution or None)``, and at the end once with
        ``("end", Reason)`` or ``("error", exception)``
    sequence : `Sequence`, while it is with the driver
    """

    prompt: list
    limit: int
    settings: dict
    tell: object
    top: int | None = None
    sequence: object = None
    told: int = 0
    cancelled: bool = False


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the chip does, as of the last pass.

    Members
    -------
    running, waiting : jobs that the chip has, and those that it has not
    slots : of each running job: tokens of its prompt, tokens that came, tokens shared, tenant, how often preempted
    pool : pages by owner, see `PoolLog`; empty where the backend does not say
    counts : totals since the start
    """

    running: int = 0
    waiting: int = 0
    slots: list = field(default_factory=list)
    pool: dict = field(default_factory=dict)
    counts: dict = field(default_factory=dict)


class Engine:
    """Owns the driver, and the only thread that may touch it.

    A chip that stops ends the requests that had tokens; the others are posted again on a chip that is started anew.

    Parameters
    ----------
    chip : function that gives a context with `Requests`
    most : jobs that may be there at a time

    Members
    -------
    seen : Seen
    failed : why there is no chip any more, or None
    """

    def __init__(self, chip, most):
        self._chip, self.most = chip, most
        self._orders, self._jobs = queue.SimpleQueue(), {}  # jobs that have not ended, in the order of coming
        self._closing = self._now = False
        self._lock, self._count = threading.Lock(), 0
        self.seen, self.failed = Seen(), None
        self.counts = dict.fromkeys(("passes", "prompt_tokens", "cached_tokens", "generated_tokens", "preempted",
                                     "restarts"), 0)
        self._thread = threading.Thread(target=self._serve, name="chip", daemon=True)

    def start(self):
        self._thread.start()

    def submit(self, job):
        """From any thread; Busy, Closing, or the ChipError that there is no chip for."""
        with self._lock:
            if self.failed:
                raise self.failed
            if self._closing:
                raise Closing
            if self._count >= self.most:
                raise Busy
            self._count += 1
        self._orders.put(("submit", job))

    def cancel(self, job):
        """From any thread; nothing is told of the job any more."""
        self._orders.put(("cancel", job))

    def close(self, now=False):
        """Take no more jobs; the thread ends when those that there are have ended, or at once, with an error for each.
        """
        with self._lock:
            self._closing, self._now = True, self._now or now
        self._orders.put(("close", None))

    def join(self, timeout=None):
        """Wait for the thread; whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # the thread

    def _serve(self):
        left = RESTARTS
        while True:
            before = self.counts["generated_tokens"]
            try:
                with self._chip() as requests:
                    for job in list(self._jobs):
                        self._post(requests, job)
                    self._go(requests)
                    break
            except (ChipError, RequestError) as error:
                left = RESTARTS if self.counts["generated_tokens"] > before else left - 1
                if self._stopped(error, left):
                    break
            except Exception as error:  # a fault of the driver: whoever waits is told so
                self._stopped(ChipError(f"{type(error).__name__}: {error}"), 0)
                break

    def _go(self, requests):
        passes = 0
        while True:
            while not self._orders.empty() or not requests.open:
                if not self._order(requests, *self._orders.get()):
                    return
            requests.go_on()
            self.counts["passes"] += requests.passes - passes
            passes = requests.passes
            for job in list(self._jobs):
                self._tell(requests, job)
            self._look(requests)
            if self._closing and not self._jobs:
                return

    def _order(self, requests, what, job):
        """Whether to go on."""
        if what == "submit":
            self._jobs[job] = None
            self._post(requests, job)
        elif what == "cancel" and job in self._jobs:
            job.cancelled = True
            if job.sequence is not None:
                job.sequence.cancel()
            if job.sequence is None or job.sequence.ended:
                self._end(job)
        if self._now:
            raise ChipError("the server is shut down")
        self._look(requests)
        return not (self._closing and not self._jobs)

    def _post(self, requests, job):
        try:
            job.sequence = requests.submit(job.prompt, job.limit, **job.settings)
            self.counts["prompt_tokens"] += len(job.prompt)
        except RequestError as error:
            self._end(job, "error", error)

    def _tell(self, requests, job):
        """The job's new tokens, and its end."""
        sequence = job.sequence
        while not job.cancelled and job.told < len(sequence.tokens):
            row = None if job.top is None else requests.row(sequence, job.told)
            token = sequence.tokens[job.told]
            if not job.told:
                self.counts["cached_tokens"] += sequence.shared
            job.told += 1
            self.counts["generated_tokens"] += 1
            job.tell(("token", token, None if row is None else distribution(row, token, job.top)))
        if sequence.ended:
            self.counts["preempted"] += sequence.preempted
            if sequence.error is not None:
                self._end(job, "error", sequence.error)
            else:
                self._end(job, "end", sequence.reason)

    def _end(self, job, *told):
        del self._jobs[job]
        with self._lock:
            self._count -= 1
        if told and not job.cancelled:
            job.tell(told)

    def _stopped(self, error, left):
        """The chip has stopped: end who had tokens, or all if no chip is to be started again; whether so."""
        last = left <= 0 or self._now
        with self._lock:
            self.failed = error if last else None
        while last and not self._orders.empty():
            what, job = self._orders.get()
            if what == "submit":
                self._jobs[job] = None
        for job in list(self._jobs):
            if job.cancelled or job.told or last or isinstance(error, RequestError):
                self._end(job, "error", error)
            job.sequence = None
        self.counts["restarts"] += not last
        return last

    def _look(self, requests):
        """Keep what others may see."""
        running = [job for job in self._jobs if job.sequence is not None and job.sequence.name is not None]
        pool = requests.machine.pool
        last = {name: values[-1] for name, values in pool.changes.items() if values} if pool else {}
        self.seen = Seen(
            running=len(running), waiting=len(self._jobs) - len(running), pool=last, counts=dict(self.counts),
            slots=[{"prompt": len(job.prompt), "tokens": len(job.sequence.tokens), "shared": job.sequence.shared,
                    "tenant": job.settings["tenant"], "preempted": job.sequence.preempted} for job in running])
