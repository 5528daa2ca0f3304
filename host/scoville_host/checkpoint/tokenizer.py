"""Text to token ids and back: tokenizer.json, tokenizer.model, or the vocabulary inside a GGUF file."""

from pathlib import Path

from ..errors import RequestError
from .tokenizer_files import checked_tokenizer

__all__ = ["TextStream", "Tokenizer", "load_tokenizer"]


class Tokenizer:
    """An encoder with the model's chat template.

    Parameters
    ----------
    encoder : `encoders.JsonEncoder` or `encoders.VocabularyEncoder`
    template : chat template (Jinja), or several by name, or None
    special : text of the special tokens that templates may name: ``bos_token``, ``eos_token`` ...
    eos_ids : ids that end a text, the likeliest first
    """

    def __init__(self, encoder, template=None, special=None, eos_ids=()):
        self.encoder, self.template, self.special = encoder, template or None, special or {}
        self.eos_ids = list(eos_ids)

    def encode(self, text):
        """Ids of raw text, with whatever the tokenizer puts round a text."""
        return self.encoder.encode(text, framed=True)

    def encode_chat(self, messages, /, **variables):
        """Ids of a conversation in the model's chat template, up to where the answer begins; see `chat.render`."""
        from .chat import render

        return self.encoder.encode(render(self._template(variables.get("tools")), messages,
                                          **self.special | variables))

    def _template(self, tools):
        if not isinstance(self.template, dict):
            return self.template
        name = "tool_use" if tools is not None and "tool_use" in self.template else "default"
        if name not in self.template:
            raise RequestError(f"the model has chat templates {', '.join(sorted(self.template))} and no default; "
                               "use --raw")
        return self.template[name]

    def decode(self, ids):
        """The text of some ids, special tokens left out."""
        return self.encoder.decode(ids)


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
    return checked_tokenizer(source, _from)


def _from(source):
    if source.is_dir():
        from .tokenizer_directory import parts_of_directory as parts_of
    else:
        from .tokenizer_gguf import parts_of_gguf as parts_of
    parts = parts_of(source)
    return None if parts is None else Tokenizer(**parts)
