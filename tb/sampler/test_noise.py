"""Gumbel noise: the generator's published vectors, the stream against the model, and the distribution."""

from dataclasses import replace

import cocotb
import harness
import numpy as np
import pytest
from cocotb.triggers import FallingEdge, Timer
from scoville.config import get_config
from scoville.isa import POSITION_BITS
from scoville.sampler import noise
from scoville.sampler.walk import Walk, sampling_seats
from scoville.schedule.seats import PassState, Sampling

LATENCY = 43
SEED = 0x0123_4567_89AB_CDEF
LONG = {"verilator": 1 << 13, "icarus": 1 << 10}  # rows

PUBLISHED = (  # Random123's kat_vectors: rounds, counter, key, result
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (13, (0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (20, (0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
)


def rare_words():
    """Positions whose row 0, with `SEED`, has a word that few have, with those words.

    Small ones, for which the noise is computed another way; those about that limit; ones next to 2^32, of which every
    bit counts; and those with one high bit.
    """
    positions = np.arange(1 << 20)
    words = noise.threefry_model((0, positions.astype(np.uint32)), (SEED & 0xFFFFFFFF, SEED >> 32))[0].astype(np.int64)
    order, limit = np.argsort(words), 1 << noise.SMALL_BITS
    few = np.searchsorted(words[order], limit)
    chosen = [*order[:12], *order[12:few:few // 12], *order[few - 6:few + 6], *order[-24:]]
    for bit in range(noise.SMALL_BITS, 32):
        chosen.append(np.flatnonzero(words >> noise.SMALL_BITS == 1 << bit - noise.SMALL_BITS)[0])
    return [int(positions[place]) for place in chosen], words[chosen]


def configuration(name):
    base = name.removeprefix("many ")
    return get_config(name) if base == name else replace(get_config(base), slots=4)


async def settings(tb, seed, position):
    """Of a chip with one slot, before a command: those of the last of some seats."""
    config, rng = configuration(harness.parameters()[0]), tb.rng
    tokens = rng.randint(1, config.seats)
    seats = [{"position": position if seat == tokens - 1 else rng.getrandbits(POSITION_BITS)}
             for seat in range(config.seats)]
    tb.dut.state.value = harness.pack(PassState(config), {"tokens": tokens, "seats": seats})
    tb.dut.sampling.value = harness.pack(Sampling(config), [{"seed": seed}])
    await tb.wait(1)


async def check(tb, jobs):
    source, sink = tb.sources[0], tb.sinks[0]
    for seed, position, rows in jobs:
        await settings(tb, seed, position)
        source.send([rows])
        received = np.array(await sink.receive(rows), np.uint32)
        expected = noise.model(seed, position, rows).view(np.uint32)
        wrong = np.flatnonzero(received != expected)
        assert not len(wrong), f"{position}: rows {wrong} are {received[wrong]}, expected {expected[wrong]}"
        await source.drain()
    await tb.wait(3 * LATENCY)
    assert len(sink.received) == sum(job[2] for job in jobs), "values that nobody asked for"


async def check_seats(tb, count):
    """Passes of random seats: their noise in the order of `Walk`."""
    config, rng, source, sink = configuration(harness.parameters()[0]), tb.rng, tb.sources[0], tb.sinks[0]
    for _ in range(count):
        seats = [{"position": rng.getrandbits(POSITION_BITS), "samples": rng.getrandbits(1)}
                 for _ in range(config.seats)]
        state = {"tokens": rng.randint(1, config.seats), "seats": seats}
        seats[rng.randrange(state["tokens"])]["samples"] = 1
        sampling = [{"seed": rng.getrandbits(64)} for _ in seats]
        rows = rng.choice([1, 32, 33, rng.randint(1, 90)])
        tb.dut.state.value = harness.pack(PassState(config), state)
        tb.dut.sampling.value = harness.pack(Sampling(config), sampling)
        await tb.wait(1)
        values = {seat: noise.model(sampling[seat]["seed"], seats[seat]["position"], rows).view(np.uint32)
                  for seat in sampling_seats(config, state)}
        source.send([rows])
        pairs = Walk.model(config, state, rows)
        assert await sink.receive(len(pairs)) == [int(values[seat][row]) for row, seat, *_ in pairs]


@cocotb.test()
async def under_stalls(dut):
    tb = harness.Bench(dut, seed=1)
    tb.source("command", stalls=0.3), tb.sink("o", stalls=0.3)
    await tb.reset()
    await check(tb, [(tb.rng.getrandbits(64), tb.rng.getrandbits(POSITION_BITS), tb.rng.randint(1, 90))
                     for _ in range(12)])


@cocotb.test()
async def full_throughput(dut):
    tb = harness.Bench(dut, seed=2)
    source, sink = tb.source("command"), tb.sink("o")
    await tb.reset()
    await check(tb, [((1 << 64) - 1, 5, 500)])
    assert sink.cycles[-1] - sink.cycles[0] == 499
    assert sink.cycles[0] - source.cycles[0] == LATENCY


@cocotb.test()
async def rare_values(dut):
    tb = harness.Bench(dut, seed=3)
    tb.source("command"), tb.sink("o")
    await tb.reset()
    positions, words = rare_words()
    assert (words < 1 << noise.SMALL_BITS).sum() > 24 and (words > 0xFFFF0000).sum() > 4
    await check(tb, [(SEED, position, 1) for position in positions])


@cocotb.test()
async def any_number_of_rows(dut):
    """None at all; every power of two, to its end if that is near; and a reset in the midst, of one clock."""
    tb = harness.Bench(dut, seed=4)
    source, sink = tb.source("command"), tb.sink("o")
    await tb.reset()
    await check(tb, [(1, 2, 0), (2, 3, 1), (3, 4, 0), (4, 5, 2)])
    for bit in range(24):
        await tb.reset()
        if bit < 11:
            await check(tb, [(tb.rng.getrandbits(64), bit, 1 << bit)])
            continue
        await settings(tb, SEED, bit)
        source.send([1 << bit])
        assert (np.array(await sink.receive(5), np.uint32) == noise.model(SEED, bit, 5).view(np.uint32)).all()
    assert not harness.peek(dut.command__ready)
    await FallingEdge(dut.clk)
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    await Timer(1, "ns")
    assert harness.peek(dut.command__ready) and not harness.peek(dut.o__valid)


@cocotb.test()
async def many_rows(dut):
    """A long command, of whose values those about the powers of two are looked at, and its end."""
    rows = LONG[harness.parameters()[1]] + 3
    expected = noise.model(SEED, 9, rows).view(np.uint32)
    tb = harness.Bench(dut, seed=5)
    await tb.reset()
    await settings(tb, SEED, 9)
    await FallingEdge(dut.clk)
    dut.command__payload.value = rows
    dut.command__valid.value = dut.o__ready.value = 1
    await FallingEdge(dut.clk)
    dut.command__valid.value = 0
    looks, clock = [1 << bit for bit in range(rows.bit_length())], 1
    for row in sorted({place for look in looks for place in range(look - 2, look + 3) if 0 <= place < rows} | {rows}):
        await Timer((row + LATENCY - clock) * harness.PERIOD, "ns")
        clock = row + LATENCY
        assert harness.peek(dut.o__valid) == (row < rows)
        assert row == rows or harness.peek(dut.o__payload) == expected[row], row


@cocotb.test()
async def seats_with_waits(dut):
    tb = harness.Bench(dut, seed=6)
    tb.source("command", stalls=0.3), tb.sink("o", stalls=0.3)
    await tb.reset()
    await check_seats(tb, 16)


@cocotb.test()
async def seats_at_full_speed(dut):
    """A value a cycle, whatever the number of seats."""
    tb = harness.Bench(dut, seed=7)
    source, sink = tb.source("command"), tb.sink("o")
    await tb.reset()
    for _ in range(8):
        mark = len(sink.cycles)
        await check_seats(tb, 1)
        assert sink.cycles[-1] - sink.cycles[mark] == len(sink.cycles) - 1 - mark
        assert sink.cycles[mark] - source.cycles[-1] == LATENCY + 1


@pytest.mark.parametrize("config", ["nano", "duo"])
def test_stream(sim, config):
    harness.run(noise.GumbelNoise(get_config(config)), __name__, sim=sim, parameters=[config, sim],
                testcase=["under_stalls", "full_throughput", "rare_values", "any_number_of_rows", "many_rows"])


@pytest.mark.parametrize("config", ["kria", "nano", "slim"])
def test_seats(sim, config):
    config = f"many {config}"
    harness.run(noise.GumbelNoise(configuration(config)), __name__, sim=sim, parameters=[config, sim],
                testcase=["seats_with_waits", "seats_at_full_speed"])


def test_published_vectors():
    for rounds, counter, key, expected in PUBLISHED:
        assert tuple(int(x[0]) for x in noise.threefry_model(counter, key, rounds)) == expected


def test_distribution():
    values = np.concatenate([noise.model(3, position, 50_000) for position in range(4)]).astype(np.float64)
    uniform = np.sort(np.exp2(-np.exp2(-values)))  # the inverse of -log2(-log2(u))
    steps = np.arange(len(uniform)) / len(uniform)
    assert np.abs(uniform - steps).max() < 1.63 / np.sqrt(len(uniform))  # Kolmogorov-Smirnov at 1 %


def test_large_noise_is_precise():
    """Words of the whole range against float64."""
    words = np.concatenate([np.arange(64), (1 << np.arange(32)) - 1, (1 << 32) - 1 - np.arange(64)]).astype(np.int64)
    x = (2 * words + 1) / 2.0**33
    exact = -np.log2(-np.log1p(-x) / np.log(2))
    assert np.abs(noise_of(words) - exact).max() < 2e-3


def noise_of(words):
    """`noise.model` with the generator replaced by given words."""
    generator = noise.threefry_model
    try:
        noise.threefry_model = lambda counter, key: (words,)
        return noise.model(0, 0, len(words))
    finally:
        noise.threefry_model = generator
