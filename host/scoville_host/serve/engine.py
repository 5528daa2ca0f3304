"""The thread that has the chip: it takes jobs from whoever serves clients, and gives back tokens as they come."""

import queue
import threading
import time
from dataclasses import dataclass, field

from ..errors import ChipError, RequestError
from .cycles import Cycles
from .distribution import distribution

__all__ = ["Busy", "Closing", "Engine", "Job", "Seen"]

LOOK = 0.5  # seconds between two looks at the chip's counters, which cost it cycles
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
    since : the machine's time when it came to the driver
    unit : of that
    """

    prompt: list
    limit: int
    settings: dict
    tell: object
    top: int | None = None
    sequence: object = None
    since: int = 0
    unit: str | None = None
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
    cycles : of the chip's counters, since the start: cycles, beats, work, and stalls by reason; empty where there are
        none. They are as of the last look, which may be some passes ago
    """

    running: int = 0
    waiting: int = 0
    slots: list = field(default_factory=list)
    pool: dict = field(default_factory=dict)
    counts: dict = field(default_factory=dict)
    cycles: dict = field(default_factory=dict)


class Engine:
    """Owns the driver, and the only thread that may touch it.

    A chip that stops ends the requests that had tokens. It is reset and started again, or made anew if it does not
    obey, and the others are posted again.

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
        self._cycles, self._looked = Cycles(), 0.0
        self._posted = {}  # jobs by sequence
        self._closing = self._now = False
        self._lock, self._count = threading.Lock(), 0
        self.seen, self.failed = Seen(), None
        self.counts = dict.fromkeys(("passes", "prompt_tokens", "cached_tokens", "generated_tokens", "preempted",
                                     "restarts"), 0)
        self._left, self._told = RESTARTS, 0  # lives that there are, and tokens at the end of the last
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
        while self._left:
            try:
                with self._chip() as requests:
                    while self._live(requests):
                        requests = requests.again()
                    return
            except (ChipError, RequestError) as error:  # there is no chip, or none that obeys: it is made anew
                self._stopped(error)
            except Exception as error:  # a fault of the driver: whoever waits is told so
                self._stopped(ChipError(f"{type(error).__name__}: {error}"), final=True)

    def _live(self, requests):
        """From a start of the chip to its end; whether it is to be reset and started again."""
        try:
            for job in list(self._jobs):
                self._post(requests, job)
            self._go(requests)
        except ChipError as error:
            self._stopped(error)
            return self._left > 0
        return False

    def _go(self, requests):
        passes = 0
        while True:
            while not self._orders.empty() or not requests.open:
                if not requests.open:
                    self._look(requests, now=True)
                if not self._order(requests, *self._orders.get()):
                    return
            ended = requests.go_on()
            self.counts["passes"] += requests.passes - passes
            passes = requests.passes
            for sequence in (*requests.heard, *ended):
                if (job := self._posted.get(sequence)) in self._jobs:
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
            job.since, job.unit = requests.machine.time, requests.machine.unit
            job.sequence = requests.submit(job.prompt, job.limit, **job.settings)
            self._posted[job.sequence] = job
        except RequestError as error:
            self._end(job, "error", error)

    def _tell(self, requests, job):
        """The job's new tokens, and its end."""
        sequence = job.sequence
        while not job.cancelled and job.told < sequence.count:
            row = None if job.top is None else requests.row(sequence, job.told)
            token = sequence.ids[len(sequence.prompt) + job.told]
            if not job.told:
                self.counts["prompt_tokens"] += len(job.prompt)
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
        self._posted.pop(job.sequence, None)
        with self._lock:
            self._count -= 1
        if told and not job.cancelled:
            job.tell(told)

    def _stopped(self, error, final=False):
        """The chip has stopped: end who had tokens, or all if it has stopped too often, or is not wanted any more."""
        told = self.counts["generated_tokens"]
        self._left, self._told = RESTARTS if told > self._told else self._left - 1, told
        if final or self._now:
            self._left = 0
        last = not self._left
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
        self._posted.clear()
        self._cycles.restart()
        self.counts["restarts"] += not last

    def _look(self, requests, now=False):
        """Keep what others may see; the chip's counters only from time to time, or `now`."""
        if now or time.monotonic() > self._looked + LOOK:
            self._cycles.note(requests.machine.counters)
            self._looked = time.monotonic()
        running = [job for job in self._jobs if job.sequence is not None and job.sequence.name is not None]
        pool = requests.machine.pool
        last = {name: values[-1] for name, values in pool.changes.items() if values} if pool else {}
        self.seen = Seen(
            running=len(running), waiting=len(self._jobs) - len(running), pool=last, counts=dict(self.counts),
            cycles=self._cycles.seen,
            slots=[{"prompt": len(job.prompt), "tokens": job.sequence.count, "shared": job.sequence.shared,
                    "tenant": job.settings["tenant"], "preempted": job.sequence.preempted} for job in running])
