"""A class with a fault in it, made from its own source text, so that a proof can be seen to fail."""

import inspect
import sys
import types

__all__ = ["planted"]


def planted(cls, right, wrong):
    """`cls` from a copy of its module in which the text `right` is `wrong`.

    Raises
    ------
    ValueError
        If the module does not have `right` exactly once: the fault is then not the one that was meant.
    """
    module = sys.modules[cls.__module__]
    text = inspect.getsource(module)
    if text.count(right) != 1:
        raise ValueError(f"{module.__name__} has {right!r} {text.count(right)} times; a planted fault needs it once")
    copy = types.ModuleType(module.__name__)
    copy.__package__, copy.__file__ = module.__package__, module.__file__
    exec(compile(text.replace(right, wrong), f"{module.__file__} with a planted fault", "exec"), copy.__dict__)
    return getattr(copy, cls.__name__)
