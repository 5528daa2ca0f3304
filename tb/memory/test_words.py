"""Words from memory: every count, place in a beat and bus, errors, a word a cycle."""

import cocotb
import harness
import pytest
from scoville.config import get_config
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.memory.words import MAX_WORDS, WordReader, read_word_layout, word_request_layout


class System:
    """The reader between who asks and a memory in which some beats cannot be read."""

    def __init__(self, dut, seed, stalls):
        self.config = get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.asked, self.words = tb.source("i", stalls), tb.sink("o", stalls)
        self.request, self.response = tb.sink("request", stalls), tb.source("response", stalls)
        self.beats, self.served = {}, 0
        tb.each_cycle(self._serve)

    def beat(self, address):
        """What is there: made up at the first look."""
        rng, size = self.tb.rng, self.config.bus_bytes
        if address not in self.beats:
            error = rng.random() < 0.1
            self.beats[address] = {"data": rng.getrandbits(8 * size), "error": int(error),
                                   "refused": int(error and rng.random() < 0.5)}
        return self.beats[address]

    def _serve(self):
        size = self.config.bus_bytes
        for packed in self.request.received[self.served:]:
            self.served += 1
            fetch = harness.unpack(fetch_layout(self.config), packed)
            assert fetch["address"] % size == 0
            self.response.send([harness.pack(response_layout(self.config), self.beat(fetch["address"] + n * size))
                                for n in range(fetch["beats"])])

    def model(self, address, count):
        """The words of a request."""
        size = self.config.bus_bytes
        for n in range(count):
            at = address + 4 * n
            beat = self.beat(at // size * size)
            yield {"word": beat["data"] >> 8 * (at % size) & 0xFFFFFFFF, "last": int(n == count - 1),
                   "error": beat["error"], "refused": beat["refused"]}


async def traffic(dut, seed, stalls):
    system = System(dut, seed, stalls)
    tb, rng = system.tb, system.tb.rng
    await tb.reset()
    wanted, beats = [], 0
    words = system.config.bus_bytes // 4
    for n in range(150):
        long = [rng.randint(1, MAX_WORDS), MAX_WORDS] * (n % 10 == 0)
        count = rng.choice([1, 2, 32, rng.randint(1, 2 * words), *long])
        address = 4 * rng.randrange((1 << system.config.addr_bits - 2) - count)
        system.asked.send([harness.pack(word_request_layout(system.config), {"address": address, "count": count})])
        wanted += system.model(address, count)
        beats += (address // 4 % words + count - 1) // words + 1
    got = [harness.unpack(read_word_layout(), packed) for packed in await system.words.receive(len(wanted))]
    assert got == wanted
    await tb.wait(20)
    assert system.response.idle and len(system.response.cycles) == beats  # no beat too many was asked for
    return system


@cocotb.test()
async def random_stalls(dut):
    await traffic(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; a word comes in every cycle of a request."""
    system = await traffic(dut, 2, 0.0)
    system.asked.send([harness.pack(word_request_layout(system.config), {"address": 4, "count": MAX_WORDS})])
    await system.words.receive(MAX_WORDS)
    cycles = system.words.cycles[-MAX_WORDS:]
    assert cycles[-1] - cycles[0] == MAX_WORDS - 1


@pytest.mark.parametrize("config", ["slim", "nano", "kria"])
def test_words(sim, config):
    harness.run(WordReader(get_config(config)), __name__, sim=sim, parameters=config)
