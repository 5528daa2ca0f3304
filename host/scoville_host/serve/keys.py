"""API keys: whose request it is, and how much of it there may be."""

import hashlib
import time
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from ..checkpoint.schema import Strict, read_value
from ..errors import RequestError
from .errors import ApiError

__all__ = ["Key", "Keys", "read_keys"]


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
    """

    name: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    tenant: Annotated[int, Field(ge=0, lt=(1 << 32) - 1)] | None = None
    waiting: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=1)] | None = None
    a_minute: Annotated[int, Field(ge=1)] | None = None


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
        self._budget = {name: (float(key.a_minute or 0), clock()) for name, key in self._keys.items()}
        self._clock = clock

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

    def admit(self, user, jobs, tokens):
        """Count a request's jobs in; ApiError 429 or 400 where it is too much. `release` counts them out."""
        if user is None:
            return
        key, (left, since), now = self._keys[user], self._budget[user], self._clock()
        if key.tokens is not None and tokens > key.tokens:
            raise ApiError(400, f"{tokens} tokens; this key may ask for {key.tokens} at a time", param="max_tokens")
        if key.waiting is not None and self._waiting[user] + jobs > key.waiting:
            raise ApiError(429, f"this key has {self._waiting[user]} requests here, of {key.waiting}",
                           headers={"Retry-After": "1"})
        if key.a_minute is not None:
            left = min(float(key.a_minute), left + (now - since) * key.a_minute / 60)
            if left < 1:
                raise ApiError(429, f"this key may ask {key.a_minute} times a minute", headers={"Retry-After": str(
                    int((1 - left) * 60 / key.a_minute) + 1)})
            self._budget[user] = left - 1, now
        self._waiting[user] += jobs

    def release(self, user, jobs):
        if user is not None:
            self._waiting[user] -= jobs


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
