"""The border: what files say is checked here, against schemas, before anything uses it. The first fault is one line.

Limits are far above any model that there is, and below what would take memory or time by its size alone.
"""

import reprlib
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..errors import RequestError

__all__ = ["JSON_BYTES", "Many", "Settings", "Strict", "read_bytes", "read_json", "read_settings",
           "read_value", "refuse_neutral", "refuse_others", "shown", "validate"]

JSON_BYTES = 1 << 25  # the largest config.json, index or header that is read
_LINE = 80  # characters of a foreign value in an error

Index = Annotated[int, Field(ge=0, lt=1 << 24)]  # a token's id
Few = Annotated[int, Field(ge=1, le=1 << 10)]
Some = Annotated[int, Field(ge=1, le=1 << 12)]
Size = Annotated[int, Field(ge=1, le=1 << 20)]
Many = Annotated[int, Field(ge=1, lt=1 << 24)]


def _not_tiny(value):
    if 0 < value < 1e-6:
        raise ValueError("it must be 0 or at least 1e-6")
    return value


Scale = Annotated[float, Field(ge=0, le=1e6), AfterValidator(_not_tiny)]  # 0 where there is none


class Strict(BaseModel):
    """Numbers are numbers, truth is true or false, and nothing is infinite, NaN or unknown."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Settings(Strict):
    """Numbers of a model, as a file gives them, by our names; see `Model`.

    Members
    -------
    kv_heads, head_dim : None where they follow from the heads.
    window : keys that a token sees, itself the last; None for all.
    windowed, window_from, layer_types : whether there is a window, from which layer, or which layers say so.
    attention_bias, mlp_bias : whether attention's, or the FFN's, matrices have biases.
    rotary, rotary_factor : dimensions of a head that turn, or their share.
    original_context : positions before a RoPE scaling, where config.json says so beside it.
    rope_layers, rope_interval : layers whose q and k turn (1) or not (0); or there is one without every so many.
    embedding_scale, residual_scale, attention_scale, logit_scale : see `Model`.
    scaling_type ... yarn_slow : the RoPE scaling of a GGUF file.
    """

    hidden: Size
    layers: Few
    heads: Some
    kv_heads: Some | None = None
    head_dim: Few | None = None
    ffn: Size
    vocab: Many
    context: Many
    epsilon: Annotated[float, Field(gt=0, le=1)]
    rope_theta: Annotated[float, Field(ge=1, le=1e18)] = 10000.0
    tied: bool = False
    eos_ids: Annotated[list[Index], Field(max_length=1024)] | Index | None = None
    window: Annotated[int, Field(ge=1)] | None = None
    windowed: bool = True
    window_from: Annotated[int, Field(ge=0)] = 0
    layer_types: Annotated[list[Literal["full_attention", "sliding_attention"]],
                           Field(max_length=1 << 10, fail_fast=True)] | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    rotary: Few | None = None
    rotary_factor: Annotated[float, Field(gt=0, le=1)] | None = None
    original_context: Many | None = None
    rope_layers: Annotated[list[Literal[0, 1]], Field(max_length=1 << 10, fail_fast=True)] | None = None
    rope_interval: Few | None = None
    embedding_scale: Scale | None = None
    residual_scale: Scale | None = None
    attention_scale: Scale | None = None
    logit_scale: Scale | None = None
    scaling_type: str | None = None
    scaling_factor: Scale | None = None
    scaling_linear: Scale | None = None
    scaling_context: Annotated[int, Field(ge=0, lt=1 << 24)] | None = None
    scaling_attention: Scale | None = None
    yarn_fast: Scale | None = None
    yarn_slow: Scale | None = None

    def turning(self):
        """Whether q and k of each layer turn: a tuple, or None if all do."""
        layers = self.rope_layers
        if layers is None:
            if self.rope_interval is None:
                return None
            layers = [(n + 1) % self.rope_interval != 0 for n in range(self.layers)]
        return tuple(map(bool, layers))

    def reach(self):
        """Keys that every token sees at least, itself the last: the window, if a layer has it; None without."""
        if self.window is None or not self.windowed:
            return None
        slides = self.window_from < self.layers if self.layer_types is None else "sliding_attention" in self.layer_types
        return self.window if slides else None


def shown(value):
    """A foreign value, short enough for an error."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = _LINE
    text = short.repr(value)
    return text if len(text) <= _LINE else text[:_LINE] + "…"


