"""The work behind ``scoville bench`` with many sequences."""

import time

import numpy as np

from ...errors import ChipError, RequestError
from ..generate import matches
from ..golden import GoldenBackend
from .measure import measured
from .serve import open_requests

__all__ = ["bench_many"]


def bench_many(session, trace, *, pages=None, check=False, pass_rate=1.0, seed=1, report=lambda line: None):
    """Serve requests of random tokens as they come; no early stop.

    Parameters
    ----------
    session : Session
    trace : list of Arrival, the first to come first
    pages : see `open_requests`
    check : whether each is compared with the golden model alone
    pass_rate : passes that count as a second of the trace. A pass in which nothing is to be computed takes no time to
        simulate; it counts all the same
    seed : of the prompts

    Returns
    -------
    dict for JSON, see `measure.measured`; and `idle`, passes with nothing to compute

    Raises
    ------
    RequestError
        If a request does not fit the context.
    """
    if not 0 < pass_rate < float("inf"):
        raise RequestError(f"--passes-per-second is {pass_rate}; it must be above 0")
    image = session.image
    for number, one in enumerate(trace, 1):
        if one.prompt + one.output - 1 > image.context:
            raise RequestError(f"request {number} has {one.prompt} prompt and {one.output} output tokens, which do not "
                               f"fit a context of {image.context} (see --context)")
    start = time.perf_counter()
    requests = open_requests(session, pages=pages, rows=check)
    rng = np.random.default_rng(seed)
    arrivals = [one.arrival * pass_rate for one in trace]
    sequences, skipped, idle = [], [], 0.0  # before each one's first pass, so many passes had nothing to compute
    coming = list(zip(trace, arrivals, strict=True))[::-1]
    while coming or requests.open:
        if not requests.open:
            idle = max(idle, coming[-1][1] - requests.machine.time)
        while coming and (not requests.open or coming[-1][1] <= requests.machine.time + idle):
            one, _ = coming.pop()
            sequences.append(requests.submit(rng.integers(0, image.vocab, one.prompt).tolist(), one.output))
            skipped.append(idle)
        requests.go_on()
    if failed := next((each.error for each in sequences if each.error), None):
        raise ChipError(str(failed))
    times = [[at + idle for at in each.times] for each, idle in zip(sequences, skipped, strict=True)]
    found = measured(requests, sequences, arrivals, times, time.perf_counter() - start)
    if check:
        report("checking each against the golden model alone")
        alone = (GoldenBackend().generate(image, each.prompt, each.limit) for each in sequences)
        found["golden_match"] = all(matches(each, golden) for each, golden in zip(sequences, alone, strict=True))
    return found | {"batch": len(trace), "idle": idle}
