"""API keys: whose request it is, and how much of it there may be."""

import hashlib
import time
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from ..checkpoint.schema import Strict, read_value
from ..errors import RequestError
from .errors import ApiError

__all__ = ["Budget", "Key", "Keys", "read_keys"]


class Key(Strict):
    """A line of the keys' file.

    Members
    -------
    name : for logs and metrics
    sha256 : of the key, hexadecimal: ``printf %s "$KEY" | sha256sum``
    tenant : pages are shared within a tenant only; by default each key is a tenant of its own
    waiting : requests that may be there at a time
    tokens : most tokens that one request may ask for
    a_minute : requests that may come in a minute
    tokens_a_minute : tokens of prompts and answers that may be computed in a minute
    """

    name: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    tenant: Annotated[int, Field(ge=0, lt=(1 << 32) - 1)] | None = None
    waiting: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    a_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_a_minute: Annotated[int, Field(ge=1)] | None = None


class Budget:
    """So much a minute, and never more than that at once; None: as much as one likes.

    Parameters
    ----------
    clock : seconds
    """

    def __init__(self, a_minute, clock):
        self._most, self._clock, self._left, self._since = a_minute, clock, float(a_minute or 0), clock()

    def wait(self, amount):
        """Seconds until there is so much: 0 if it is there."""
        if self._most is None:
            return 0
        now = self._clock()
        self._left = min(float(self._most), self._left + (now - self._since) * self._most / 60)
        self._since = now
        return max(0.0, (amount - self._left) * 60 / self._most)

    def take(self, amount):
        """After `wait`; less than nothing gives back."""
        self._left -= amount


class Keys:
    """Who may ask, and how often.

    Parameters
    ----------
    keys : list of Key; empty: whoever reaches the server is tenant 0, without limits
    clock : seconds
    """

    def __init__(self, keys=(), clock=time.monotonic):
        self._keys = {key.sha256: key for key in keys}
        self._tenants = {key.sha256: number if key.tenant is None else key.tenant for number, key in enumerate(keys)}
        self._waiting = dict.fromkeys(self._keys, 0)
        self._requests = {name: Budget(key.a_minute, clock) for name, key in self._keys.items()}
        self._tokens = {name: Budget(key.tokens_a_minute, clock) for name, key in self._keys.items()}

    def find(self, header):
        """The user of an ``Authorization`` header: the digest of a key, None without keys; ApiError 401."""
        if not self._keys:
            return None
        scheme, _, key = (header or "").partition(" ")
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()  # so no time tells of the key
        if scheme.lower() != "bearer" or digest not in self._keys:
            raise ApiError(401, "no or no known API key: Authorization: Bearer KEY", code="invalid_api_key",
                           headers={"WWW-Authenticate": "Bearer"})
        return digest

    def tenant(self, user):
        return 0 if user is None else self._tenants[user]

    def name(self, user):
        return "" if user is None else self._keys[user].name

    def admit(self, user, jobs, tokens, whole):
        """Count a request's jobs in; ApiError 429 or 400 where it is too much. `release` counts them out.

        Parameters
        ----------
        tokens : that one of them may generate
        whole : that all of them may have computed, with their prompts
        """
        if user is None:
            return
        key = self._keys[user]
        if key.tokens is not None and tokens > key.tokens:
            raise ApiError(400, f"{tokens} tokens; this key may ask for {key.tokens} at a time", param="max_tokens")
        if key.tokens_a_minute is not None and whole > key.tokens_a_minute:
            raise ApiError(400, f"{whole} tokens, prompts and choices together; this key has {key.tokens_a_minute} a "
                                "minute", param="max_tokens")
        if key.waiting is not None and self._waiting[user] + jobs > key.waiting:
            raise _later(f"this key has {self._waiting[user]} requests here, of {key.waiting}")
        if seconds := self._requests[user].wait(1):
            raise _later(f"this key may ask {key.a_minute} times a minute", seconds)
        if seconds := self._tokens[user].wait(whole):
            raise _later(f"this key has {key.tokens_a_minute} tokens a minute, and not {whole} now", seconds)
        self._requests[user].take(1)
        self._tokens[user].take(whole)
        self._waiting[user] += jobs

    def release(self, user, jobs, unused):
        """They have ended, and so many tokens less than admitted were generated."""
        if user is not None:
            self._waiting[user] -= jobs
            self._tokens[user].take(-unused)


def _later(message, seconds=0.0):
    return ApiError(429, message, headers={"Retry-After": str(int(seconds) + 1)})


def read_keys(path):
    """The keys of a JSON file, a list of `Key`.

    Raises
    ------
    RequestError
    """
    try:
        keys = TypeAdapter(list[Key]).validate_python(read_value(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RequestError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for what in ("name", "sha256"):
        values = [getattr(key, what) for key in keys]
        if len(set(values)) != len(values):
            raise RequestError(f"{path}: {what} is there twice; each key has its own")
    if not keys:
        raise RequestError(f"{path} has no key")
    return keys
