"""From text to ids, by the libraries of the three kinds of vocabulary: `tokenizers` for BPE, `sentencepiece`."""

from pathlib import Path

from ..errors import RequestError
from .pre_tokenizers import IGNORE_MERGES, PRE_TOKENIZERS, WHOLE_LINES
from .vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED

__all__ = ["JsonEncoder", "VocabularyEncoder"]

_SPACE = " \t\n\v\f\r"


class JsonEncoder:
    """A tokenizer.json, which says everything itself but for special tokens that only the files beside it name.

    Parameters
    ----------
    special : texts of tokens that are special, whatever it says; new ones get the ids behind its own
    """

    def __init__(self, path, special=()):
        from tokenizers import AddedToken, Tokenizer

        try:
            self.core = Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
        except Exception as error:  # the package raises nothing more special
            raise RequestError(f"{path}: {error}") from None
        known = {token.content for token in self.core.get_added_tokens_decoder().values()}
        self.core.add_special_tokens([AddedToken(text, special=True, normalized=False)
                                      for text in special if text and text not in known])

    def encode(self, text, framed=False):
        """Ids of a text; `framed` with what the tokenizer puts round it."""
        return self.core.encode(text, add_special_tokens=framed).ids

    def decode(self, ids):
        """The text of ids, special tokens left out."""
        return self.core.decode(list(ids), skip_special_tokens=True)

    def find(self, text):
        """Id of a token, or None."""
        return self.core.token_to_id(text)


class VocabularyEncoder:
    """A `Vocabulary`: special tokens are cut out, the longest first, and a library encodes what lies between.

    Parameters
    ----------
    source : what errors name
    """

    def __init__(self, vocabulary, source):
        self.vocabulary, (self.before, self.after) = vocabulary, vocabulary.frame(source)
        kinds = {"gpt2": _Bpe, "gemma4": _Bpe, "llama": _SentencePiece, "t5": _SentencePiece}
        if vocabulary.kind not in kinds:
            raise RequestError(f"{source}: tokenizer {vocabulary.kind!r} is not supported (there are: "
                               f"{', '.join(kinds)}); use --prompt-ids")
        self.words = kinds[vocabulary.kind](vocabulary, source)
        tokens = vocabulary.tokens
        special = [index for index, kind in enumerate(vocabulary.types) if kind in (CONTROL, USER_DEFINED, UNKNOWN)]
        self.special = {tokens[index]: index
                        for index in sorted(special, key=lambda index: -len(tokens[index].encode()))}
        self.hidden = {index for index in special if vocabulary.types[index] != USER_DEFINED}

    def encode(self, text, framed=False):
        """Ids of a text; `framed` with BOS and EOS where texts get them."""
        ids = []
        for part in self._parts(text):
            ids += [part] if isinstance(part, int) else self.words.encode(part)
        return [*self.before, *ids, *self.after] if framed else ids

    def _parts(self, text):
        """The ids of special tokens, and the texts between them."""
        parts = [text] if text else []
        for special, index in self.special.items():
            if special not in text:
                continue
            cut = []
            for part in parts:
                first, *rest = [part] if isinstance(part, int) else part.split(special)
                cut.append(first)
                for after in rest:
                    cut += [index, after.lstrip(_SPACE) if index in self.vocabulary.strip else after]
            parts = [part for part in cut if part != ""]
        return parts

    def decode(self, ids):
        """The text of ids, control tokens left out."""
        return self.words.decode([index for index in map(int, ids)
                                  if index not in self.hidden and 0 <= index < len(self.vocabulary.tokens)])


class _Bpe:
    """Merges over byte-level characters, or over the characters themselves with bytes for those that have no token."""

    def __init__(self, vocabulary, source):
        from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

        pre, bytewise = vocabulary.pre, vocabulary.pre not in WHOLE_LINES
        if pre not in PRE_TOKENIZERS:
            raise RequestError(f"{source}: pre-tokenizer {pre!r} is not supported (there are: "
                               f"{', '.join(PRE_TOKENIZERS)}); use --prompt-ids")
        tokens = {token: index for index, token in enumerate(vocabulary.tokens)}
        try:
            self.core = Tokenizer(models.BPE(tokens, vocabulary.merges, ignore_merges=pre in IGNORE_MERGES,
                                             byte_fallback=not bytewise))
        except Exception as error:  # the package raises nothing more special
            raise RequestError(f"{source}: the merges do not fit the vocabulary ({error}); use --prompt-ids") from None
        cuts = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in PRE_TOKENIZERS[pre]]
        if bytewise:
            self.core.pre_tokenizer = pre_tokenizers.Sequence(
                [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
            self.core.decoder = decoders.ByteLevel()
        else:
            self.core.normalizer = normalizers.Replace(" ", "▁")
            self.core.pre_tokenizer = pre_tokenizers.Sequence(cuts)
            self.core.decoder = decoders.Sequence(
                [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])

    def encode(self, text):
        return self.core.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self.core.decode(ids, skip_special_tokens=False)


class _SentencePiece:
    """BPE by scores, or the likeliest pieces (unigram), by the library that trained them.

    Every token can be reached by merges, whatever its type, as in llama.cpp; of unigram pieces, control tokens and
    bytes cannot.
    """

    def __init__(self, vocabulary, source):
        from sentencepiece import SentencePieceProcessor
        from sentencepiece.sentencepiece_model_pb2 import ModelProto

        unigram, types = vocabulary.kind == "t5", vocabulary.types
        proto = ModelProto()
        proto.trainer_spec.model_type = 1 if unigram else 2
        proto.trainer_spec.byte_fallback = vocabulary.byte_fallback and types.count(BYTE) == 256
        proto.normalizer_spec.add_dummy_prefix = vocabulary.prefix
        proto.normalizer_spec.remove_extra_whitespaces = vocabulary.merge_spaces
        proto.normalizer_spec.precompiled_charsmap = vocabulary.charsmap
        apart = ({CONTROL} if unigram else set()) | ({BYTE} if proto.trainer_spec.byte_fallback else set())
        unknown = vocabulary.ids.get("unk") or 0
        for index, token in enumerate(vocabulary.tokens):
            kind = types[index] if types[index] in apart else CONTROL if unigram and types[index] == BYTE else NORMAL
            score = 0.0 if unigram and types[index] == USER_DEFINED else vocabulary.scores[index]
            proto.pieces.add(piece=token, score=score, type=UNKNOWN if index == unknown else kind)
        try:
            self.core = SentencePieceProcessor(model_proto=proto.SerializeToString())
        except (RuntimeError, OSError, ValueError) as error:
            raise RequestError(f"{source}: sentencepiece does not take the vocabulary ({error}); use --prompt-ids"
                               ) from None

    def encode(self, text):
        return self.core.encode(text)

    def decode(self, ids):
        return self.core.decode(ids)
