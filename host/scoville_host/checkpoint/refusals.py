"""What cannot run: said at once, or gathered, so that `scoville inspect` names all of it."""

import contextlib

from ..errors import RequestError

__all__ = ["AT_ONCE", "Refusals"]


class Refusals:
    """Where a reader says what stands in the way.

    Parameters
    ----------
    gather : keep each `RequestError` and go on; else it is raised.

    Members
    -------
    found : list of (subject, message)
    """

    def __init__(self, gather=False):
        self.gather, self.found = gather, []

    @contextlib.contextmanager
    def of(self, subject):
        """What is refused inside is about `subject`: ``"setting"``, ``"tensor"``, ``"format"`` ..."""
        try:
            yield
        except RequestError as error:
            if not self.gather:
                raise
            self.found.append((subject, str(error)))


AT_ONCE = Refusals()
