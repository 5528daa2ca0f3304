"""Small vocabularies of every kind, trained on a page of text and written as GGUF files with a few random weights."""

import io
import json

import gguf
import numpy as np
import sentencepiece
from many_scripts import PAGE
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

__all__ = ["byte_level", "of_bpe", "of_pieces", "pieces", "write"]

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"]
ADDED = ["<tool_call>", "</tool_call>", "<extra>"]  # user-defined: never left out of a text


def byte_level(text=PAGE, size=1200, special=SPECIAL, **more):
    """A byte-level BPE as `tokenizers` trains it."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator([text] * 3, trainers.BpeTrainer(
        vocab_size=size, special_tokens=[*special], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **more))
    return core


def pieces(kind, size=1500, folder=None, **settings):
    """A `ModelProto` as sentencepiece trains it: kind ``bpe`` or ``unigram``.

    With a `folder` for a file of rules, spaces are merged and a few characters normalised: NFKC's own table takes
    GGUF's reader 20 s.
    """
    model = io.BytesIO()
    if folder is None:
        settings |= {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    else:
        rules = {"\u00a0": " ", "\t": " ", "\u3000": " ", "ﬁ": "fi", "½": "1⁄2", "Ａ": "A", "１": "1", "e\u0301": "é",
                 "ﷺ": "صلى", "\u00ad": "", "\u1e9b\u0323": "ṩ"}
        settings["normalization_rule_tsv"] = str(folder / "rules.tsv")
        lines = ["\t".join(" ".join(f"{ord(c):X}" for c in side) for side in rule) + "\n" for rule in rules.items()]
        (folder / "rules.tsv").write_text("".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in PAGE.split("\n") * 2 if line.strip()]), model_writer=model,
        model_type=kind, vocab_size=size, hard_vocab_limit=False, num_threads=1, minloglevel=2, **settings)
    proto = ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto


def of_bpe(core, **settings):
    """Settings of ``tokenizer.ggml`` for a byte-level BPE, with tokens of users behind it."""
    state = json.loads(core.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get) + ADDED
    kinds = [3 if token in SPECIAL else 4 if token in ADDED else 1 for token in tokens]
    merges = [" ".join(merge) for merge in state["merges"]]
    return {"model": "gpt2", "tokens": tokens, "token_type": kinds, "merges": merges} | settings


def of_pieces(proto, added=(*SPECIAL[1:3], *ADDED), **settings):
    """The same of pieces, as a converter writes them."""
    tokens = [piece.piece for piece in proto.pieces] + [*added]
    kinds = [piece.type for piece in proto.pieces] + [3 if token in SPECIAL else 4 for token in added]
    scores = [piece.score for piece in proto.pieces] + [-1000.0] * len(added)
    bpe = proto.trainer_spec.model_type == 2
    found = {"model": "llama" if bpe else "t5", "tokens": tokens, "token_type": kinds, "scores": scores,
             "add_space_prefix": proto.normalizer_spec.add_dummy_prefix}
    if not bpe:
        found |= {"remove_extra_whitespaces": proto.normalizer_spec.remove_extra_whitespaces,
                  "precompiled_charsmap": list(proto.normalizer_spec.precompiled_charsmap)}
    return found | settings


def write(path, vocabulary, template=None, name=None, tensors=True):
    """A GGUF file of a one-layer Llama with this vocabulary; `vocabulary`: settings of ``tokenizer.ggml``."""
    writer = gguf.GGUFWriter(path, "llama")
    count, width = len(vocabulary["tokens"]), 32
    if name:
        writer.add_name(name)
    for key, value in {"block_count": 1, "context_length": 128, "embedding_length": width, "feed_forward_length": 32,
                       "attention.head_count": 1, "attention.head_count_kv": 1, "attention.key_length": width,
                       "attention.value_length": width, "rope.dimension_count": width, "vocab_size": count}.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in vocabulary.items():
        key = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif key.endswith("charsmap"):
            writer.add_key_value(key, value, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT8)
        elif value:
            writer.add_array(key, value)
    if template:
        writer.add_chat_template(template)
    if tensors:
        shapes = {"token_embd": (count, width), "output_norm": (width,)} | {
            f"blk.0.{part}": (width,) if part.endswith("norm") else (width, width)
            for part in "attn_norm ffn_norm attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split()}
        rng = np.random.default_rng(1)
        for part, shape in shapes.items():
            writer.add_tensor(f"{part}.weight", (rng.integers(-120, 121, shape) / 1024).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
