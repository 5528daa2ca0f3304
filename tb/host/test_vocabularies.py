"""Vocabularies of GGUF against llama.cpp, which reads the same files: every id of a page of text, and what ends one."""

import json
from functools import cache

import pytest
from llama_cpp import LlamaCpp
from many_scripts import PAGE, SPECIAL
from scoville_host.checkpoint.pre_tokenizers import PRE_TOKENIZERS, WHOLE_LINES
from scoville_host.checkpoint.tokenizer import load_tokenizer
from scoville_host.checkpoint.vocabulary import read_vocabulary
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from vocabularies import ADDED, byte_level, of_bpe, of_pieces, pieces, write
from vocabularies import SPECIAL as CONTROL

TEXTS = [PAGE, SPECIAL, "", " ", "\n\n", " a", "<s>a"]
core = cache(byte_level)


@cache
def sentence_piece():
    """As Llama 2, Mistral and TinyLlama have it."""
    return pieces("bpe", byte_fallback=True, character_coverage=0.98)


@cache
def gemma():
    """No space in front, runs of line breaks as pieces, other places for what stands for something."""
    return pieces("bpe", byte_fallback=True, add_dummy_prefix=False, split_digits=True, pad_id=0, eos_id=1, bos_id=2,
                  unk_id=3, allow_whitespace_only_pieces=True, user_defined_symbols=["\n", "\n\n", "\n\n\n", "\t"])


