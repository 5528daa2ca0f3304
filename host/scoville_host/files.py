"""Writing results: a file appears whole or not at all."""

import json
from pathlib import Path

from .errors import RequestError

__all__ = ["write_array", "write_bytes", "write_json", "write_text"]


def write_bytes(path, data):
    """Write a file beside its place and move it there.

    Raises
    ------
    RequestError
        If it cannot be written.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None


def write_text(path, text):
    """Write UTF-8 text; see `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path, value):
    """Write a dict as JSON, a key a line; see `write_bytes`."""
    lines = (f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items())
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def write_array(path, array):
    """Write a numpy array in .npy form; see `write_bytes`."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array)
    write_bytes(path, buffer.getvalue())
