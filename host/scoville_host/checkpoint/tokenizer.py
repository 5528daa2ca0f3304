"""Text to token ids and back: tokenizer.json, or the vocabulary inside a GGUF file."""

import json
from pathlib import Path

from ..errors import RequestError
from .tokenizer_files import checked_tokenizer

__all__ = ["TextStream", "Tokenizer", "load_tokenizer"]

_CONTROL, _USER_DEFINED = 3, 4  # token types of GGUF
# Regular expressions of llama.cpp's pre-tokenizers (llama-vocab.cpp), by the name in tokenizer.ggml.pre.
_LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
_REGEXES = {"llama-bpe": _LLAMA3, "qwen2": _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")}


class Tokenizer:
    """A `tokenizers.Tokenizer` with the model's chat template.

    Parameters
    ----------
    core : tokenizers.Tokenizer.
    template : chat template (Jinja), or None.
    special : strings that templates refer to: ``bos_token``, ``eos_token``.
    eos_ids : ids that end a text.
    bos_id : id that `encode` puts in front of raw text, or None (a tokenizer.json does that itself).
    """

    def __init__(self, core, template=None, special=None, eos_ids=(), bos_id=None):
        self.core, self.template, self.special = core, template, special or {}
        self.eos_ids, self.bos_id = list(eos_ids), bos_id

    def encode(self, text):
        """Ids of raw text, with whatever the tokenizer puts round a text."""
        ids = self.core.encode(text).ids
        return ids if self.bos_id is None or ids[:1] == [self.bos_id] else [self.bos_id, *ids]

    def encode_chat(self, prompt):
        """Ids of one user message in the model's chat template, up to where the answer begins."""
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        messages = [{"role": "user", "content": prompt}]
        try:
            template = environment.from_string(self.template)
            text = template.render(messages=messages, add_generation_prompt=True, **self.special)
        except TemplateError as error:
            raise RequestError(f"the model's chat template does not work ({error}); use --raw") from None
        return self.core.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        """The text of some ids, special tokens left out."""
        return self.core.decode(list(ids), skip_special_tokens=True)


class TextStream:
    """Text of a growing list of tokens, given out as soon as it is whole: no character is split."""

    def __init__(self, tokenizer):
        self.tokenizer, self.ids, self.shown = tokenizer, [], 0

    def add(self, token):
        """The text that `token` completes; empty while a UTF-8 sequence is unfinished."""
        self.ids.append(token)
        text = self.tokenizer.decode(self.ids)
        if text.endswith("\ufffd"):
            return ""
        return self._rest(text)

    def finish(self):
        """What is left, even if it is not valid UTF-8."""
        return self._rest(self.tokenizer.decode(self.ids))

    def _rest(self, text):
        rest, self.shown = text[self.shown:], len(text)
        return rest


def load_tokenizer(source):
    """The `Tokenizer` of a checkpoint directory or GGUF file; None if it has none.

    Raises
    ------
    RequestError
        If there is one but it cannot be used.
    """
    source = Path(source)
    return checked_tokenizer(source, _from_directory if source.is_dir() else _from_gguf)


def _from_directory(path):
    from tokenizers import Tokenizer as Core

    if not (path / "tokenizer.json").exists():
        return None
    try:
        core = Core.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # the package raises nothing more special
        raise RequestError(f"{path / 'tokenizer.json'}: {error}") from None
    settings, template = {}, None
    if (path / "tokenizer_config.json").exists():
        settings = json.loads((path / "tokenizer_config.json").read_text())
        template = settings.get("chat_template")
    if (path / "chat_template.jinja").exists():
        template = (path / "chat_template.jinja").read_text()
    if isinstance(template, list):  # several, by name
        template = next((entry["template"] for entry in template if entry["name"] == "default"), None)
    special = {}
    for name in ("bos_token", "eos_token"):
        token = settings.get(name)
        special[name] = token["content"] if isinstance(token, dict) else token or ""
    eos = core.token_to_id(special["eos_token"]) if special["eos_token"] else None
    return Tokenizer(core, template, special, eos_ids=[] if eos is None else [eos])


def _from_gguf(path):
    from .gguf_file import metadata, open_gguf

    reader = open_gguf(path)

    def value(key, default=None):
        return metadata(reader, f"tokenizer.ggml.{key}", default)

    kind = value("model")
    if kind is None:
        return None
    if kind != "gpt2":
        raise RequestError(f"{path}: tokenizer {kind!r} is not supported (byte-level BPE is); use --prompt-ids")
    tokens = value("tokens")
    eos, bos = value("eos_token_id"), value("bos_token_id")
    special = {name: "" if index is None else tokens[index] for name, index in (("bos_token", bos), ("eos_token", eos))}
    return Tokenizer(_byte_level_bpe(path, tokens, value("merges"), value("token_type", []), value("pre", "default")),
                     metadata(reader, "tokenizer.chat_template"), special, eos_ids=[] if eos is None else [eos],
                     bos_id=bos if value("add_bos_token", False) else None)


def _byte_level_bpe(path, tokens, merges, types, pre):
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Core

    vocab = {token: index for index, token in enumerate(tokens)}
    core = Core(models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges], ignore_merges=pre == "llama-bpe"))
    if pre == "smollm":
        core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                      pre_tokenizers.ByteLevel(add_prefix_space=False)])
    elif pre in ("default", "gpt-2"):
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif pre in _REGEXES:
        core.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(_REGEXES[pre]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        known = ", ".join(["smollm", "default", "gpt-2", *_REGEXES])
        raise RequestError(f"{path}: pre-tokenizer {pre!r} is not supported (there are: {known}); use --prompt-ids")
    core.decoder = decoders.ByteLevel()
    special = [tokens[index] for index, kind in enumerate(types) if kind == _CONTROL]
    core.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    added = [tokens[index] for index, kind in enumerate(types) if kind == _USER_DEFINED]
    core.add_tokens([AddedToken(token, normalized=False) for token in added])
    return core
