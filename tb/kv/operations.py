"""Operations on a KV cache at random, most of which can be done, and those of every kind that cannot."""

from dataclasses import replace

from scoville.config import PAGE_TOKENS, get_config

__all__ = ["NAMES", "USUAL", "configuration", "random_operation"]

NAMES = ("open", "fork", "reserve", "missing", "commit", "leave", "release")
WEIGHTS = (4, 4, 8, 2, 8, 3, 1)
TENANTS = (1, 1, 2)
USUAL = {"slots": 4, "groups": 2, "pool": 32}  # sizes of the controller that all of its testbenches share


def configuration(*, slots=1, groups=1, pool=16, entries=8):
    """A small chip's sizes."""
    return replace(get_config("nano"), slots=slots, cache_groups=groups, pool_pages=pool, slot_pages=entries)


def random_operation(rng, model):
    """(name, arguments) of an operation, by what the model's slots have."""
    config = model.config
    name = rng.choices(NAMES, WEIGHTS)[0]
    wanted = {"open": lambda it: not it.open,
              "fork": lambda it: it.open and it.length == 0}.get(name, lambda it: it.open)
    likely = [number for number, it in enumerate(model.slots) if wanted(it)]
    slot = rng.choice(likely) if likely and rng.random() < 0.9 else rng.randrange(config.slots)
    it, most = model.slots[slot], config.slot_pages * PAGE_TOKENS
    if name == "open":
        return name, (slot, rng.choice(TENANTS))
    if name == "fork":
        parents = [number for number, other in enumerate(model.slots) if other.full and other.tenant == it.tenant]
        parent = rng.choice(parents) if parents and rng.random() < 0.9 else rng.randrange(config.slots)
        full = model.slots[parent].full
        return name, (slot, parent, rng.choice([0, full, full, full + 1, rng.randint(0, full)]))
    if name in ("reserve", "missing"):
        more = rng.choice([0, 1, rng.randrange(3 * PAGE_TOKENS), rng.randrange(most + 2 * PAGE_TOKENS)])
        return name, (slot, min(it.length * PAGE_TOKENS + more, 2 * most - 1))
    if name == "commit":
        end = it.length * PAGE_TOKENS
        return name, (slot, rng.choice([end, end, end + 1, max(end - 1, 0), rng.randint(0, end)]))
    if name == "leave":
        edge = rng.randint(0, it.length + 1) * PAGE_TOKENS
        return name, (slot, rng.randrange(config.cache_groups), min(max(edge - rng.choice([0, 0, 1]), 0), 2 * most - 1))
    return name, (slot,)
