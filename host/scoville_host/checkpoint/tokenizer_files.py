"""The border of tokenizers: what their files say is checked before `tokenizer.py` uses it, and what it makes is tried.

The package tokenizers raises bare `Exception`, and PanicException, which is none, on some broken vocabularies.
"""

import contextlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..errors import RequestError
from .gguf_file import metadata, open_gguf
from .schema import Index, read_json, validate

__all__ = ["checked_tokenizer"]

_TRIAL = "Once upon a time, 12 naïve ☃"


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)  # other keys are of no concern


class _Template(_Part):
    name: str
    template: str


class _Token(_Part):
    content: str


class TokenizerConfig(_Part):
    """What is read of tokenizer_config.json."""

    chat_template: str | list[_Template] | None = None
    bos_token: str | _Token | None = None
    eos_token: str | _Token | None = None


class Vocabulary(_Part):
    """What is read of a GGUF file: values of ``tokenizer.ggml.*``, and ``tokenizer.chat_template``."""

    model: str
    pre: str = "default"
    tokens: Annotated[list[str], Field(fail_fast=True)] = []
    merges: Annotated[list[Annotated[str, Field(pattern=r"^.[^ ]* .+$")]], Field(fail_fast=True)] | None = None
    token_type: Annotated[list[int], Field(fail_fast=True)] | None = None
    bos_token_id: Index | None = None
    eos_token_id: Index | None = None
    add_bos_token: bool | None = None
    chat_template: str | None = None


def _check_gguf(path):
    reader = open_gguf(path)
    names = {name: f"tokenizer.ggml.{name}" for name in Vocabulary.model_fields}
    names["chat_template"] = "tokenizer.chat_template"
    if reader.get_field(names["model"]) is not None:
        validate(Vocabulary, path, {name: value for name, key in names.items()
                                    if (value := metadata(reader, key, source=path)) is not None}, names)


def _check_directory(path):
    if not (path / "tokenizer.json").exists():
        return
    if (path / "tokenizer_config.json").exists():
        validate(TokenizerConfig, path / "tokenizer_config.json", read_json(path / "tokenizer_config.json"))
    for name in ("tokenizer.json", "chat_template.jinja"):
        try:
            if (path / name).exists():
                (path / name).read_text(encoding="utf-8")
        except OSError as error:
            raise RequestError(f"{path / name}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise RequestError(f"{path / name}: not valid UTF-8") from None


def checked_tokenizer(source, load):
    """What `load` makes of a directory or a GGUF file, after its files have been checked and with a text tried.

    One that says in its own words that it takes no texts is given back: ids can be shown all the same.

    Raises
    ------
    RequestError
        If a file is broken, or the tokenizer fails at the text.
    """
    (_check_directory if source.is_dir() else _check_gguf)(source)
    try:
        tokenizer = load(source)
        if tokenizer is not None:
            with contextlib.suppress(RequestError):
                tokenizer.encode(_TRIAL)
        return tokenizer
    except (RequestError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise RequestError(f"{source}: its tokenizer cannot be used ({error})") from None
