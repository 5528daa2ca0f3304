"""Rotary positions as files speak of them: base, part of the head, and how the frequencies are stretched.

transformers, ``modeling_rope_utils.py``; llama.cpp, ``llama-context.cpp`` and ``ggml-cpu/ops.cpp``.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from ..errors import RequestError
from .schema import Many, Strict, shown, validate

__all__ = ["RopeScaling", "rope_of_config", "rope_of_gguf"]

Factor = Annotated[float, Field(ge=1, le=1e6)]
Positive = Annotated[float, Field(ge=1e-6, le=1e6)]
Divisors = Annotated[list[Positive], Field(max_length=512, fail_fast=True)]


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """A stretch of the rotations; what it does is in `compiler.rope`.

    Members
    -------
    kind : linear, llama3, yarn or longrope.
    original_context : positions before the stretch.
    attention_factor : of cosines and sines.
    low_freq_factor, high_freq_factor : llama3's bounds, in turns.
    beta_fast, beta_slow, truncate : yarn's bounds, in turns, and whether they are rounded to whole pairs.
    short, long : longrope's divisors of the frequencies, up to `original_context` positions and beyond.
    """

    kind: str
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    short: tuple = ()
    long: tuple = ()


class _Plain(Strict):
    """``rope_scaling`` or ``rope_parameters`` of config.json."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: Annotated[float, Field(ge=1, le=1e18)] | None = None
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] | None = None
    factor: Factor | None = None
    original_max_position_embeddings: Many | None = None


class _Llama3(_Plain):
    low_freq_factor: Positive | None = None
    high_freq_factor: Positive | None = None

    @model_validator(mode="after")
    def _ordered(self):
        if self.low_freq_factor and self.high_freq_factor and self.low_freq_factor >= self.high_freq_factor:
            raise ValueError("low_freq_factor must be below high_freq_factor")
        return self


class _Yarn(_Plain):
    attention_factor: Positive | None = None
    beta_fast: Positive | None = None
    beta_slow: Positive | None = None
    mscale: Positive | None = None
    mscale_all_dim: Positive | None = None
    truncate: bool | None = None


class _LongRope(_Plain):
    attention_factor: Positive | None = None
    short_factor: Divisors | None = None
    long_factor: Divisors | None = None


_SCHEMAS = {"default": _Plain, "linear": _Plain, "dynamic": _Plain, "llama3": _Llama3, "yarn": _Yarn,
            "longrope": _LongRope}
_NEEDED = {"linear": ["factor"], "dynamic": ["factor"], "llama3": ["factor", "low_freq_factor", "high_freq_factor"],
           "longrope": ["short_factor", "long_factor"]}
_OLD = {"su": "longrope"}  # Phi-3's name


def _check_logarithms(where, kind, theta, original):
    """Refuse what yarn and longrope cannot take a logarithm of."""
    if kind == "yarn" and theta <= 1 or kind == "longrope" and original < 2:
        raise RequestError(f"{where}: {kind} with a base of {theta} and {original} positions before; "
                           "there must be more than 1")


def _mscale(factor, by=1.0):
    return 0.1 * by * math.log(max(factor, 1)) + 1


def rope_of_config(source, config, family, settings):
    """(base, `RopeScaling` or None, dimensions of a head that turn) from either spelling of the settings.

    Raises
    ------
    RequestError
        If they contradict each other, or ask for what has no lowering.
    """
    spelt = [key for key in ("rope_scaling", "rope_parameters") if config.get(key)]
    if len(spelt) == 2 and config["rope_scaling"] != config["rope_parameters"]:
        raise RequestError(f"{source}: rope_scaling and rope_parameters differ; there must be one of them")
    given = config[spelt[0]] if spelt else {}
    if not isinstance(given, dict):
        raise RequestError(f"{source}: {spelt[0]} is {shown(given)}; it must be an object")
    kind = given.get("rope_type") or given.get("type") or "default"
    kind = _OLD.get(kind, kind) if isinstance(kind, str) else kind
    if kind not in family.rope_scalings:
        raise RequestError(f"{source}: RoPE scaling {shown(kind)} is not supported; "
                           f"supported are {', '.join(family.rope_scalings)}")
    where = f"{source}: {spelt[0] if spelt else 'rope'}"
    rope = validate(_SCHEMAS[kind], where, given)
    head = settings.head_dim or settings.hidden // settings.heads
    part = rope.partial_rotary_factor or settings.rotary_factor or 1.0
    if part != 1 and not family.partial_rotary:
        raise RequestError(f"{source}: not supported: rotary positions over a part of the head "
                           f"(partial_rotary_factor = {part})")
    rotary = int(head * part)
    missing = next((key for key in _NEEDED.get(kind, ()) if getattr(rope, key) is None), None)
    if missing:
        raise RequestError(f"{source}: {kind} RoPE scaling lacks {missing!r}")
    theta = rope.rope_theta or settings.rope_theta
    # transformers stretches `dynamic` beyond max_position_embeddings alone, and no context is laid out beyond it.
    if kind in ("default", "dynamic"):
        if kind == "default" and rope.factor not in (None, 1):
            raise RequestError(f"{source}: {spelt[0]}.factor is {rope.factor}, but its type is default")
        return theta, None, rotary
    return theta, _scaling(where, kind, rope, settings, rotary), rotary


