"""The backends by name."""

from ..errors import RequestError
from .golden import GoldenBackend
from .rtl import RtlBackend, check_memory

__all__ = ["BACKENDS", "check_backend", "get_backend"]


def _golden(**options):
    return GoldenBackend()


def _board(*, memory=None, record=False, **options):
    from .board import BoardBackend  # serial lines and progress bars, which no other backend needs

    return BoardBackend(**options)


BACKENDS = {"golden": _golden, "rtl": RtlBackend, "board": _board}


def check_backend(name, memory=None):
    """Refuse a backend or a memory timing of an unknown name; the message lists those there are."""
    if name not in BACKENDS:
        raise RequestError(f"unknown backend {name!r}; there are: {', '.join(BACKENDS)}")
    if memory is not None:
        check_memory(memory)


def get_backend(name, **options):
    """The named backend; `options` are those of the simulation and mean nothing to the golden model."""
    check_backend(name)
    return BACKENDS[name](**options)
