"""Tokens and requests over time: a key gets what its line says, and never more than a minute's at once."""

import pytest
from scoville_host.serve.errors import ApiError
from scoville_host.serve.keys import Key, Keys


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def refused(keys, whole):
    """Seconds after which to try again, or the status."""
    with pytest.raises(ApiError) as error:
        keys.admit("0" * 64, 1, 1, whole)
    return int(error.value.headers["Retry-After"]) if error.value.status == 429 else error.value.status


def test_tokens_a_minute(clock):
    keys = Keys([Key(name="a", sha256="0" * 64, tokens_a_minute=120)], clock)
    user = "0" * 64
    assert refused(keys, 121) == 400  # never
    keys.admit(user, 1, 1, 100)
    assert refused(keys, 60) == 21  # 40 are missing, 2 a second
    keys.release(user, 1, 30)  # were not generated
    assert refused(keys, 60) == 6
    clock.now = 5
    keys.admit(user, 1, 1, 60)
    clock.now = 1000
    keys.admit(user, 1, 1, 120)
    assert refused(keys, 1) == 1


def test_what_is_refused_costs_nothing(clock):
    keys = Keys([Key(name="a", sha256="0" * 64, tokens_a_minute=60, a_minute=2)], clock)
    keys.admit("0" * 64, 1, 1, 50)
    for _ in range(5):
        assert refused(keys, 20) == 11  # of tokens; of requests one is left
    keys.admit("0" * 64, 1, 1, 10)
    assert refused(keys, 0) == 31
