"""The text of a choice, up to the first of its stop strings."""

from ..checkpoint.tokenizer import TextStream

__all__ = ["StopText"]


class StopText:
    """Text of a growing list of tokens, given out as soon as it can be no part of a stop string.

    Parameters
    ----------
    tokenizer : Tokenizer
    stops : strings that end the text, and are not part of it

    Members
    -------
    stopped : a stop string has come
    """

    def __init__(self, tokenizer, stops=()):
        self._stream, self._stops, self._held, self.stopped = TextStream(tokenizer), list(stops), "", False

    def add(self, token):
        """The text that may be shown now."""
        return self._take(self._stream.add(token))

    def finish(self):
        """What is left at the end."""
        return "" if self.stopped else self._take(self._stream.finish()) + self._rest()

    def _rest(self):
        rest, self._held = "" if self.stopped else self._held, ""
        return rest

    def _take(self, text):
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[:min(found)], ""
            return shown
        kept = max((size for stop in self._stops for size in range(1, min(len(stop), len(self._held) + 1))
                    if self._held.endswith(stop[:size])), default=0)
        shown, self._held = self._held[:len(self._held) - kept], self._held[len(self._held) - kept:]
        return shown
