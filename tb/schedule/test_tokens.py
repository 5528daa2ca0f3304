"""Seating tokens: runs of every length and seat, tokens outside the vocabulary, reads that fail, a seat a cycle."""

import cocotb
import harness
import pytest
from scoville.config import get_config
from scoville.isa import POSITION_BITS
from scoville.schedule.records import Error
from scoville.schedule.tokens import TokenReader, run_layout, seating_layout
from words import Words


async def runs(dut, seed, stalls):
    tb, config = harness.Bench(dut, seed), get_config(harness.parameters())
    rng = tb.rng
    words, asked, answers = Words(tb, config, stalls), tb.source("i", stalls), tb.sink("o", stalls)
    seats = tb.sink("seat", 0.0)
    outcomes = set()
    for vocab in (1, 50_000, 1 << 31, (1 << 32) - 1):
        await tb.reset()
        words.requests.clear()
        dut.vocab.value = vocab
        wanted, seated = [], []
        for number in range(120):
            count = rng.randint(1, config.seats)
            run = {"address": 4096 * number + 4 * rng.randrange(100), "count": count,
                   "seat": rng.randint(0, config.seats - count),
                   "position": rng.randrange((1 << POSITION_BITS) - config.seats)}
            tokens = [rng.choice([0, vocab - 1, rng.randrange(vocab)]) for _ in range(count)]
            if rng.random() < 0.2:
                tokens[rng.randrange(count)] = rng.choice([vocab, rng.randrange(vocab, 1 << 32)])
            broken = [n for n in range(count) if rng.random() < 0.05]
            words.put(run["address"], [None if n in broken else token for n, token in enumerate(tokens)])
            asked.send([harness.pack(run_layout(config), run)])
            wanted.append(TokenReader.model(vocab, None if broken else tokens))
            seated += [(run["seat"] + n, run["position"] + n, None if n in broken else token)
                       for n, token in enumerate(tokens)]
        assert await answers.receive(len(wanted)) == wanted
        got = [harness.unpack(seating_layout(config), packed) for packed in seats.received]
        assert len(got) == len(seated)
        for seat, (number, position, token) in zip(got, seated, strict=True):
            assert (seat["seat"], seat["who"]["position"]) == (number, position)
            assert token is None or seat["who"]["token"] == token
        outcomes |= set(wanted)
    assert outcomes == {0, Error.READ, Error.TOKEN}
    return seats


@cocotb.test()
async def random_stalls(dut):
    await runs(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; the seats of a run come one a cycle."""
    seats = await runs(dut, 2, 0.0)
    config = get_config(harness.parameters())
    numbers = [harness.unpack(seating_layout(config), packed)["seat"] for packed in seats.received]
    steps = [after - before for before, after in zip(seats.cycles, seats.cycles[1:], strict=False)]
    inside = [step for step, n in zip(steps, range(1, len(numbers)), strict=True) if numbers[n] == numbers[n - 1] + 1]
    assert config.seats == 1 or min(steps) == 1 and inside.count(1) > len(inside) // 2


@pytest.mark.parametrize("config", ["kria", "slim", "wide"])
def test_tokens(sim, config):
    harness.run(TokenReader(get_config(config)), __name__, sim=sim, parameters=config)
