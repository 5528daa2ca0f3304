"""The tokenizer of a Hugging Face directory: tokenizer.json or tokenizer.model, with what the files beside it say."""

from ..errors import RequestError
from .encoders import JsonEncoder, VocabularyEncoder
from .schema import read_json
from .vocabulary import CONTROL, UNUSED, USER_DEFINED, Vocabulary, ends_by_text

__all__ = ["parts_of_directory"]


def parts_of_directory(path):
    """What a `tokenizer.Tokenizer` is made of, by name; None if the directory has neither file.

    Raises
    ------
    RequestError
        If one of its files is broken.
    """
    try:
        return _parts(path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RequestError(f"{path}: the tokenizer's files are not as transformers writes them ({error})") from None


def _parts(path):
    settings = _optional(path / "tokenizer_config.json")
    special = _special(_optional(path / "special_tokens_map.json") | settings)
    if (path / "tokenizer.json").exists():
        encoder = JsonEncoder(path / "tokenizer.json", special.values())
        find = encoder.find
    elif (path / "tokenizer.model").exists():
        vocabulary = _vocabulary(path, settings, special)
        encoder = VocabularyEncoder(vocabulary, path / "tokenizer.model")
        find = {token: index for index, token in enumerate(vocabulary.tokens)}.get
    else:
        return None
    eos = find(special["eos_token"]) if "eos_token" in special else None
    ends = dict.fromkeys([*([] if eos is None else [eos]), *ends_by_text(find)])
    return {"encoder": encoder, "template": _template(path, settings), "special": special, "eos_ids": ends}


def _optional(path):
    """A JSON file that holds an object; empty if there is none."""
    return read_json(path) if path.exists() else {}


def _text(token):
    return token.get("content") if isinstance(token, dict) else token


def _special(settings):
    """Text of the special tokens, by the names that templates know: every setting ``*_token``, and groups of them."""
    named = {name: token for name, token in settings.items() if name.endswith("_token")}
    for group in ("extra_special_tokens", "model_specific_special_tokens"):
        if isinstance(settings.get(group), dict):
            named |= settings[group]
    return {name: text for name, token in named.items() if isinstance(text := _text(token), str)}


def _template(path, settings):
    if (path / "chat_template.jinja").exists():
        main = (path / "chat_template.jinja").read_text(encoding="utf-8")
        more = {file.stem: file.read_text(encoding="utf-8")
                for file in sorted((path / "additional_chat_templates").glob("*.jinja"))}
        return more | {"default": main} if more else main
    template = settings.get("chat_template")
    if template is None and (path / "chat_template.json").exists():
        template = _optional(path / "chat_template.json").get("chat_template")
    if isinstance(template, list):  # several, by name
        return {entry["name"]: entry["template"] for entry in template}
    return template


def _vocabulary(path, settings, special):
    """The `Vocabulary` of tokenizer.model and the tokens that were added to it."""
    from google.protobuf.message import DecodeError
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    proto = ModelProto()
    try:
        proto.ParseFromString((path / "tokenizer.model").read_bytes())
    except DecodeError:
        raise RequestError(f"{path / 'tokenizer.model'}: not a model of SentencePiece") from None
    bpe = proto.trainer_spec.model_type == proto.trainer_spec.BPE
    if not proto.pieces or not bpe and proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise RequestError(f"{path / 'tokenizer.model'}: neither BPE nor unigram pieces of SentencePiece")
    tokens, types = [piece.piece for piece in proto.pieces], [piece.type for piece in proto.pieces]
    for index, token, kind in _added(path, settings):
        while len(tokens) <= index:
            types.append(UNUSED)
            tokens.append(f"[PAD{len(tokens)}]")
        tokens[index], types[index] = token, kind
    scores = [piece.score for piece in proto.pieces] + [-1000.0] * (len(tokens) - len(proto.pieces))
    at = {token: index for index, token in enumerate(tokens)}
    ids = {name: at.get(special.get(f"{name}_token"), getattr(proto.trainer_spec, f"{name}_id"))
           for name in ("bos", "eos", "unk")}
    ids = {name: index if 0 <= index < len(tokens) else None for name, index in ids.items()}
    normal = proto.normalizer_spec
    return Vocabulary(
        kind="llama" if bpe else "t5", tokens=tokens, types=types, scores=scores, ids=ids,
        add_bos=settings.get("add_bos_token", bpe), add_eos=settings.get("add_eos_token", not bpe),
        prefix=settings.get("add_prefix_space", normal.add_dummy_prefix), merge_spaces=normal.remove_extra_whitespaces,
        charsmap=normal.precompiled_charsmap, byte_fallback=proto.trainer_spec.byte_fallback)


def _added(path, settings):
    """(id, text, type) of tokens that were added behind the pieces, or whose type was changed."""
    plain = {text: index for text, index in _optional(path / "added_tokens.json").items() if isinstance(index, int)}
    found = {index: (text, USER_DEFINED) for text, index in plain.items()}
    for index, token in (settings.get("added_tokens_decoder") or {}).items():
        found[int(index)] = (_text(token), CONTROL if token.get("special") else USER_DEFINED)
    return [(index, *token) for index, token in sorted(found.items())]
