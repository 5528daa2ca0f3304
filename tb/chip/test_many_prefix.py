"""What a shared prefix saves: 16 requests that begin with the same 256 tokens, through the driver.

A child takes full pages and computes one token at least. So where prompts have tokens of their own behind the prefix,
all 8 pages of it are shared: with 16 such tokens (256 + 16 · 16) / (16 · 272) = 0.118 of all are computed. Of prompts
that are the prefix and nothing else 7 pages are, and each computes the last one: (256 + 15 · 32) / (16 · 256) = 0.180.
"""

import dataclasses

import numpy as np
import pytest
from llamas import compiled
from machine import FAST
from many_machine import NANO, SHAPE, Alone, planned, rtl, tokens_for
from scoville.config import PAGE_TOKENS, get_config
from scoville_host.runtime.many.golden import GoldenMachine
from scoville_host.runtime.many.requests import Requests

COUNT, PREFIX, SUFFIX, BAR = 16, 256, 16, 0.15
MANY = {"slots": COUNT, "pool_pages": 256, "slot_pages": 16}
ROOMY = dataclasses.replace(get_config("nano"), lanes=8, phases=8, **MANY)  # few passes
CONFIG = dataclasses.replace(get_config("nano"), lanes=4, phases=2, **MANY)
SMALL = {"hidden": 32, "layers": 1, "head_dim": 16, "ffn": 32, "vocab": 40, "context": 320}
MIDDLE = {"hidden": 128, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 128, "vocab": 64, "context": 320}


def serve(machine, plan, suffix, *, prefix=PREFIX, shared=True, later=False):
    """All requests, of one tenant, or else of a tenant each, who share nothing; `later` : behind the first one's end.
    """
    rng, requests = np.random.default_rng(5), Requests(machine, plan)
    prefix, sequences = tokens_for(rng, prefix, plan.image.vocab), []
    for number in range(COUNT):
        sequences.append(requests.submit(prefix + tokens_for(rng, suffix, plan.image.vocab), 1, seed=number,
                                         tenant=0 if shared else number))
        while later and number == 0 and requests.open:
            requests.go_on()
    while requests.open:
        requests.go_on()
    assert all(sequence.reason for sequence in sequences)
    return sequences


@pytest.mark.parametrize("later", [True, False], ids=["later", "at once"])
@pytest.mark.parametrize(("suffix", "pages"), [(SUFFIX, 8), (32, 8), (0, 7)])
def test_tokens_and_pages(suffix, pages, later):
    """Tokens that are computed, and pages that are held: the same whether all come at once, as children wait for the
    pages that they want, or behind the first.
    """
    plan = planned(compiled(ROOMY, **SMALL), running=COUNT)
    machine = GoldenMachine(plan)
    sequences = serve(machine, plan, suffix, later=later)
    assert [sequence.shared for sequence in sequences] == [0] + 15 * [PAGE_TOKENS * pages]
    each = PREFIX + suffix
    assert machine.seats == each + 15 * (each - PAGE_TOKENS * pages)
    assert machine.pool.most <= pages + COUNT * (-(-each // PAGE_TOKENS) - pages)
    assert max(machine.pool.changes["shared"]) == pages
    assert (machine.seats / (COUNT * each) <= BAR) == (suffix == SUFFIX)


@pytest.mark.parametrize("slots", [2, 4])
def test_few_slots(slots):
    """Who waits in the driver finds the prefix all the same: no request takes the slot of its own parent."""
    plan = planned(compiled(dataclasses.replace(ROOMY, slots=slots), **SMALL), running=slots)
    machine = GoldenMachine(plan)
    serve(machine, plan, SUFFIX)
    assert machine.seats == PREFIX + COUNT * SUFFIX


@pytest.mark.parametrize("first", [0, 5])
def test_who_shares_nothing_does_not_wait(first):
    """A request of other tokens, in front of all or among them, has its token when it would have it without children's
    waiting for pages.
    """
    plan = planned(compiled(ROOMY, **SMALL), running=COUNT)
    times = []
    for shared in (True, False):
        machine = GoldenMachine(plan)
        rng, requests = np.random.default_rng(5), Requests(machine, plan)
        prefix = tokens_for(rng, PREFIX, SMALL["vocab"])
        for number in range(8):
            if number == first:
                other = requests.submit(tokens_for(rng, 40, SMALL["vocab"]), 1, tenant=99)
            requests.submit(prefix + tokens_for(rng, SUFFIX, SMALL["vocab"]), 1, tenant=0 if shared else number)
        while requests.open:
            requests.go_on()
        times.append(other.times[0])
    assert times[0] <= times[1]


@pytest.mark.parametrize(("config", "shape", "prefix", "suffix"), [
    pytest.param(NANO, SHAPE, PREFIX // 4, SUFFIX // 4, marks=pytest.mark.slow, id="quarter"),
    pytest.param(CONFIG, MIDDLE, PREFIX, SUFFIX, marks=pytest.mark.slow, id="whole")])
def test_cycles(config, shape, prefix, suffix, record_property):
    """On the chip, all at once: cycles until the last prompt has its token, beats of keys and values written, tokens.
    Also with a quarter of the tokens, on four slots, where 12 requests wait in the driver.
    """
    plan, found = planned(compiled(config, **shape), running=config.slots), {}
    alone = Alone(config, **shape)
    for shared in (False, True):
        machine = rtl(plan, FAST)
        sequences = serve(machine, plan, suffix, prefix=prefix, shared=shared)
        assert all(map(alone.same, sequences))
        found[shared] = {"cycles": machine.time, "written": machine.chip.counters["write_beats"],
                         "tokens": sum(len(sequence.prompt) - shared * sequence.shared for sequence in sequences)}
        machine.close()
    ratios = {name: value / found[False][name] for name, value in found[True].items()}
    print(found, ratios)
    for name, value in ratios.items():
        record_property(f"{name}, shared / not", value)
        assert value <= BAR, name