def validate(schema, source, values, names=None, unknown="it might change the arithmetic"):
    """An instance of a schema.

    Parameters
    ----------
    source : what errors name.
    names : what the file calls the schema's fields, where that differs.
    unknown : what errors say of a field that the schema has not.

    Raises
    ------
    RequestError
        With the first thing that is wrong, by the file's own name of it.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    names = names or {}
    if first["loc"]:
        field, *rest = first["loc"]
        key = ".".join([str(names.get(field, field)), *(str(part) for part in rest if isinstance(part, int))])
    message = first["msg"].replace("Input should", "it must").removeprefix("Value error, ")
    if not first["loc"]:
        text = message
    elif first["type"] == "missing":
        text = f"{key!r} is missing"
    elif first["type"] == "extra_forbidden":
        text = f"{shown(key)} is not known; {unknown}"
    else:
        text = f"{key} is {shown(first['input'])}; {message[0].lower() + message[1:]}"
    raise RequestError(f"{source}: {text}")


def read_bytes(path, remark=""):
    """What is in a file of at most `JSON_BYTES`; `remark` is for the error of a larger one.

    Raises
    ------
    RequestError
        If it cannot be read, or is too large.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(JSON_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    if len(data) > JSON_BYTES:
        raise RequestError(f"{path}: larger than {JSON_BYTES:,} bytes{remark}")
    return data


def read_value(path):
    """What is in a JSON file.

    Raises
    ------
    RequestError
        If it is missing, too large or broken.
    """
    from pydantic_core import from_json

    data = read_bytes(path, ", so it is none of a model's")
    try:
        return from_json(data)
    except ValueError as error:
        raise RequestError(f"{path}: not valid JSON ({error})") from None


def read_json(path):
    """The object in a JSON file, as a dict.

    Raises
    ------
    RequestError
        If it is missing, too large, broken or no object.
    """
    value = read_value(path)
    if not isinstance(value, dict):
        raise RequestError(f"{path}: must be a JSON object; it is {shown(value)}")
    return value


def read_settings(source, dialect, values):
    """The `Settings` among the values of a file, by the `Dialect`'s keys; RequestError as `validate`."""
    found = {field: values[key] for field, key in dialect.keys.items() if key in values and (
        values[key] is not None or Settings.model_fields[field].default is None)}
    return validate(Settings, source, dialect.defaults | found,
                    {field: dialect.prefix + key for field, key in dialect.keys.items()})


def refuse_others(source, dialect, values, model, refusals):
    """Refuse what a file says besides `Settings`, unless it does nothing by the `Dialect`'s tables.

    Raises
    ------
    RequestError
        With the first setting that is unknown, or asks for what the chip does not do, unless `refusals` are gathered.
    """
    read = set(dialect.keys.values()) | dialect.harmless
    for key, value in values.items():
        if key in read or value is None:
            continue
        with refusals.of("setting"):
            if key not in dialect.neutral:
                raise RequestError(f"{source}: {shown(dialect.prefix + key)} is not known; "
                                   "it might change the arithmetic")
            refuse_neutral(source, dialect.prefix + key, value, dialect.neutral[key], model)


def refuse_neutral(source, key, value, neutral, model):
    """Refuse a setting with a value that is not neutral."""
    if not neutral.allows(value, model):
        raise RequestError(f"{source}: not supported: {neutral.what} ({key} = {shown(value)})")
