"""The golden model of many sequences: each has the bits that it has alone, whatever else the chip computes."""

import random

import numpy as np
import pytest
from many import Host
from scoville.golden import GoldenChip
from scoville.registers import Status
from scoville.sampler import sampler
from scoville.sampler.temperature import inverse_temperature
from scoville.schedule.records import NONE, Error, Event, Flag, Reason
from scoville.schedule.slots import State
from scoville_host.compiler.compiler import compile_model
from test_golden import ROOMY, random_model, same_bits

TINY = {"hidden": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 16, "ffn": 64, "vocab": 61}


@pytest.fixture(scope="module")
def images():
    """Images of a random tiny model, by context."""
    model = random_model(7, context=512, **TINY)
    return {context: compile_model(model, ROOMY, context=context) for context in (128, 512)}


def requests(rng, count, prompts, outputs):
    """Arguments of `Host.submit`: half begin with one of two stems."""
    stems = [[rng.randrange(TINY["vocab"]) for _ in range(prompts)] for _ in range(2)]
    for name in range(count):
        stem = rng.choice(stems)[:rng.randrange(40, prompts)] if rng.random() < 0.5 else []
        prompt = [*stem, *(rng.randrange(TINY["vocab"]) for _ in range(rng.randint(1, prompts - len(stem))))]
        yield name, prompt, rng.randint(1, outputs), {
            "stops": rng.sample(range(TINY["vocab"]), rng.choice([0, 0, 0, 1])),
            "temperature": rng.choice([0.0, 1.0, 3.0]), "seed": rng.getrandbits(64), "priority": rng.choice([0, 0, 3]),
            "flags": int(bool(stem))}


def same_beginning(one, other):
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def serve(host, rng, coming, arrivals):
    """Requests arrive, some are cancelled, completions are taken now and then, until all have ended.

    Returns the arguments of each, and in how many passes pages were shared. A request whose parent was gone before it
    was taken comes again without one.
    """
    coming, sent = list(coming), {}
    slots, shared, orphans = host.chip.config.slots, 0, set()
    while coming or host.open:
        while coming and len(host.open) < slots - 1 and len(host.chip.submission) < 3 and rng.random() < arrivals:
            request = name, prompt, limit, options = coming.pop(0)
            sent[name] = request
            mates = {other: same_beginning(prompt, [*told.prompt, *told.tokens])
                     for other, told in host.told.items() if not told.gone}
            parent = max(mates, key=mates.get, default=NONE)
            family = name not in orphans and mates.get(parent, 0) >= 32
            host.submit(name, prompt, limit, **options,
                        **({"parent": parent, "shared": mates[parent]} if family else {}))
        if rng.random() < 0.02 and host.told and len(host.chip.submission) < 3:
            host.cancel(rng.choice(list(host.told)))
        host.chip.step()
        assert host.chip.status is Status.OK
        host.chip.kv.check()
        shared += any(count > 1 for count in host.chip.kv.owners)
        host.hear(rng.choice([2, NONE]))
        for name, told in list(host.told.items()):
            if told.final and told.final.event == Event.ERROR:
                assert told.final.code == Error.PARENT and name not in orphans
                orphans.add(name)
                coming.append(sent[name])
                del host.told[name]
    assert len(orphans) < len(sent) / 5
    return sent, shared


def as_alone(host, chip, told, prompt, limit, *, stops, temperature, seed, **_):
    """Tokens and logits are those of the sequence alone.

    Row by row: the same tokens give the same logits, which give the same token.
    """
    rows = chip.logits([*prompt, *told.tokens[:-1]])[len(prompt) - 1:]
    assert same_bits(host.logits(told), rows)
    invt = inverse_temperature(temperature)
    assert told.tokens == [sampler.model(row, invt, seed, len(prompt) - 1 + n) for n, row in enumerate(rows)]
    assert not set(told.tokens[:-1]) & set(stops)
    assert told.final.code == (Reason.CANCELLED if told.final.token == NONE
                               else Reason.STOP if told.tokens[-1] in stops else Reason.LENGTH)
    assert told.final.code != Reason.LENGTH or len(told.tokens) == limit


def batch_invariance(image, seed, count, prompts, outputs, pages, *, arrivals=0.5, **sizes):
    """Serve random requests, then each alone; returns the host and in how many passes pages were shared."""
    rng = random.Random(seed)
    host = Host(image, pages, slot_pages=image.context // 32, pool_pages=1024, room=1 << 26, **sizes)
    sent, shared = serve(host, rng, requests(rng, count, prompts, outputs), arrivals)
    assert len(host.told) == count
    alone = GoldenChip(image.config, image.allocate(), image.registers, base=image.base)
    for name, told in host.told.items():
        if told.tokens:
            _, prompt, limit, options = sent[name]
            as_alone(host, alone, told, prompt, limit, **options)
    assert all(slot.state in (State.FREE, State.PARKED) for slot in host.chip.scheduler.slots)
    for name in [slot.request.id for slot in host.chip.scheduler.parked]:
        host.cancel(name)
        host.chip.step()
        host.hear()
    assert host.chip.kv.free == pages
    return host, shared


def test_batch_invariance(images, run_seed):
    """12 sequences on 8 seats and 8 slots, with too few pages."""
    host, shared = batch_invariance(images[128], run_seed, 12, 60, 40, 9, lanes=4, phases=2, slots=8)
    assert host.preempted or shared


@pytest.mark.slow
@pytest.mark.parametrize("lanes, phases, running, pages", [
    (4, 2, 8, 256), (4, 2, 16, 40), (4, 2, 8, 40), (1, 1, 4, 40), (2, 4, 16, 256)])
def test_batch_invariance_of_200(images, run_seed, lanes, phases, running, pages):
    """With pages for all, and for a quarter of them."""
    host, shared = batch_invariance(images[512], run_seed, 200, 300, 200, pages, lanes=lanes, phases=phases, slots=16,
                                    running=running)
    assert shared and (host.preempted > 0 or pages == 256 or running < 8)


def test_a_fault_stops_the_chip(images):
    """A token that the table has no row for: VOCAB is set too high."""
    host = Host(images[128], 8, slots=4, vocab=TINY["vocab"] + 1)
    host.submit(0, [1, TINY["vocab"]], 3)
    assert host.chip.step() is not None
    assert host.chip.status is Status.TOKEN and host.chip.step() is None


def test_overrun(images):
    """A doorbell with an impossible count is not heard, and reported; what was put before is served."""
    host = Host(images[128], 8, slots=4)
    told = host.submit(0, [1, 2, 3], 2, flags=Flag.PARK)
    host.chip.ring(host.chip.submission, 6)
    host.told[NONE] = told_none = type(told)(final=None, gone=False, park=0, tokens=[])
    for _ in range(4):
        host.chip.step()
        host.hear()
    assert told_none.final.token == 6 and len(told.tokens) == 2 and np.isfinite(host.logits(told)).all()
