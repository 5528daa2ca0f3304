"""The regular expressions that cut a text into words before BPE, by the name in ``tokenizer.ggml.pre``.

Those of llama.cpp's ``llm_tokenizer_bpe``; each cuts the pieces that the one before it left. Letters beyond ASCII are
of either case there, which the expressions of gpt-4o and Tekken show.
"""

__all__ = ["IGNORE_MERGES", "PRE_TOKENIZERS", "WHOLE_LINES"]

_SUFFIX = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_LLAMA3 = _SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN2 = _SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_QWEN35 = (_SUFFIX + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")


def _cased(suffix, digits, letters=r"\p{L}"):
    """Words of capitals and small letters: a capital begins a new one."""
    upper, lower = f"(?:(?=[{letters}])[^a-z])", f"(?:(?=[{letters}])[^A-Z])"
    start = r"[^\r\n\p{L}\p{N}]?"
    return (f"{start}{upper}*{lower}+{suffix}|{start}{upper}+{lower}*{suffix}|{digits}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


_TEKKEN, _GPT4O = _cased("", r"\p{N}"), _cased(_SUFFIX + "?", r"\p{N}{1,3}")
_DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
              r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
              r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]
_LINES = [r"[^\n]+|[\n]+"]  # Gemma 4: merges go over a whole line

_GROUPS = {
    "default": ([r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe glm4 chatglm-bpe":
        [_LLAMA3],
    "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2": [_QWEN2],
    "qwen35": [_QWEN35],
    "laguna": [*_LINES, _QWEN2],
    "minicpm5": [r"\p{N}{1,3}", _LLAMA3.replace("{1,3}", "+")],
    "gpt-2 phi-2 mpt olmo jais trillion granite-docling jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum "
    "modern-bert exaone4": [_GPT2],
    "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2": [r"\p{N}", _GPT2],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"],
    "tekken": [_TEKKEN],
    "gpt-4o llama4 kanana2 talkie minimax-m2": [_GPT4O],
    "granite-embed-multi-97m": [_cased(_SUFFIX + "?", r"\p{N}{1,3}", r"\p{L}\p{M}")],
    "deepseek-v3 hunyuan-dense joyai-llm hy_v4": _DEEPSEEK3,
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
    "bailingmoe bailingmoe2 llada-moe": [
        r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+"],
    "seed-coder": [_SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "gemma4 granite-embed-multi-311m sarvam-moe": _LINES,
}
# Characters are themselves, not bytes; spaces are U+2581.
WHOLE_LINES = {"gemma4", "granite-embed-multi-311m", "sarvam-moe"}
PRE_TOKENIZERS = {name: expressions for names, expressions in _GROUPS.items() for name in names.split()}
# A word that is a token is that token, whatever the merges say.
IGNORE_MERGES = set("llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano tekken minicpm5 "
                    "granite-embed-multi-97m gemma4 granite-embed-multi-311m".split())
