"""A `WordReader` and its memory, and the memory behind a fetch port, for testbenches of those who read words."""

import harness
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.memory.words import read_word_layout, word_request_layout

__all__ = ["Beats", "Words"]


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


class Beats:
    """Answers the short reads of a component's fetch port, some time after they came; some beats cannot be read.

    Parameters
    ----------
    bench : harness.Bench
    config : ChipConfig
    stalls : of both streams; without stalls an answer comes in the cycle behind the one in which its request is seen

    Members
    -------
    words : dict of address to word; what is not there is 0
    broken : addresses of beats that answer with a bus error
    requests : (address, beats) of each
    """

    def __init__(self, bench, config, stalls):
        self.bench, self.config, self.words, self.broken, self.requests = bench, config, {}, set(), []
        self.response = bench.source("response", stalls)
        self._asked, self._waits = bench.sink("request", stalls), 0
        bench.each_cycle(self._serve)

    def put(self, address, words):
        """Fill memory from an address on."""
        self.words.update((address + 4 * n, word) for n, word in enumerate(words))

    def read(self, address, count):
        """The words from an address on; None if one of their beats cannot be read."""
        addresses = [address + 4 * n for n in range(count)]
        if any(at // self.config.bus_bytes * self.config.bus_bytes in self.broken for at in addresses):
            return None
        return [self.words.get(at, 0) for at in addresses]

    def _serve(self):
        size, dut = self.config.bus_bytes, self.bench.dut
        held = harness.peek(dut.response__valid) and not harness.peek(dut.response__ready)
        self._waits = self._waits + 1 if held else 0
        assert self._waits < size // 4, "who asks takes what comes: others wait for the fetch port"
        for packed in self._asked.received[len(self.requests):]:
            asked = harness.unpack(fetch_layout(self.config), packed)
            assert asked["address"] % size == 0 and asked["beats"]
            self.requests.append((asked["address"], asked["beats"]))
            for at in range(asked["address"], asked["address"] + asked["beats"] * size, size):
                data = sum(self.words.get(at + 4 * n, 0) << 32 * n for n in range(size // 4))
                self.response.send([harness.pack(response_layout(self.config), {
                    "data": 0 if at in self.broken else data, "error": at in self.broken})])
