"""Standard output and error of a program: what they cannot take ends no run, and decides its exit status."""

import contextlib
import os
import sys

from .errors import RequestError

__all__ = ["as_program", "open_streams"]

# Exit statuses: the output could not be written; the request was wrong; the output's reader has gone.
FAILED, REFUSED, BROKEN = 1, 2, 141


def open_streams():
    """Make standard input, output and error fit to use.

    What the encoding of a stream lacks is written as an escape. One that was closed gets its descriptor back, so that
    no file of the program becomes it: what is written to output then fails, and what is written to error is lost.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # the lowest free number, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        with contextlib.suppress(AttributeError):  # a test's stand-in for the stream
            getattr(sys, name).reconfigure(errors="backslashreplace")


def as_program(main, name):
    """Run ``main()``, which returns an exit status or leaves with one, as a program; never returns.

    Parameters
    ----------
    name : what its errors begin with.
    """
    open_streams()
    try:
        try:
            status = main()
        except SystemExit as stop:
            status = stop.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        status = BROKEN
    except RequestError as error:
        status = _say(REFUSED, f"{name}: error: {error}")
    except OSError as error:
        status = _say(FAILED, f"{name}: failed: {error.filename or 'standard output'}: {error.strerror}")
    _let_go()
    sys.exit(status)


def _say(status, line):
    with contextlib.suppress(OSError):  # the status says it too
        print(line, file=sys.stderr)
    return status


def _let_go():
    """What a stream still holds and cannot write is dropped, or Python would complain of it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), stream.fileno())
