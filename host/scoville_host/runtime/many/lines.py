"""Files with an entry a line: text, JSON or CSV."""

from ...checkpoint.schema import read_bytes, validate
from ...errors import RequestError

__all__ = ["json_entry", "read_lines"]


def read_lines(path):
    """The lines that are not blank, as (number, text); only a line feed, or a carriage return before it, ends one.

    Raises
    ------
    RequestError
        If the file cannot be read, is too large or no UTF-8, or has none.
    """
    try:
        lines = read_bytes(path).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: not UTF-8 at byte {error.start}") from None
    found = [(number, line.removesuffix("\r")) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise RequestError(f"{path}: no line has anything in it")
    return found


def json_entry(schema, source, line):
    """An instance of a schema from a line of JSON; RequestError, with the first thing that is wrong."""
    from pydantic_core import from_json

    try:
        value = from_json(line)
    except ValueError as error:
        raise RequestError(f"{source}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise RequestError(f"{source}: must be a JSON object")
    return validate(schema, source, value, unknown=f"there are: {', '.join(schema.model_fields)}")
