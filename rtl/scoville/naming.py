"""Names of signals, the same under every Python: read from the source's text in place of the bytecode.

Amaranth's tracer looks at the instructions behind the call that makes a signal, and those differ from one Python to
the next. Here the call is looked up in the syntax tree of its file. It has a name

- where it is all that is assigned, `name = call(…)`, `self.name = call(…)`, `(name := call(…))`: of several targets the
  first; none for an element (`names[0] = …`) or a target that takes the call apart (`a, b = call(…)`);
- where it is the last of a tuple of two or three that names take: `a, b = Signal(), Signal()` makes `$signal` and `b`.

The second rule is that of CPython 3.11's bytecode, from which the boards' bitstreams were placed.
"""

import ast
import sys
from functools import cache

from amaranth import tracer

__all__ = ["NamingError", "get_var_name", "install", "unnamed"]

_of_bytecode = tracer.get_var_name


class NamingError(ValueError):
    """One line for the user."""


def unnamed(*made):
    """What is given. A call among the arguments has no name, where it would have one in a tuple."""
    return made


def _assigned(node):
    """(target, value) of an assignment; of a tuple's, those that come last."""
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    if (isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple) and len(target.elts) in (2, 3)
            and all(isinstance(each, ast.Name) for each in target.elts)):
        return target.elts[-1], node.value.elts[-1]
    return target, node.value


@cache
def _names(path):
    """The names of a file's calls, by where each ends; None if the file cannot be read."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, ValueError, SyntaxError):
        return None
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            target, value = _assigned(node)
            name = getattr(target, "id", None) or getattr(target, "attr", None)  # of a Name, of an Attribute
            if name and isinstance(value, ast.Call):
                found[value.end_lineno, value.end_col_offset] = name
    return found


@cache
def _ends(code):
    """Where the expression of each instruction ends: (line, column), the column in bytes."""
    return [(end_line, end) for _, end_line, _, end in code.co_positions()]


def get_var_name(depth=2, default=tracer._raise_exception):
    """In place of `amaranth.tracer.get_var_name`: the name of the call that the frame at `depth` is in.

    Code without a file (a prompt, `exec`) is left to Amaranth.

    Raises
    ------
    amaranth.tracer.NameNotFound : there is no name and no default
    NamingError : Python was told to forget the columns of calls
    """
    frame = sys._getframe(depth)
    names = _names(frame.f_code.co_filename)
    if names is None:
        return _of_bytecode(depth + 1, default)
    end = _ends(frame.f_code)[frame.f_lasti // 2]
    if end[1] is None:
        raise NamingError(f"{frame.f_code.co_filename} was compiled without columns, which give signals their names; "
                          "unset PYTHONNODEBUGRANGES, leave out -X no_debug_ranges, and remove __pycache__")
    name = names.get(end, default)
    if name is tracer._raise_exception:
        raise tracer.NameNotFound
    return name


def install():
    """From now on Amaranth takes names from here."""
    tracer.get_var_name = get_var_name
