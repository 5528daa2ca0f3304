"""Random schedules on the model: whatever comes, each sequence gets the tokens that it would have alone."""

import random

import pytest
from scoville.schedule.records import NONE
from world import VOCAB, World, chip

FEW, MANY = 300, 10_000


def random_world(rng):
    """A chip of any shape, and a pool for a quarter of what its slots would like, but at least for one sequence."""
    groups = rng.choice([1, 1, 1, 2])
    config = chip(lanes=rng.choice([1, 4, 8, 8]), slots=rng.choice([1, 4, 8, 8]), groups=groups,
                  slot_pages=4)
    spans = tuple(rng.choice([0, 0, 20, 40]) for _ in range(groups))
    running = rng.choice([min(config.seats, config.slots), config.slots, config.slots])
    return World(config, groups * rng.choice([4, 5, max(4, config.slots)]), running=running, spans=spans)


def random_request(rng, world, name, stems):
    """Submit one: a third share a stem with what came before."""
    tenant = rng.randrange(2)
    mates = [told for told in world.told.values() if told.state != "gone" and told.request.tenant == tenant]
    stem = rng.choice(stems)[:rng.randrange(50)] if rng.random() < 0.4 else []
    prompt = [*stem, *(rng.randrange(VOCAB) for _ in range(rng.choice([1, 9, 20, 30])))]
    fields = {}
    if mates and rng.random() < 0.8:
        parent = rng.choice(mates)
        if rng.random() < 0.5:  # the next turn of a talk
            prompt = [*parent.words, *parent.got, *prompt][:60]
        same = 0
        for one, other in zip(prompt, [*parent.words, *parent.got], strict=False):
            if one != other:
                break
            same += 1
        fields = {"parent": parent.request.id, "shared": same}
    limit = rng.choice([1, 12, NONE, NONE])
    told = world.request(name, prompt, tenant=tenant, limit=limit, seed=rng.getrandbits(32),
                         priority=rng.choice([0, 0, 1, 7]), flags=rng.randrange(2),
                         context=rng.randint(len(prompt), 128), room=len(prompt) + rng.randrange(1, 40),
                         stops=rng.sample(range(VOCAB), rng.choice([0, 0, 1])), **fields)
    if not fields and rng.random() < 0.05:  # a token that is none, or that cannot be read; in a shared page none is
        place = rng.randrange(len(prompt))
        if rng.random() < 0.5:
            world.buffers.words[told.request.tokens][place] = VOCAB
        else:
            world.buffers.broken.add(told.request.tokens + 4 * place)


def play(seed):
    """One schedule; returns the world."""
    rng = random.Random(seed)
    world = random_world(rng)
    stems = [[rng.randrange(VOCAB) for _ in range(80)] for _ in range(2)]
    coming, cancels = rng.choice([0.2, 0.7, 1.0]), rng.choice([0, 0.02, 0.1])
    left = rng.choice([2, 4, 7])
    while left or world.open:
        while left and len(world.open) < world.config.slots and rng.random() < coming:
            random_request(rng, world, left, stems)
            left -= 1
        if rng.random() < cancels:
            world.cancel(rng.randrange(10))
        if world.step() is None and left:
            random_request(rng, world, left, stems)
            left -= 1
    world.finish()
    return world


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_random_schedules(count, run_seed):
    preemptions = shared = 0
    for n in range(count):
        try:
            world = play(f"{run_seed} {n}")
        except AssertionError as error:
            raise AssertionError(f"schedule {run_seed} {n}: {error}") from error
        preemptions += world.preemptions
        shared += world.shared
    assert preemptions > count / 10 and shared > count
