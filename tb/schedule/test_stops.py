"""The stop check: tokens in lists of every length and place, lists that cannot be read, a word a cycle."""

import cocotb
import harness
import pytest
from scoville.config import get_config
from scoville.schedule.records import MAX_STOPS
from scoville.schedule.stops import StopCheck, stop_request_layout
from words import Words

CONFIG = get_config("nano")


async def checks(dut, seed, stalls):
    tb = harness.Bench(dut, seed)
    rng = tb.rng
    words, asked, answers = Words(tb, CONFIG, stalls), tb.source("i", stalls), tb.sink("o", stalls)
    await tb.reset()
    wanted, lists = [], []
    for number in range(250):
        long = [1 << rng.randrange(5, 8), MAX_STOPS] * (number % 10 == 0)
        count = rng.choice([0, 1, 2, 3, rng.randint(0, 20), *long])
        address = 4096 * number + 4 * rng.randrange(100)
        stops = [rng.getrandbits(32) for _ in range(count)]
        token = rng.choice([*stops, rng.getrandbits(32)])
        if stops and rng.random() < 0.2:
            token = rng.choice(stops) ^ 1 << rng.randrange(32)
        broken = [n for n in range(count) if rng.random() < 0.05]
        words.put(address, [None if n in broken else stop for n, stop in enumerate(stops)])
        asked.send([harness.pack(stop_request_layout(CONFIG), {"token": token, "address": address, "count": count})])
        wanted.append(StopCheck.model(token, None if broken else stops))
        lists += [(address, count)] * bool(count)
    got = [(packed & 1, packed >> 1) for packed in await answers.receive(len(wanted))]
    assert got == wanted and words.requests == lists
    assert {(0, 0), (1, 0), (0, 1)} == set(wanted)
    return tb, words, asked, answers


@cocotb.test()
async def random_stalls(dut):
    await checks(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; the longest list takes a cycle a word, and 4."""
    tb, words, asked, answers = await checks(dut, 2, 0.0)
    words.put(0, range(1, MAX_STOPS + 1))
    for token in (5, MAX_STOPS + 1):
        asked.send([harness.pack(stop_request_layout(CONFIG), {"token": token, "address": 0, "count": MAX_STOPS})])
    await answers.receive(2)
    assert answers.cycles[-1] - answers.cycles[-2] == MAX_STOPS + 4


@pytest.mark.parametrize("config", ["nano"])
def test_stops(sim, config):
    harness.run(StopCheck(CONFIG), __name__, sim=sim, parameters=config)
