"""The KV cache's model: invariants after every operation, the order of pages, and what is refused."""

import copy
import random

import pytest
from kv.operations import configuration, random_operation
from scoville.kv.model import KvModel, pages_of

SIZES = [{"slots": 1, "groups": 1}, {"slots": 2, "groups": 2, "pool": 8}, {"slots": 16, "groups": 1, "pool": 32},
         {"slots": 4, "groups": 2, "pool": 32}]


def state(model):
    """All that an operation may change."""
    return copy.deepcopy(vars(model) | {"slots": [vars(it) for it in model.slots], "config": None})


def model_with(*, pages=8, slots=4, groups=1, entries=8, opened=(0, 1, 2)):
    model = KvModel(configuration(slots=slots, groups=groups, pool=max(pages, 8), entries=entries), pages)
    for slot in opened:
        assert model.open(slot, tenant=7)
    return model


def written(model, slot, tokens):
    assert model.reserve(slot, tokens) and model.commit(slot, tokens)
    return [model.read(slot, 0, index) for index in range(pages_of(tokens))]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_random_operations(sizes):
    """What is refused changes nothing; `missing` is what `reserve` takes; in the end every page is free."""
    seen = set()
    for seed in range(6):
        rng = random.Random(seed)
        config = configuration(**sizes)
        model = KvModel(config, rng.randint(config.pool_pages // 2, config.pool_pages))
        for _ in range(300):
            name, arguments = random_operation(rng, model)
            before, free = state(model), model.free
            missing = model.missing(*arguments) if name == "reserve" else 0
            done = getattr(model, name)(*arguments)
            model.check()
            seen.add((name, bool(done)))
            if name == "missing" or done is False:
                assert state(model) == before
            elif name == "reserve":
                assert free - model.free == missing
        for slot in range(config.slots):
            model.release(slot)
        model.check()
        assert model.free == model.pages
    names = {"open", "reserve", "commit", "leave", "release"} | ({"fork"} if config.slots > 1 else set())
    assert seen >= {(name, done) for name in names for done in (False, True)}


def test_pages_come_in_order():
    """Fresh pages first, ascending; then those given back, first come first served; index by index, group by group."""
    model = model_with(pages=6, groups=2)
    assert model.reserve(0, 64) and model.reserve(1, 1)
    assert [[model.read(0, group, index) for index in range(2)] for group in range(2)] == [[0, 2], [1, 3]]
    assert model.free == 0 and not model.reserve(2, 1)
    assert model.release(1) and model.release(0)
    assert model.open(0, 7) and model.reserve(0, 96)
    assert [[model.read(0, group, index) for index in range(3)] for group in range(2)] == [[4, 0, 1], [5, 2, 3]]


def test_full_pages_are_shared_and_not_written():
    model = model_with()
    pages = written(model, 0, 70)
    assert not model.fork(1, 0, 3)  # the third is not full
    assert model.fork(1, 0, 2) and model.free == 5
    assert [model.read(1, 0, index) for index in range(3)] == [*pages[:2], None]
    assert model.write(1, 0, 1) is None and model.write(0, 0, 1) is None and model.write(0, 0, 2) == pages[2]
    assert model.reserve(1, 96) and model.write(1, 0, 2) == model.read(1, 0, 2) == 3
    assert model.release(0) and model.free == 5 and model.read(1, 0, 0) == pages[0]
    assert model.release(1) and model.free == 8
    model.check()


@pytest.mark.parametrize(("slot", "parent", "count"), [(1, 2, 1), (1, 3, 0), (3, 0, 1), (0, 0, 1), (2, 0, 1)])
def test_forks_that_are_refused(slot, parent, count):
    """Of a page that is not full, of a closed parent, into a closed slot, into one that has pages, another tenant's."""
    model = model_with(opened=(0, 1))
    model.open(2, tenant=8)
    written(model, 0, 64)
    model.reserve(2, 40)
    if (slot, parent) == (2, 0):
        model.release(2)
        model.open(2, tenant=8)
    before = state(model)
    assert not model.fork(slot, parent, count)
    assert state(model) == before


def test_a_window_gives_back_each_page_once():
    model = model_with(groups=2, entries=4, pages=8)
    written(model, 0, 100)
    assert model.fork(1, 0, 2)
    assert model.leave(0, 1, 63) and model.leave(0, 1, 63) and model.free == 0
    assert model.read(0, 1, 0) is None and model.read(0, 1, 1) == 3 and model.read(0, 0, 0) == 0
    assert not model.fork(2, 0, 1)  # the parent has no longer all of it
    assert model.leave(1, 1, 1000) and model.free == 1  # no page that is not full
    assert model.leave(0, 1, 64) and model.free == 2
    assert model.release(0) and model.release(1) and model.free == 8
    model.check()


def test_sizes_are_checked():
    config = configuration(slots=2, pool=8)
    with pytest.raises(ValueError, match=r"^9 pages; it must be 0 to 8$"):
        KvModel(config, 9)
    model = KvModel(config, 8)
    with pytest.raises(IndexError, match=r"^slot 2; there are 2$"):
        model.release(2)
    with pytest.raises(IndexError, match=r"^cache group 1; there are 1$"):
        model.leave(0, 1, 32)
    model.open(0, 0)
    assert not model.reserve(0, 8 * 32 + 1) and model.reserve(0, 8 * 32)
    with pytest.raises(ValueError, match="slots is 3; it must be a power of two"):
        configuration(slots=3)