def whole_lines(**settings):
    """As Gemma 4: merges over a line, bytes as pieces."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|[\n]+"), "isolated")
    control, bytewise = ["<pad>", "<eos>", "<bos>", "<unk>"], [f"<0x{n:02X}>" for n in range(256)]
    trained.train_from_iterator([PAGE[:3000]], trainers.BpeTrainer(vocab_size=1800, show_progress=False,
                                                                   special_tokens=control + bytewise))
    state = json.loads(trained.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    tokens += ["\n" * n for n in (2, 3, 4) if "\n" * n not in state["vocab"]]
    kinds = [3 if token in control else 6 if token in bytewise else 1 for token in tokens]
    merges = [" ".join(merge) for merge in state["merges"] if "\n" not in "".join(merge)]
    return {"tokens": tokens, "token_type": kinds, "merges": merges, "bos_token_id": 2, "eos_token_id": 1} | settings


def named(vocabulary):
    """All tokens are normal ones; a few have names that llama.cpp knows. `SPECIAL` holds some."""
    more = ["<|fim_prefix|>", "<end_of_turn>", "<|channel|>", "s> "]
    tokens = vocabulary["tokens"] + [text for text in more if text not in vocabulary["tokens"]]
    return vocabulary | {"tokens": tokens, "token_type": [1] * len(tokens)}


FORMS = {
    "Llama 3": lambda folder: of_bpe(core(), pre="llama-bpe", bos_token_id=0, eos_token_id=2),
    "Llama 3, no word about BOS and EOS": lambda folder: of_bpe(core(), pre="llama3"),
    "tokens whose names say more than their types": lambda folder: named(of_bpe(core(), pre="qwen2", eos_token_id=2)),
    "Qwen": lambda folder: of_bpe(core(), pre="qwen2", bos_token_id=0, eos_token_id=2, add_bos_token=False),
    "SmolLM": lambda folder: of_bpe(core(), pre="smollm", bos_token_id=1, add_bos_token=True, add_eos_token=True),
    "Mistral's Tekken": lambda folder: of_bpe(core(), pre="tekken", bos_token_id=1),
    "gpt-oss": lambda folder: of_bpe(core(), pre="gpt-4o", bos_token_id=0),
    "no pre-tokenizer": lambda folder: of_bpe(core()),
    "Llama 2": lambda folder: of_pieces(sentence_piece()),
    "Llama 2 without BOS and space": lambda folder: of_pieces(sentence_piece(), add_bos_token=False, add_eos_token=True,
                                                              add_space_prefix=False),
    "Phi-3": lambda folder: of_pieces(sentence_piece(), [*CONTROL, *ADDED]),
    "Gemma": lambda folder: of_pieces(gemma(), ["  ", "   ", *ADDED], bos_token_id=2, eos_token_id=1,
                                      unknown_token_id=3),
    "Gemma 4": lambda folder: whole_lines(model="gemma4"),
    "Sarvam": lambda folder: whole_lines(model="gpt2", pre="sarvam-moe"),
    "unigram": lambda folder: of_pieces(pieces("unigram", folder=folder, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
                                               character_coverage=0.98)),
}


def differences(path, vocabulary, texts=TEXTS):
    """(text, llama.cpp's ids, ours) where they are not equal."""
    reference, ours = LlamaCpp(path, 64, len(vocabulary["tokens"])), load_tokenizer(path)
    return [(text, wanted, found) for text in texts for framed in (True, False)
            if (wanted := reference.tokens(text, framed)) != (found := ours.encoder.encode(text, framed))]


@pytest.mark.parametrize("form", FORMS)
def test_page(tmp_path, form):
    vocabulary = FORMS[form](tmp_path)
    path = write(tmp_path / "v.gguf", vocabulary, name=form)
    assert differences(path, vocabulary) == []
    ours = load_tokenizer(path)
    for text in ("Tous les êtres humains naissent libres", "All people are born<extra>"):
        assert ours.decode(ours.encoder.encode(text)) == text


# One name of each group; those of whole lines have another kind of vocabulary, which `test_page` has.
GROUPS = {str(each): name for name, each in reversed(PRE_TOKENIZERS.items()) if name not in WHOLE_LINES}


@pytest.mark.parametrize("name", sorted(GROUPS.values()))
def test_pre_tokenizers(tmp_path, name):
    """A group on the page; its other names differ by a word that `test_names` looks at."""
    vocabulary = of_bpe(core(), pre=name, bos_token_id=0)
    assert differences(write(tmp_path / "v.gguf", vocabulary), vocabulary, [PAGE]) == []


@pytest.mark.slow
def test_names(tmp_path):
    """Every name is llama.cpp's too, with the same rule about BOS."""
    for name in PRE_TOKENIZERS.keys() - WHOLE_LINES:
        vocabulary = of_bpe(byte_level("we'll 1234", 300), pre=name, bos_token_id=0)
        assert differences(write(tmp_path / "v.gguf", vocabulary), vocabulary, ["We'll 1234", "a\n"]) == [], name


def test_what_ends_a_text(tmp_path):
    """llama.cpp ends its text with exactly the ids that ours do: by their settings, and by what they are called."""
    more = ["<|eot_id|>", "<|return|>", "<|call|>", "<|end|>", "<|file_sep|>", "<PAD>", "<|eom_id|>", "<end_of_turn>"]
    vocabulary = of_bpe(byte_level("a b c", 290), pre="smollm", bos_token_id=0, eos_token_id=40, eot_token_id=41,
                        eom_token_id=42, fim_rep_token_id=43)
    vocabulary["tokens"] += more
    vocabulary["token_type"] += [1] * len(more)
    path = write(tmp_path / "v.gguf", vocabulary)
    reference, tokens = LlamaCpp(path, 64, len(vocabulary["tokens"])), vocabulary["tokens"]
    ends = {token for token in [*range(6), *range(38, 45), *range(len(tokens) - 14, len(tokens))]
            if reference.ends(token)}
    assert ends == set(load_tokenizer(path).eos_ids)
    assert {tokens[token] for token in ends} >= {"<|endoftext|>", "<|eot_id|>", "<|return|>", "<|im_end|>"}
    assert tokens.index("<|end|>") not in ends and ends >= {40, 41, 42, 43}


def test_defaults_that_the_vocabulary_has_no_room_for():
    read = read_vocabulary(lambda key, default=None: {"model": "gpt2", "tokens": ["a", "b"]}.get(key, default))
    assert (read.ids["bos"], read.ids["eos"], read.ends) == (None, None, [])
