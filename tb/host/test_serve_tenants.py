"""What one tenant can learn of another's prompts from how long the chip takes for its own: nothing."""

import contextlib
import dataclasses
import hashlib
from collections import Counter

import httpx
import numpy as np
import pytest
from checkpoints import random_tensors, write_huggingface
from scoville.config import CONFIGS, PAGE_TOKENS
from scoville_host.runtime.many.serve import open_requests, with_slots
from scoville_host.runtime.session import open_session
from scoville_host.serve.keys import Key
from serving import CONTEXT, running, session_of

SIZES = {"hidden": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 32, "ffn": 32, "vocab": 64}
NEAR = 0.05  # of 0.5: what the area under the curve may be
KEYS = [Key(name=name, sha256=hashlib.sha256(name.encode()).hexdigest()) for name in ("victim", "spy")]
CHIPS = {"golden": with_slots(CONFIGS["kria"], 4),  # many tokens a pass, so few passes
         "rtl": dataclasses.replace(CONFIGS["nano"], slots=4, pool_pages=32, slot_pages=8)}  # the build of other tests


def area(ones, others):
    """Of a receiver's curve: the chance that one of `ones` is less than one of `others`; equals count half."""
    ones, others = np.array(ones)[:, None], np.array(others)
    return float(np.mean((ones < others) + 0.5 * (ones == others)))


class Chip:
    """The server's chip, with notes.

    Members
    -------
    last : the last request's sequence, and when it was submitted
    found : how often a prefix was found at all, by tenant
    """

    def __init__(self, model, backend):
        self.backend, self.last, self.found = backend, None, Counter()
        session = open_session(model, CHIPS[backend], context=CONTEXT, text=False)
        self.session = dataclasses.replace(session, tokenizer=session_of(1).tokenizer)

    @contextlib.contextmanager
    def __call__(self):
        with open_requests(self.session, self.backend) as requests:
            submit, find, self.machine = requests.submit, requests.prefixes.find, requests.machine

            def noted(*arguments, **settings):
                now = self.machine.time
                self.last = submit(*arguments, **settings), now
                return self.last[0]

            def looked(tenant, tokens):
                parent, shared = find(tenant, tokens)
                self.found[KEYS[tenant].name] += parent is not None
                return parent, shared

            requests.submit, requests.prefixes.find = noted, looked
            yield requests


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_huggingface(tmp_path_factory.mktemp("model"), random_tensors(SIZES), SIZES)


@contextlib.contextmanager
def asking(model, backend):
    """A function of a key and a prompt: cycles (of a golden chip passes) to the first token, and the tokens that it had
    from others.
    """
    chip = Chip(model, backend)
    with running(keys=KEYS, chip=chip, rows=False, session=chip.session) as served:
        with httpx.Client(base_url=f"{served.url}/v1/", timeout=600) as client:
            def ask(key, prompt):
                answer = client.post("completions", headers={"Authorization": f"Bearer {key}"},
                                     json={"model": "tiny", "prompt": prompt, "max_tokens": 1, "temperature": 0})
                assert answer.status_code == 200, answer.text
                sequence, since = chip.last
                return sequence.times[0] - since, answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

            ask.found = chip.found
            yield ask
        if pool := chip.machine.pool:
            ask.shared = max(pool.changes["shared"])


def probes(ask, spy, count, seed):
    """Each time the victim has a new prompt computed, and the spy asks for that one or for another, by lot: times of
    what the victim has, and of what nobody has; and the tokens that the spy had from others.
    """
    rng, times, had = np.random.default_rng(seed), ([], []), 0
    for _ in range(count):
        secret, other = rng.integers(3, SIZES["vocab"], (2, PAGE_TOKENS + 1)).tolist()
        ask("victim", secret)
        nobody = int(rng.integers(2))
        time, cached = ask(spy, other if nobody else secret)
        times[nobody].append(time)
        had += cached
    return area(*times), had


@pytest.mark.parametrize("backend, count", [("golden", 40), pytest.param("golden", 1000, marks=pytest.mark.slow),
                                            pytest.param("rtl", 1000, marks=pytest.mark.slow)])
def test_probes(model, backend, count, run_seed):
    with asking(model, backend) as ask:
        found, had = probes(ask, "spy", count, run_seed)
    print(f"{backend}: area {found:.3f} of {count} probes")
    assert abs(found - 0.5) <= NEAR and had == 0 == getattr(ask, "shared", 0)
    assert not ask.found["spy"], "the chip would refuse it, but the driver is not to ask"


def test_who_shares_is_seen(model, run_seed):
    """The measure itself: of its own tenant's prompts anybody can tell."""
    with asking(model, "golden") as ask:
        found, had = probes(ask, "victim", 20, run_seed)
    assert found == 1 and had > 0 < ask.shared
