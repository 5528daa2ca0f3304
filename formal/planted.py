"""A class with a fault in it, made from its own source text, so that a proof can be seen to fail."""

import inspect
import sys
import types

__all__ = ["planted"]


def planted(cls, right, wrong, *more):
    """`cls` from a copy of its module in which the text `right` is `wrong`, and so on in pairs.

    Raises
    ------
    ValueError
        If the module does not have `right` exactly once: the fault is then not the one that was meant.
    """
    module = sys.modules[cls.__module__]
    text = inspect.getsource(module)
    changes = [right, wrong, *more]
    for right, wrong in zip(changes[::2], changes[1::2], strict=True):
        if text.count(right) != 1:
            count = text.count(right)
            raise ValueError(f"{module.__name__} has {right!r} {count} times; a planted fault needs it once")
        text = text.replace(right, wrong)
    copy = types.ModuleType(module.__name__)
    copy.__package__, copy.__file__ = module.__package__, module.__file__
    exec(compile(text, f"{module.__file__} with a planted fault", "exec"), copy.__dict__)
    return getattr(copy, cls.__name__)