def _scaling(where, kind, rope, settings, rotary):
    original = settings.original_context or rope.original_max_position_embeddings or settings.context
    _check_logarithms(where, kind, rope.rope_theta or settings.rope_theta, original)
    if kind == "linear":
        return RopeScaling(kind=kind, factor=rope.factor)
    if kind == "llama3":
        return RopeScaling(kind=kind, factor=rope.factor, original_context=original,
                           low_freq_factor=rope.low_freq_factor, high_freq_factor=rope.high_freq_factor)
    factor = rope.factor or max(1.0, settings.context / original)
    attention = rope.attention_factor
    if kind == "yarn":
        if attention is None and rope.mscale and rope.mscale_all_dim:
            attention = _mscale(factor, rope.mscale) / _mscale(factor, rope.mscale_all_dim)
        return RopeScaling(kind=kind, factor=factor, original_context=original,
                           attention_factor=attention or _mscale(factor), beta_fast=rope.beta_fast or 32.0,
                           beta_slow=rope.beta_slow or 1.0, truncate=rope.truncate is not False)
    for name in ("short_factor", "long_factor"):
        if len(getattr(rope, name)) != rotary // 2:
            raise RequestError(f"{where}.{name} has {len(getattr(rope, name))} numbers; the {rotary} dimensions that "
                               f"turn need {rotary // 2}")
    if attention is None:
        attention = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return RopeScaling(kind=kind, factor=factor, original_context=original, attention_factor=attention,
                       short=tuple(rope.short_factor), long=tuple(rope.long_factor))


def rope_of_gguf(source, settings, short, long):
    """`RopeScaling` or None from the keys of a GGUF file and its tensors of longrope's divisors, or None.

    Raises
    ------
    RequestError
        If its kind is not known, or contradicts what there is.
    """
    kind = settings.scaling_type or "linear"  # as llama.cpp has it
    factor = settings.scaling_factor or settings.scaling_linear or 1.0
    attention = settings.scaling_attention or 1.0
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise RequestError(f"{source}: RoPE scaling {shown(kind)} is not supported; "
                           "supported are none, linear, yarn, longrope")
    if (short is None) != (long is None):
        raise RequestError(f"{source}: of rope_factors_short.weight and rope_factors_long.weight one is missing")
    original = settings.scaling_context or settings.context
    if short is not None:
        if kind == "yarn" or factor != 1:
            raise RequestError(f"{source}: not supported: longrope's divisors with a RoPE scaling {kind!r} of {factor}")
        return RopeScaling(kind="longrope", original_context=original, attention_factor=attention,
                           short=tuple(short.tolist()), long=tuple(long.tolist()))
    _check_logarithms(source, kind, settings.rope_theta, original)
    if kind == "yarn":
        return RopeScaling(kind="yarn", factor=factor, original_context=original,
                           attention_factor=attention * _mscale(factor), beta_fast=settings.yarn_fast or 32.0,
                           beta_slow=settings.yarn_slow or 1.0)
    factor = factor if kind == "linear" else 1.0
    if factor == 1 and attention == 1:
        return None
    return RopeScaling(kind="linear", factor=factor, attention_factor=attention)
