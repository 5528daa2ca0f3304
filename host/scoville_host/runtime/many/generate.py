"""The work behind ``scoville generate`` with several prompts."""

import time

from ...errors import RequestError
from .measure import as_alone, measured
from .prompts import token_ids
from .requests import check_one
from .serve import open_requests

__all__ = ["generate_many"]


def generate_many(session, prompts, *, backend="golden", memory=None, pages=None, stop_ids=(), system=None, raw=False,
                  check=True, done=lambda found: None, report=lambda line: None):
    """Continue several prompts at a time; each text is what it would be alone.

    Parameters
    ----------
    session : Session
    prompts : list of Asked
    backend, memory, pages : see `open_requests`
    system, raw : as for one prompt
    check : whether to run the golden model, for each alone, beside any other backend
    done : called with the entry of a sequence in ``sequences`` when it has ended, in that order
    report : called with a line of text about each step

    Returns
    -------
    dict for JSON, see `measure.measured`; sequences also have `prompt` (its number) and `text`

    Raises
    ------
    RequestError
        Before anything is computed, if one of the prompts cannot be served.
    """
    check = check and backend != "golden"
    coming = _checked(session, prompts, stop_ids, system, raw)  # before a simulator is built
    with open_requests(session, backend, memory=memory, pages=pages, rows=check, report=report) as requests:
        start = time.perf_counter()
        numbers = {requests.submit(*what, **settings): number
                   for number, (what, settings) in enumerate(coming, 1)}

        def entries(some):
            found = measured(requests, some, [0] * len(some), [each.times for each in some],
                             time.perf_counter() - start)
            for sequence, entry in zip(some, found["sequences"], strict=True):
                entry |= {"prompt": numbers[sequence],
                          "text": session.tokenizer.decode(sequence.tokens) if session.tokenizer else None}
            return found

        while requests.open:
            for entry in entries(requests.go_on())["sequences"]:
                done(entry)
        found = entries(list(numbers))
    if check:
        report("checking each against the golden model alone")
        found["golden_match"] = as_alone(session.image, [each for each in numbers if not each.error])
    return found


def _checked(session, prompts, stop_ids, system, raw):
    """The arguments of `Requests.submit` of each: list of (positional, by name)."""
    found = []
    for asked in prompts:
        settings = {"temperature": asked.temperature, "seed": asked.seed, "stops": stop_ids,
                    "priority": asked.priority, "tenant": asked.tenant}
        try:
            ids = token_ids(session, asked, system=system, raw=raw)
            check_one(session.image, ids, asked.limit, **settings)
        except RequestError as error:
            raise RequestError(f"{asked.where}: {error}") from None
        found.append(((ids, asked.limit), settings))
    return found
