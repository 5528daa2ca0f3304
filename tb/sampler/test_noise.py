"""Gumbel noise: the generator's published vectors, the stream against the model, and the distribution."""

import cocotb
import harness
import numpy as np
from scoville.sampler import noise

LATENCY = 43

PUBLISHED = (  # Random123's kat_vectors: rounds, counter, key, result
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (13, (0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (20, (0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
)


async def check(tb, jobs):
    source, sink = tb.sources[0], tb.sinks[0]
    source.send(harness.pack(noise.noise_command, dict(zip(("seed", "position", "rows"), job, strict=True)))
                for job in jobs)
    for job in jobs:
        received = np.array(await sink.receive(job[2]), np.uint32)
        expected = noise.model(*job).view(np.uint32)
        wrong = np.flatnonzero(received != expected)
        assert not len(wrong), f"{job}: rows {wrong} are {received[wrong]}, expected {expected[wrong]}"


@cocotb.test()
async def under_stalls(dut):
    tb = harness.Bench(dut, seed=1)
    tb.source("command", stalls=0.3), tb.sink("o", stalls=0.3)
    await tb.reset()
    await check(tb, [(tb.rng.getrandbits(64), tb.rng.getrandbits(32), tb.rng.randint(1, 90)) for _ in range(12)])


@cocotb.test()
async def full_throughput(dut):
    tb = harness.Bench(dut, seed=2)
    source, sink = tb.source("command"), tb.sink("o")
    await tb.reset()
    await check(tb, [((1 << 64) - 1, 5, 500)])
    assert sink.cycles[-1] - sink.cycles[0] == 499
    assert sink.cycles[0] - source.cycles[0] == LATENCY


def test_stream(sim):
    harness.run(noise.GumbelNoise, __name__, sim=sim)


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
