"""A vocabulary as files store it, with llama.cpp's rules (``llama-vocab.cpp``) for what they leave out."""

from dataclasses import dataclass, field

from ..errors import RequestError

__all__ = ["CONTROL", "NORMAL", "UNKNOWN", "USER_DEFINED", "Vocabulary", "ends_by_text", "read_vocabulary"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # token types, of GGUF and of SentencePiece
# Ids that stand for something where the file does not say: (bos, eos, unk) by the kind of vocabulary.
_DEFAULTS = {"llama": (1, 2, 0), "gpt2": (11, 11, None), "gemma4": (None, None, None), "t5": (None, 1, 2)}
# Pre-tokenizers whose texts begin with BOS, unless the file says otherwise.
_WITH_BOS = set("llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano tekken chameleon"
                .split())
_ALWAYS_BOS = {"gemma4", "granite-embed-multi-311m"}  # whatever the file says
_ENDS = ("<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> "
         "<|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> "
         "<｜end▁of▁sentence｜> [e~[").split()
# Tokens of code models that also end a text, by the name of their setting.
_FILL = {"fim_pad": "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]".split(),
         "fim_rep": "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>".split(),
         "fim_sep": ["<|file_sep|>"]}
_FILL_PARTS = ("<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> <|prefix|> "
               "<|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> <|suffix|> "
               "<|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|> <|middle|>").split()
# Ends that other tokens show to be none: gpt-oss and Solar end a message with <|end|>, Gemma 4 has </s> in its text.
_NO_ENDS = (*(({one, other}, "<|end|>", USER_DEFINED) for one in ("<|return|>", "<|flush|>")
              for other in ("<|call|>", "<|calls|>")), ({"<|tool_response>"}, "</s>", NORMAL))
_MESSAGE_PARTS = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")  # of gpt-oss: not to be left out of texts


@dataclass(kw_only=True)
class Vocabulary:
    """Tokens and what they stand for.

    Members
    -------
    kind : as ``tokenizer.ggml.model`` says: ``gpt2`` (byte-level BPE), ``llama`` (BPE of SentencePiece), ``t5``
        (unigram), ``gemma4`` (BPE without byte level)
    tokens, types, scores : by id
    merges : pairs, the first first; of ``gpt2`` and ``gemma4``
    pre : name of the pre-tokenizer
    ids : of the tokens that stand for something, by name: ``bos``, ``eos``, ``eot`` ...
    add_bos, add_eos : what is put round a text
    prefix : whether a text gets a space in front; `merge_spaces` : whether runs of spaces count as one
    charsmap : SentencePiece's compiled normalisation, or empty
    byte_fallback : whether what no token covers becomes bytes
    strip : ids after which white space is left out
    ends : ids that end a text
    fault : why texts cannot be encoded with it; ids can be used all the same
    """

    kind: str
    tokens: list
    types: list
    scores: list
    ids: dict
    merges: list = field(default_factory=list)
    pre: str = ""
    add_bos: bool = False
    add_eos: bool = False
    prefix: bool = False
    merge_spaces: bool = False
    charsmap: bytes = b""
    byte_fallback: bool = False
    strip: frozenset = frozenset()
    ends: list = field(default_factory=list)
    fault: str = ""

    def frame(self, source):
        """(ids before a text, ids after it); RequestError if the vocabulary cannot be used for texts."""
        if self.fault:
            raise RequestError(f"{source}: {self.fault}; use --prompt-ids")
        for name in ("bos", "eos"):
            if getattr(self, f"add_{name}") and self.ids.get(name) is None:
                raise RequestError(f"{source}: texts get {name.upper()}, but {name}_token_id is not set; "
                                   "use --prompt-ids")
        return [self.ids["bos"]] * self.add_bos, [self.ids["eos"]] * self.add_eos

    def special(self):
        """Text of the tokens that chat templates may name: ``bos_token`` and so on."""
        names = ("bos", "eos", "unk", "sep", "pad", "mask")
        return {f"{name}_token": self.tokens[self.ids[name]] for name in names if self.ids.get(name) is not None}


def ends_by_text(find):
    """Ids that end a text by what their tokens are called; `find` gives a token's id, or None."""
    called = {text: find(text) for text in (*_ENDS, *(names[0] for names in _FILL.values()))}
    called = {text: token for text, token in called.items() if token is not None}
    for others, text, _ in _NO_ENDS:
        if others <= set(called):
            called.pop(text, None)
    return list(called.values())


def read_vocabulary(value, name=""):
    """The `Vocabulary` of a GGUF file; None if it has none.

    Parameters
    ----------
    value : gives a setting of ``tokenizer.ggml``, or a default
    name : of the model: Phi-3's tokens take the white space behind them
    """
    kind, stored = value("model"), value("tokens")
    if kind in (None, "none", "no_vocab") or not stored:
        return None
    tokens = [token or f"[EMPTY_{index}]" for index, token in enumerate(stored)]
    count, fault = len(tokens), ""
    types, scores = list(value("token_type") or [NORMAL] * count), list(value("scores") or [0.0] * count)
    if min(len(types), len(scores)) < count:
        fault = f"{count} tokens, but {len(types)} token types and {len(scores)} scores"
        types, scores = types + [NORMAL] * count, scores + [0.0] * count
    at = {token: index for index, token in enumerate(tokens)}
    if len(at) < count:
        twice = next(token for index, token in enumerate(tokens) if at[token] != index)
        fault = f"token {twice!r} is in the vocabulary twice"
    if kind in ("gpt2", "gemma4") and value("merges") is None:
        fault = "the vocabulary has no merges"
    pre = kind if kind == "gemma4" else value("pre") or "default"
    ids = _stand_for(kind, value, count)
    ends = _ends(at, ids, types)
    bos = kind == "llama" or kind == "gpt2" and pre in _WITH_BOS
    phi3 = any(text in name.lower() for text in ("phi-3", "phi3"))
    return Vocabulary(
        kind=kind, tokens=tokens, types=types, scores=scores, ids=ids, ends=ends, pre=pre, fault=fault,
        merges=[_pair(merge) for merge in value("merges") or []],
        add_bos=value("add_bos_token", bos) or pre in _ALWAYS_BOS, add_eos=value("add_eos_token", kind == "t5"),
        prefix=value("add_space_prefix", kind == "llama"), byte_fallback=kind != "t5",
        merge_spaces=kind == "t5" and value("remove_extra_whitespaces", False),
        charsmap=bytes(value("precompiled_charsmap") or b"" if kind == "t5" else b""),
        strip=frozenset(index for index, token in enumerate(tokens) if phi3 and types[index] != NORMAL
                        and token not in ("<unk>", "<s>", "<|endoftext|>")))


def _pair(merge):
    """The two of a merge; the first may itself be a space."""
    at = merge.find(" ", 1)
    return merge[:at], merge[at + 1:]


def _stand_for(kind, value, count):
    ids = dict(zip(("bos", "eos", "unk"), _DEFAULTS.get(kind, (None,) * 3), strict=True))
    if value("pre") in ("glm4", "chatglm-bpe"):
        ids["bos"] = None
    ids = {name: token if token is not None and token < count else None for name, token in ids.items()}
    keys = {"unk": "unknown_token_id", "sep": "seperator_token_id", "pad": "padding_token_id"}  # as GGUF spells them
    for name in ("bos", "eos", "eot", "eom", "unk", "sep", "pad", "mask", *_FILL):
        token = value(keys.get(name, f"{name}_token_id"))
        if isinstance(token, int) and token < count:
            ids[name] = token
    return ids


def _ends(at, ids, types):
    """Ids that end a text, the likeliest first; their types become those of control tokens."""
    named = [ids[name] for name in ("eos", "eot", "eom", *_FILL) if ids.get(name) is not None]
    other = [next((at[text] for text in texts if text in at), None) for key, texts in _FILL.items() if key not in ids]
    called = ends_by_text(at.get)
    no_ends = {at[text]: kind for others, text, kind in _NO_ENDS if others <= set(at) and text in at}
    for text in (*_ENDS, *_FILL_PARTS, *(text for texts in _FILL.values() for text in texts)):
        if text in at:
            types[at[text]] = CONTROL
    for text in _MESSAGE_PARTS:
        if text in at:
            types[at[text]] = USER_DEFINED
    for token, kind in no_ends.items():
        types[token] = kind
    found = dict.fromkeys([*named, *called, *(token for token in other if token is not None)])
    return [token for token in found if token not in no_ends]
