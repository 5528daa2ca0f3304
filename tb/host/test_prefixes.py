"""Shared prefixes and the heap, against what a naive search finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from scoville.config import PAGE_TOKENS
from scoville_host.runtime.many.heap import STEP, Heap
from scoville_host.runtime.many.prefixes import Prefixes

# Few different pages, so that sequences begin alike; and ends that fill no page.
PAGE = st.sampled_from([[n] * PAGE_TOKENS for n in range(2)] + [[0] * (PAGE_TOKENS - 1) + [1]])
END = st.sampled_from([[], [0], [1] * (PAGE_TOKENS - 1)])
TOKENS = st.tuples(st.lists(PAGE, max_size=4), END).map(lambda parts: [*sum(parts[0], []), *parts[1]])


def pages(tokens):
    return [tokens[n:n + PAGE_TOKENS] for n in range(0, len(tokens) - PAGE_TOKENS + 1, PAGE_TOKENS)]


def same(one, other):
    """Whole pages at the beginning of `one`, but the one with its last token, that are `other`'s too."""
    mine, theirs = pages(one[:-1]), pages(other)
    return next((n for n, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b),
                min(len(mine), len(theirs)))


class AgainstNaive(RuleBasedStateMachine):
    """Every sequence in a list, in the order in which it came; a search looks at all of the tenant's."""

    def __init__(self):
        super().__init__()
        self.prefixes, self.naive, self.since = Prefixes(), {}, {}
        self.names = self.clock = 0

    @rule(tenant=st.integers(0, 1), tokens=TOKENS)
    def add(self, tenant, tokens):
        self._add(tenant, self.names, tokens)
        self.names += 1

    @rule(data=st.data(), more=TOKENS)
    def extend(self, data, more):
        if self.naive:
            name = data.draw(st.sampled_from(sorted(self.naive)))
            tenant, tokens = self.naive[name]
            self._add(tenant, name, tokens + more)

    def _add(self, tenant, name, tokens):
        self.prefixes.add(tenant, name, tokens)
        self.naive[name] = tenant, tokens
        self.clock += 1
        for count in range(1, len(pages(tokens)) + 1):
            self.since.setdefault((name, count), self.clock)

    @rule(data=st.data())
    def remove(self, data):
        name = data.draw(st.sampled_from([*sorted(self.naive), -1]))
        self.prefixes.remove(name)
        self.naive.pop(name, None)
        self.since = {key: at for key, at in self.since.items() if key[0] != name}

    @rule(tenant=st.integers(0, 2), tokens=TOKENS)
    def find(self, tenant, tokens):
        counts = {name: same(tokens, theirs) for name, (owner, theirs) in self.naive.items() if owner == tenant}
        most = max(counts.values(), default=0)
        oldest = min((name for name in counts if counts[name] == most), key=lambda name: self.since[name, most],
                     default=None) if most else None
        assert self.prefixes.find(tenant, tokens) == (oldest, most * PAGE_TOKENS)

    @invariant()
    def no_node_is_left_over(self):
        held = {(tenant, count, tuple(tokens[:count * PAGE_TOKENS])) for tenant, tokens in self.naive.values()
                for count in range(1, len(pages(tokens)) + 1)}
        assert len(self.prefixes) == len(held)
        assert all(name in self.prefixes for name in self.naive)


AgainstNaive.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
test_prefixes = AgainstNaive.TestCase


@given(tokens=TOKENS)
@settings(max_examples=50, deadline=None)
def test_tenants_never_see_each_other(tokens):
    prefixes = Prefixes()
    prefixes.add(1, 7, tokens)
    assert prefixes.find(2, [*tokens, 0]) == (None, 0)
    assert prefixes.find(1, [*tokens, 0])[1] == len(tokens) // PAGE_TOKENS * PAGE_TOKENS


@pytest.mark.parametrize("tokens, shared", [(0, 0), (31, 0), (32, 0), (33, 32), (64, 32), (65, 64), (99, 64)])
def test_a_token_is_left_over(tokens, shared):
    """A sequence computes its last token itself, so a page that it would share with it is of no use."""
    prefixes = Prefixes()
    prefixes.add(0, 7, [5] * 70)
    assert prefixes.find(0, [5] * tokens) == (7 if shared else None, shared)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9 * STEP), st.integers(0, 99)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_heap(steps):
    """What is taken never overlaps, lies inside, and nothing is lost: the widest gap is as wide as it can be."""
    base, size = 3 * STEP, 16 * STEP
    heap, taken = Heap(base, size), {}
    for take, wanted, which in steps:
        if take:
            used = sorted(taken.items())
            gaps, at = [], base
            for address, length in [*used, (base + size, 0)]:
                gaps.append(address - at)
                at = address + length
            address, length = heap.take(wanted), max(-(-wanted // STEP), 1) * STEP
            assert (address is None) == (max(gaps) < length)
            if address is not None:
                assert address % STEP == 0 and base <= address and address + length <= base + size
                assert all(address + length <= other or other + width <= address for other, width in used)
                taken[address] = length
        elif taken:
            address = sorted(taken)[which % len(taken)]
            heap.give(address)
            del taken[address]
        assert heap.free == size - sum(taken.values())
    for address in taken:
        heap.give(address)
    assert heap.take(size) == base
    with pytest.raises(KeyError):
        Heap(base, size).give(base)
