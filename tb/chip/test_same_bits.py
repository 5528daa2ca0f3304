"""The whole chip gives the golden model's bits: on every configuration, memory timing, model shape, weight format."""

import dataclasses
from pathlib import Path

import pytest
from llamas import compiled, configuration, golden, prompt_for, random_llama, same_bits
from machine import FAST, SATURATED, Machine
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler.compiler import compile_model
from scoville_host.runtime.history import fill_history
from scoville_sim import MemoryTiming

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny"
# The builds of the other chips take minutes; `mix` has what they differ in.
CONFIGS = ["nano", pytest.param("mix", marks=pytest.mark.heavy),
           *(pytest.param(name, marks=pytest.mark.slow) for name in ("duo", "slim", "wide", "kria"))]
STALLING = MemoryTiming(read_latency=20, write_latency=10, refresh_interval=500, refresh_cycles=40, stall_ar=0.3,
                        stall_r=0.3, stall_aw=0.3, stall_w=0.3, stall_b=0.3)

SHAPES = {
    "plain": {"hidden": 64, "heads": 2, "kv_heads": 2, "head_dim": 32},
    "head of 24, groups of 3, biases": {"hidden": 80, "heads": 3, "kv_heads": 1, "head_dim": 24, "ffn": 100,
                                        "biases": ("q", "k", "v")},
    "head of 40, groups of 4, untied": {"hidden": 72, "heads": 4, "kv_heads": 1, "head_dim": 40, "ffn": 100,
                                        "tied": False},
    "head of 48, every bias": {"hidden": 48, "heads": 2, "kv_heads": 2, "head_dim": 48, "ffn": 40, "vocab": 33,
                               "biases": ("q", "k", "v", "o", "gate", "up", "down")},
    "head of 96": {"hidden": 96, "heads": 2, "kv_heads": 1, "head_dim": 96, "ffn": 64, "vocab": 64, "tied": False},
}
FORMATS = ("q8_0", "q4_0", "q4_1", "mxfp4")


def check(image, prompt, max_new, *, timing=FAST, memory_seed=0, **settings):
    """Run on the Verilated chip and on the golden model."""
    wanted = golden(image, prompt, max_new, **settings)
    with Machine(image, timing=timing, seed=memory_seed) as machine:
        tokens, logits = machine.run(prompt, max_new, **settings)
        assert tokens == wanted.tokens
        assert same_bits(logits, wanted.logits)
        assert machine.counters_add_up()
        assert not machine.chip.read("STATUS") & SATURATED
    return wanted


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_shapes(name, shape):
    image = compiled(configuration(name), **SHAPES[shape], layers=1)
    check(image, prompt_for(random_llama(**SHAPES[shape]), 7), 3)


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("name", CONFIGS)
def test_weight_formats(name, weights):
    image = compiled(configuration(name), weights=weights, hidden=80, heads=3, kv_heads=3, head_dim=24, layers=1)
    check(image, [5, 76, 0], 2)


@pytest.mark.parametrize("length", [33, 66])
@pytest.mark.parametrize("name", CONFIGS)
def test_more_than_a_page(name, length):
    """Two pages, and three: from the third on, the scores of a page are computed amid the sums over the values."""
    shape = {"layers": 1, "heads": 3, "hidden": 32, "ffn": 32, "vocab": 40}
    image = compiled(configuration(name), **shape)
    check(image, prompt_for(random_llama(**shape), length), 3)


@pytest.mark.parametrize("name", CONFIGS)
def test_position(name):
    """A prompt after positions that are in the pages already, as a common prefix would be."""
    shape = {"layers": 2, "heads": 4, "kv_heads": 2, "hidden": 80, "head_dim": 40, "ffn": 100}
    image = compiled(configuration(name), **shape)
    prompt = prompt_for(random_llama(**shape), 5)
    wanted = golden(image, prompt, 3, position=45)
    with Machine(image) as machine:
        fill_history(image, machine.chip.memory, 45)
        tokens, logits = machine.run(prompt, 3, position=45)
        assert tokens == wanted.tokens
        assert same_bits(logits, wanted.logits)
    assert not same_bits(wanted.logits, golden(image, prompt, 3).logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_pages_and_layers(name):
    shape = {"layers": 2, "heads": 4, "kv_heads": 2, "hidden": 80, "head_dim": 40, "ffn": 100}
    image = compiled(configuration(name), **shape)
    check(image, prompt_for(random_llama(**shape), 71), 30, timing=MemoryTiming(read_latency=60))


@pytest.mark.parametrize("latency", [1, 100, 300])
@pytest.mark.parametrize("name", CONFIGS)
def test_memory_latency(name, latency):
    image = compiled(configuration(name), layers=1, heads=3)
    check(image, [1, 2, 3, 4, 5], 2, timing=MemoryTiming(read_latency=latency, write_latency=latency))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_random_stalls(name, seed, run_seed):
    image = compiled(configuration(name), layers=1, heads=3)
    latency = (1, 300)[seed % 2]
    check(image, [1, 2, 3, 4, 5], 2, timing=dataclasses.replace(STALLING, read_latency=latency),
          memory_seed=1000 * run_seed + seed)


def test_tight_memory():
    """One burst at a time, one beat in four cycles."""
    image = compiled(configuration("nano"), layers=1, heads=3)
    check(image, [1, 2, 3], 2, timing=MemoryTiming(read_latency=12, beats=1, period=4, outstanding=1))


@pytest.mark.parametrize("name", ["nano", pytest.param("slim", marks=pytest.mark.slow)])
def test_sampling(name):
    image = compiled(configuration(name), layers=1, heads=3)
    results = [check(image, [9, 8, 7], 6, temperature=temperature, seed=seed).tokens
               for temperature, seed in ((1.5, 5), (1.5, 6 << 40 | 1), (0.7, 5), (1e38, 5), (1e-6, 5), (5e-39, 5),
                                         (1e-39, 5), (1e-300, 5), (0.0, 0))]
    assert results[0] != results[1]
    assert all(result == results[-1] for result in results[4:])


def tiny(name):
    return compile_model(load_checkpoint(TINY), configuration(name), context=128)


@pytest.mark.parametrize("name", ["nano", *(pytest.param(name, marks=pytest.mark.slow)
                                            for name in ("slim", "wide", "kria"))])
def test_tiny(name):
    check(tiny(name), [1, 40, 7, 300, 21], 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nano", "slim", "wide", "kria"])
def test_tiny_past_a_page(name):
    check(tiny(name), [(7 * n + 3) % 400 for n in range(41)], 40, temperature=1.0, seed=3)


@pytest.mark.slow
def test_configurations_agree():
    """Golden models of other layouts are compared with each other in test_golden; here the chips are."""
    results = []
    for name in ("nano", "duo", "slim", "wide", "kria"):
        image = compiled(configuration(name), **SHAPES["head of 24, groups of 3, biases"])
        with Machine(image) as machine:
            results.append(machine.run(list(range(35)), 4))
    assert all(tokens == results[0][0] and same_bits(logits, results[0][1]) for tokens, logits in results)
