"""The work behind ``scoville bench`` with many sequences."""

import time

import numpy as np

from ...errors import ChipError, RequestError
from ..rtl import DEFAULT_MEMORY, memory_limit
from .measure import as_alone, measured
from .serve import open_requests

__all__ = ["bench_many"]


def bench_many(session, trace, *, backend="golden", memory=None, pages=None, check=False, pass_rate=None, seed=1,
               report=lambda line: None):
    """Serve requests of random tokens as they come; no early stop.

    Parameters
    ----------
    session : Session
    trace : list of Arrival, the first to come first
    backend, memory, pages : see `open_requests`
    check : whether each is compared with the golden model alone
    pass_rate : passes that count as a second of the trace; None for what the machine says. Time in which nothing is to
        be computed is not simulated; it counts all the same
    seed : of the prompts

    Returns
    -------
    dict for JSON, see `measure.measured`; and `idle`, the time with nothing to compute; of rtl also what the memory is
    and how much of it was used

    Raises
    ------
    RequestError
        If a request does not fit the context.
    """
    if pass_rate is not None and not 0 < pass_rate < float("inf"):
        raise RequestError(f"--passes-per-second is {pass_rate}; it must be above 0")
    image = session.image
    for number, one in enumerate(trace, 1):
        if one.prompt + one.output - 1 > image.context:
            raise RequestError(f"request {number} has {one.prompt} prompt and {one.output} output tokens, which do not "
                               f"fit a context of {image.context} (see --context)")
    with open_requests(session, backend, memory=memory, pages=pages, rows=check, report=report) as requests:
        found, sequences = _serve(requests, trace, pass_rate or requests.machine.rate, np.random.default_rng(seed))
    if check:
        report("checking each against the golden model alone")
        found["golden_match"] = as_alone(image, sequences)
    if backend == "rtl":
        limit = memory_limit(memory or DEFAULT_MEMORY, image.config.bus_bytes)
        found |= {"memory": memory or DEFAULT_MEMORY, "memory_limit_beats_per_cycle": limit,
                  "utilisation_of_memory": found["bus_utilisation"] / limit}
    return found


def _serve(requests, trace, rate, rng):
    """(what was measured, the sequences); `rate` : the machine's time in a second of the trace."""
    start = time.perf_counter()
    arrivals = [one.arrival * rate for one in trace]
    sequences, skipped, idle = [], [], 0.0  # before each one's first pass, so much time had nothing to compute
    coming = list(zip(trace, arrivals, strict=True))[::-1]
    while coming or requests.open:
        now = requests.machine.time
        if not requests.open:
            idle = max(idle, coming[-1][1] - now)
        while coming and (not requests.open or coming[-1][1] <= now + idle):
            one, _ = coming.pop()
            sequences.append(requests.submit(rng.integers(0, requests.plan.image.vocab, one.prompt).tolist(),
                                             one.output, park=False))
            skipped.append(idle)
        requests.go_on(coming[-1][1] - idle if coming else None)
    if failed := next((each.error for each in sequences if each.error), None):
        raise ChipError(str(failed))
    times = [[at + idle for at in each.times] for each, idle in zip(sequences, skipped, strict=True)]
    found = measured(requests, sequences, arrivals, times, time.perf_counter() - start)
    return found | {"batch": len(trace), "idle": idle}, sequences
