"""A chip that serves many sequences, by the names of backends."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

from scoville.isa import PAGE_BITS
from scoville.schedule.records import NO_SLOT

from ...errors import RequestError
from ..rtl import DEFAULT_MEMORY, check_memory
from .golden import GoldenMachine
from .plan import plan_memory
from .requests import Requests
from .rtl import RtlMachine

__all__ = ["MOST_SLOTS", "open_requests", "refuse_backend", "with_slots"]

MOST_SLOTS = 16  # where nobody says how many


def refuse_backend(backend, what, of_rtl):
    """Refuse, in the name of the option `what`, a backend that serves one sequence at a time, and options that mean
    nothing to it; RequestError.

    Parameters
    ----------
    of_rtl : options of rtl by name, None where not given
    """
    if backend not in ("golden", "rtl"):
        raise RequestError(f"{what}: --backend {backend} serves one sequence at a time; it must be --backend golden "
                           "or rtl")
    for name, value in of_rtl.items():
        if backend != "rtl" and value is not None:
            raise RequestError(f"{name} with --backend {backend}; it is of rtl")


def with_slots(config, count, slots=None, pages=None, backend="golden"):
    """A configuration that serves so many sequences: as it is if it has several slots, and none are asked for. Else
    with `slots`, or as many as there are sequences, at most `MOST_SLOTS`, and account of enough pages. A chip of one
    slot has no rings, so rtl has at least two.

    Raises
    ------
    RequestError
        If slots or pages cannot be.
    """
    least = 2 if backend == "rtl" else 1
    if slots is None:
        if config.slots > 1:
            return config
        slots = min(max(1 << max(count - 1, 0).bit_length(), least), MOST_SLOTS)
    if not least <= slots <= NO_SLOT or slots & (slots - 1):
        raise RequestError(f"--slots is {slots}; it must be a power of two, {least} to {NO_SLOT // 2 + 1}")
    most = max(slots * config.slot_pages, pages or 0)
    if most > 1 << PAGE_BITS:
        raise RequestError(f"{slots} slots and a pool of {most} pages; at most {1 << PAGE_BITS} pages have numbers "
                           "(see --slots and --pool-pages)")
    return replace(config, slots=slots, pool_pages=1 << (most - 1).bit_length())


@contextmanager
def open_requests(session, backend="golden", *, memory=None, pages=None, rows=False, report=lambda line: None):
    """`Requests` on a chip of the session's configuration, as a context.

    Parameters
    ----------
    backend : golden or rtl
    memory : name of a memory timing, of rtl
    pages, rows : see `plan_memory`
    report : called with a line of text before anything slow happens
    """
    plan = plan_memory(session.image, pages=pages, rows=rows)
    if backend == "golden":
        machine = nullcontext(GoldenMachine(plan))
    else:
        report(f"simulating configuration {plan.config.name} with {plan.config.slots} slots")
        machine = RtlMachine(plan, check_memory(memory or DEFAULT_MEMORY))
    with machine as chip:
        yield Requests(chip, plan)
