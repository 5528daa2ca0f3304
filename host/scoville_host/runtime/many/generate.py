"""The work behind ``scoville generate`` with several prompts."""

import time

from ...errors import RequestError
from .measure import measured
from .prompts import token_ids
from .serve import open_requests

__all__ = ["generate_many"]


def generate_many(session, prompts, *, pages=None, stop_ids=(), system=None, raw=False,
                  done=lambda found: None):
    """Continue several prompts at a time; each text is what it would be alone.

    Parameters
    ----------
    session : Session
    prompts : list of Asked
    pages : see `open_requests`
    system, raw : as for one prompt
    done : called with the entry of a sequence in ``sequences`` when it has ended, in that order

    Returns
    -------
    dict for JSON, see `measure.measured`; sequences also have `prompt` (its number) and `text`

    Raises
    ------
    RequestError
        Before anything is computed, if one of the prompts cannot be served.
    """
    start = time.perf_counter()
    requests = open_requests(session, pages=pages)
    numbers = {}
    for number, asked in enumerate(prompts, 1):
        try:
            ids = token_ids(session, asked, system=system, raw=raw)
            sequence = requests.submit(ids, asked.limit, temperature=asked.temperature, seed=asked.seed,
                                       stops=stop_ids, priority=asked.priority, tenant=asked.tenant, park=True)
        except RequestError as error:
            raise RequestError(f"{asked.where}: {error}") from None
        numbers[sequence] = number

    def entries(some):
        found = measured(requests, some, [0] * len(some), [each.times for each in some], time.perf_counter() - start)
        for sequence, entry in zip(some, found["sequences"], strict=True):
            entry |= {"prompt": numbers[sequence],
                      "text": session.tokenizer.decode(sequence.tokens) if session.tokenizer else None}
        return found

    while requests.open:
        for entry in entries(requests.go_on())["sequences"]:
            done(entry)
    return entries(list(numbers))
