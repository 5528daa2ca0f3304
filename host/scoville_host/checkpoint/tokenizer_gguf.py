"""The tokenizer inside a GGUF file."""

from .encoders import VocabularyEncoder
from .gguf_file import metadata, open_gguf, vocabulary_of

__all__ = ["parts_of_gguf"]


def parts_of_gguf(path):
    """What a `tokenizer.Tokenizer` is made of, by name; None if the file has no vocabulary.

    Raises
    ------
    RequestError
        If it is of an unknown kind, or broken.
    """
    reader = open_gguf(path)
    vocabulary = vocabulary_of(reader, path)
    if vocabulary is None:
        return None
    template = metadata(reader, "tokenizer.chat_template")
    if named := metadata(reader, "tokenizer.chat_templates", []):
        more = {name: metadata(reader, f"tokenizer.chat_template.{name}") for name in named}
        template = more | ({} if template is None else {"default": template})
    return {"encoder": VocabularyEncoder(vocabulary, path), "template": template, "special": vocabulary.special(),
            "eos_ids": vocabulary.ends}
