"""A chip that serves many sequences, by the names of backends."""

from dataclasses import replace

from scoville.isa import PAGE_BITS
from scoville.schedule.records import NO_SLOT

from ...errors import RequestError
from .golden import GoldenMachine
from .plan import plan_memory
from .requests import Requests

__all__ = ["MOST_SLOTS", "open_requests", "refuse_backend", "with_slots"]

MOST_SLOTS = 16  # where nobody says how many


def refuse_backend(backend, config, what):
    """Refuse, in the name of the option `what`, a backend that does not serve many sequences yet; RequestError."""
    if backend != "golden":
        slots = "1 slot" if config.slots == 1 else f"{config.slots} slots, and no driver for them yet"
        raise RequestError(f"{what}: --backend {backend} serves one sequence at a time, as configuration {config.name} "
                           f"has {slots}; it must be --backend golden")


def with_slots(config, count, slots=None, pages=None):
    """A configuration that serves so many sequences: as it is if it has several slots, and none are asked for. Else
    with `slots`, or as many as there are sequences, at most `MOST_SLOTS`, and account of enough pages.

    Raises
    ------
    RequestError
        If slots or pages cannot be.
    """
    if slots is None:
        if config.slots > 1:
            return config
        slots = min(1 << max(count - 1, 0).bit_length(), MOST_SLOTS)
    if not 1 <= slots <= NO_SLOT or slots & (slots - 1):
        raise RequestError(f"--slots is {slots}; it must be a power of two, 1 to {NO_SLOT // 2 + 1}")
    most = max(slots * config.slot_pages, pages or 0)
    if most > 1 << PAGE_BITS:
        raise RequestError(f"{slots} slots and a pool of {most} pages; at most {1 << PAGE_BITS} pages have numbers "
                           "(see --slots and --pool-pages)")
    return replace(config, slots=slots, pool_pages=1 << (most - 1).bit_length())


def open_requests(session, *, pages=None, rows=False):
    """`Requests` on the golden model of the session's configuration; see `plan_memory`."""
    plan = plan_memory(session.image, pages=pages, rows=rows)
    return Requests(GoldenMachine(plan), plan)
