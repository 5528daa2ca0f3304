"""Writing results: a regular file appears whole or not at all; what is no regular file is written through."""

import contextlib
import json
import os
import secrets
import stat
import sys
from pathlib import Path

from .errors import RequestError

__all__ = ["check_outputs", "is_special", "write_array", "write_bytes", "write_json", "write_text"]


def check_outputs(outputs, inputs=()):
    """Refuse, before the work begins, outputs that could not be written after it.

    Parameters
    ----------
    outputs : dict of an option to the path that it names, or to None.
    inputs : paths that must not be written; those that are not there are nobody's.

    Raises
    ------
    RequestError
        If a path is a folder or must not be written, or if two of them are one regular file.
    """
    named = {_key(path): f"the input {path}" for path in inputs if os.path.isfile(path)}
    for option, path in outputs.items():
        if path is None:
            continue
        if problem := _problem(Path(path)):
            raise RequestError(f"{option} {path}: {problem}")
        if is_special(path):
            continue
        if (other := named.setdefault(_key(path), option)) != option:
            raise RequestError(f"{option} and {other} are one file, {path}; give each its own")


def is_special(path):
    """Whether a path leads to something other than a regular file: a device, a pipe, a socket."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _key(path):
    """What two names of one file have in common."""
    try:
        found = os.stat(path)
        return found.st_dev, found.st_ino
    except OSError:
        return os.path.realpath(path)


def _problem(path):
    """Why a file cannot be written; empty if it can, as far as that is seen beforehand."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return "a folder; give the name of a file"
        return "" if os.access(path, os.W_OK) else "no permission to write it"
    except FileNotFoundError:
        folder = next(each for each in Path(os.path.realpath(path)).parents if each.exists())
    except OSError as error:
        return error.strerror
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"no permission to write in {folder}"


def write_bytes(path, data):
    """Write a file. Links are followed, and the permissions of a file that is there stay.

    A regular file is written beside its place and moved there. What cannot be moved there without becoming something
    else is written where it is: a device, a pipe, a file of several names, what standard output or error is.

    Raises
    ------
    RequestError
        If it cannot be written.
    """
    try:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            found = None
        target = Path(os.path.realpath(path))
        stream = found and _stream(found)
        if stream:
            with open(os.dup(stream), "wb") as file:
                file.write(data)
        elif found is None or _movable(target, found):
            _replace(target, data, found)
        else:
            with open(path, "wb") as file:
                file.write(data)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None


def _stream(found):
    """The descriptor of standard output or error if it is this file, and what the program has written is out."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(number), found):
                stream.flush()
                return number
    return None


def _movable(target, found):
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and os.access(target.parent, os.W_OK | os.X_OK)


def _replace(target, data, found):
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            if found:
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, found.st_uid, found.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
            file.write(data)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path, text):
    """Write UTF-8 text; see `write_bytes`. What came from a name that is no UTF-8 is escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


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
