"""A `WordReader` and its memory, for testbenches of those who read words."""

import harness
from scoville.memory.words import read_word_layout, word_request_layout

__all__ = ["Words"]


class Words:
    """Answers the requests of a component's port; some words, if any, cannot be read.

    Parameters
    ----------
    bench : harness.Bench
    config : ChipConfig
    stalls : of both streams

    Members
    -------
    memory : dict of address to word, None for one that cannot be read; it has all that is asked for
    requests : (address, count) of each
    """

    def __init__(self, bench, config, stalls):
        self.config, self.memory, self.requests = config, {}, []
        self._asked, self._words = bench.sink("request", stalls), bench.source("words", stalls)
        bench.each_cycle(self._serve)

    def put(self, address, words):
        """Fill memory from an address on."""
        self.memory.update((address + 4 * n, word) for n, word in enumerate(words))

    def _serve(self):
        for packed in self._asked.received[len(self.requests):]:
            asked = harness.unpack(word_request_layout(self.config), packed)
            address, count = asked["address"], asked["count"]
            self.requests.append((address, count))
            for n in range(count):
                word = self.memory[address + 4 * n]
                self._words.send([harness.pack(read_word_layout(), {
                    "word": word or 0, "last": n == count - 1, "error": word is None})])
