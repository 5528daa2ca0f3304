"""What the commands print, and how one says that its run failed."""

import contextlib
import sys

__all__ = ["RunFailed", "Text", "longest", "reporter", "say_match", "say_numbers", "write"]


class RunFailed(Exception):
    """The request was fine and the run was not: exit status 1."""


def reporter(quiet):
    """What prints a line of progress on standard error, or nothing if `quiet`."""
    def report(line):
        if not quiet:
            with contextlib.suppress(OSError):  # a run does not end because nobody can be told of it
                print(f"scoville: {line}", file=sys.stderr, flush=True)
    return report


def write(text):
    """Text to standard output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


class Text:
    """The text of a run. When it cannot be shown any more, a run that also has files to write goes on and writes them.

    Parameters
    ----------
    files : whether there are any.
    """

    def __init__(self, files):
        self.files, self.error = files, None

    def write(self, text):
        """`write`, up to the first error."""
        try:
            if not self.error:
                write(text)
        except OSError as error:
            if not self.files:
                raise
            self.error = error

    def close(self):
        """Raise the error that there was."""
        if self.error:
            raise self.error


def longest(stalls):
    """Those that are not zero, the longest first, as text."""
    return ", ".join(f"{name} {count}" for name, count in sorted(stalls.items(), key=lambda item: -item[1]) if count)


def say_numbers(found, report):
    """Report cycles and rates of a run; RunFailed if it differs from the golden model's."""
    if found["cycles"]:
        report(f"{found['cycles']:,} cycles, {found['cycles_per_token']:,.0f} a token; "
               f"bus {found['bus_utilisation']:.1%}, multipliers {found['mac_utilisation']:.1%}; "
               f"{found['cycles_per_second']:,.0f} cycles a second")
    say_match(found, report)


def say_match(found, report):
    """Report that a run equals the golden model's, if they were compared; RunFailed if it does not."""
    if found["golden_match"]:
        what = "tokens" if found.get("logits_compared") is False else "tokens and logits"
        report(f"{what} equal the golden model's, bit for bit")
    elif found["golden_match"] is False:
        raise RunFailed("tokens or logits differ from the golden model's")
