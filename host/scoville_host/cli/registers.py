"""``scoville registers``: the register map."""

from typing import Annotated

import typer

from ..errors import RequestError
from .output import write

__all__ = ["run"]


def run(
    form: Annotated[str, typer.Option("--format", help="md (Markdown) or h (C header).")] = "md",
):
    """Print the register map."""
    from scoville import registers as table

    forms = {"md": table.markdown, "h": table.c_header}
    if form not in forms:
        raise RequestError(f"unknown format {form!r}; there are: {', '.join(forms)}")
    write(forms[form]())
