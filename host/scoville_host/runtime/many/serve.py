"""A chip that serves many sequences, by the names of backends."""

from ...errors import RequestError
from .golden import GoldenMachine
from .plan import plan_memory
from .requests import Requests

__all__ = ["MOST_SLOTS", "open_requests", "refuse_backend", "slots_for"]

MOST_SLOTS = 16  # where nobody says how many


def refuse_backend(backend, config, what):
    """Refuse, in the name of the option `what`, a backend that does not serve many sequences yet; RequestError."""
    if backend != "golden":
        slots = "1 slot" if config.slots == 1 else f"{config.slots} slots, and no driver for them yet"
        raise RequestError(f"{what}: --backend {backend} serves one sequence at a time, as configuration {config.name} "
                           f"has {slots}; it must be --backend golden")


def slots_for(config, count, slots=None):
    """Slots for so many sequences: as told, else the configuration's; if that has one, a power of two up to 16."""
    if slots is not None or config.slots > 1:
        return slots or config.slots
    return min(1 << max(count - 1, 0).bit_length(), MOST_SLOTS)


def open_requests(session, count, *, slots=None, pages=None, rows=False):
    """`Requests` on the golden model for so many sequences; see `plan_memory`.

    Raises
    ------
    RequestError
        If slots or pages cannot be.
    """
    if slots is not None and slots < 1:
        raise RequestError(f"--slots is {slots}; it must be a power of two")
    plan = plan_memory(session.image, slots=slots_for(session.image.config, count, slots), pages=pages, rows=rows)
    return Requests(GoldenMachine(plan), plan)
