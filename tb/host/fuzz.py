"""Checkpoints with a fault, seeded: bytes changed anywhere, or a value in the place of one of another kind."""

import copy
import json
import struct

import gguf
import numpy as np
from checkpoints import random_tensors, write_gguf, write_huggingface

SIZES = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 32, "ffn": 32, "vocab": 40}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENS = ["<|end|>", "<|user|>", "Ġ", "Ċ", *LETTERS, *"0123456", "Ġa", "ab", "cd"]
MERGES = ["Ġ a", "a b", "c d"]
NUMBERS = (0, 1, -1, 2, 3, 7, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)
ODD = [None, True, False, "", "false", "x", "\x00", "../x.safetensors", "é" * 300, 0.5, -0.0, 1e-300, 1e308,
       float("nan"), float("inf"), 10**30, 10**400, [], [1], [[]], ["a", 1], {}, {"a": 1}, {"rope_type": "llama3"},
       {"type": 3}, {"name": "x"}, {"rope_type": "default", "rope_theta": "big"}, *NUMBERS]
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
GRANITE = {"model_type": "granite", "embedding_multiplier": 12.0, "residual_multiplier": 0.22,
           "attention_multiplier": 0.1, "logits_scaling": 8.0, "rope_scaling": {
               "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32.0,
               "beta_slow": 1.0, "truncate": False, "mscale": 1.0, "mscale_all_dim": 0.5}}


class Pick:
    """Choices of a seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def below(self, end):
        return int(self.rng.integers(max(end, 1)))


def spoil_bytes(data, pick, reach=None):
    """One to four faults in the first `reach` bytes."""
    data = bytearray(data)
    for _ in range(pick((1, 1, 2, 4))):
        at = pick.below(min(reach or len(data), len(data)))
        size = pick((1, 4, 8, 8, 17, 300))
        kind = pick.below(7)
        if kind == 0:
            data[at:at + 1] = bytes([data[at] ^ 1 << pick.below(8)]) if data else b""
        elif kind == 1:
            data[at:at + size] = b""
        elif kind == 2:
            data[at:at] = pick.rng.bytes(size)
        elif kind == 3:
            number = struct.pack("<Q", pick(NUMBERS) % 2**64)[:pick((1, 2, 4, 8))]
            data[at:at + len(number)] = number
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            data[at:at] = data[at:at + size] * pick((1, 2, 40))
        else:
            data[at:at + size] = pick.rng.bytes(size)
    return bytes(data)


def spoil_json(data, pick, raw=0.3):
    """JSON with faults: of bytes, or one to three values that are others, gone, new or nested without end."""
    if pick.rng.random() < raw:
        return spoil_bytes(data, pick)

    def odd():
        return copy.deepcopy(pick(ODD))

    value = json.loads(data)
    for _ in range(pick((1, 1, 2, 3))):
        place = value
        while isinstance(place, (dict, list)) and place:
            key = pick(list(place)) if isinstance(place, dict) else pick.below(len(place))
            inner = place[key]
            if isinstance(inner, (dict, list)) and inner and pick.below(4):
                place = inner
                continue
            kind = pick.below(8)
            if kind == 0:
                del place[key]
            elif kind == 1 and isinstance(place, dict):
                place[pick(("x", "logit_scale", "sliding_window", "rope_scaling", "", "é", "__metadata__"))] = odd()
            else:
                place[key] = odd()
            break
    text = json.dumps(value)
    if pick.below(30) == 0:
        text = text.replace(":", ":" + "[" * 3000, 1)
    return text.encode()


class Gguf:
    """A GGUF file as keys and values, and its bytes with other ones."""

    def __init__(self, folder, architecture="llama"):
        tensors = random_tensors(SIZES, biases=("q", "k", "v") if architecture == "qwen2" else ())
        path = write_gguf(folder / "seed.gguf", tensors, SIZES, kind="Q8_0", architecture=architecture)
        self.data = path.read_bytes()
        reader = gguf.GGUFReader(path)
        last = reader.tensors[-1].field
        self.tensors = self.data[reader.tensors[0].field.offset:last.offset + sum(part.nbytes for part in last.parts)]
        self.body, self.count = self.data[reader.data_offset:], len(reader.tensors)
        self.values = {key: (field.types, field.contents()) for key, field in reader.fields.items()
                       if not key.startswith("GGUF.")}
        kinds = gguf.GGUFValueType
        texts = [kinds.ARRAY, kinds.STRING]
        self.values |= {
            "tokenizer.ggml.model": ([kinds.STRING], "gpt2"), "tokenizer.ggml.pre": ([kinds.STRING], "gpt-2"),
            "tokenizer.ggml.tokens": (texts, TOKENS), "tokenizer.ggml.merges": (texts, MERGES),
            "tokenizer.ggml.token_type": ([kinds.ARRAY, kinds.INT32], [3, 3] + [1] * (len(TOKENS) - 2)),
            "tokenizer.chat_template": ([kinds.STRING], "{{ messages[0].content }}")}

    def pack(self, values, order="<"):
        """Bytes of a file with these metadata; `order` ``>`` makes its header big-endian."""
        head = struct.pack(order + "4sIQQ" if order == "<" else ">4sIQQ", b"GGUF", 3, self.count, len(values))
        for key, (types, value) in values.items():
            head += self._text(key.encode(), order) + struct.pack(order + "I", types[0])
            head += self._value(types, value, order)
        head += self.tensors
        return head + bytes(-len(head) % 32) + self.body

    @staticmethod
    def _text(data, order):
        return struct.pack(order + "Q", len(data)) + data

    def _value(self, types, value, order):
        kind = types[0]
        if kind == gguf.GGUFValueType.ARRAY:
            return struct.pack(order + "IQ", types[1], len(value)) + b"".join(
                self._value(types[1:], each, order) for each in value)
        if kind == gguf.GGUFValueType.STRING:
            return self._text(value if isinstance(value, bytes) else value.encode(), order)
        return struct.pack(order + gguf.GGUFWriter._simple_value_packing[kind], value)

    def spoil(self, pick):
        """Bytes of a file with faults."""
        if pick.below(2):
            return spoil_bytes(self.data if pick.below(2) else self.pack(self.values), pick, reach=pick((None, 3000)))
        values, kinds = dict(self.values), gguf.GGUFValueType
        for _ in range(pick((1, 1, 2))):
            key = pick(list(values))
            other = pick([
                ([kinds.UINT32], pick(NUMBERS) % 2**32), ([kinds.UINT64], pick(NUMBERS) % 2**64),
                ([kinds.INT32], -1), ([kinds.INT64], -2**63), ([kinds.FLOAT32], pick((0.0, -1.0, 1e30, float("nan")))),
                ([kinds.FLOAT64], 1e308), ([kinds.BOOL], True), ([kinds.STRING], "text"), ([kinds.STRING], b"\xff\xfe"),
                ([kinds.ARRAY, kinds.UINT32], [1, 2]), ([kinds.ARRAY, kinds.UINT8], []),
                ([kinds.ARRAY, kinds.STRING], ["a", b"\xff", "a b c"]), ([kinds.ARRAY, kinds.STRING], []),
                ([kinds.ARRAY, kinds.INT32], [-1, 2**31 - 1])])
            kind = pick.below(6)
            if kind == 0:
                del values[key]
            elif kind == 1:
                values[pick(("llama.logit_scale", "llama.x", "general.x", "x", "split.count", "split.no"))] = other
            else:
                values[key] = other
        return self.pack(values)


class Directory:
    """A checkpoint directory, and the bytes of its files with faults."""

    def __init__(self, folder, **settings):
        self.folder = write_huggingface(folder, random_tensors(SIZES), SIZES, **{"rope_scaling": LLAMA3} | settings)
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        core = Tokenizer(models.BPE({token: n for n, token in enumerate(TOKENS)},
                                    [tuple(merge.split()) for merge in MERGES]))
        core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        core.add_special_tokens(TOKENS[:2])
        core.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({
            "bos_token": "<|user|>", "eos_token": {"content": "<|end|>"}, "model_max_length": 64,
            "chat_template": [{"name": "default", "template": "{{ messages[0].content }}"}]}), encoding="utf-8")
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}

    def spoil(self, name, pick):
        """Bytes of one of its files with faults."""
        data = self.files[name]
        if not name.endswith(".safetensors"):
            return spoil_json(data, pick)
        if pick.below(2):
            return spoil_bytes(data, pick, reach=pick((None, 8, 2500)))
        size = int.from_bytes(data[:8], "little")
        head = spoil_json(data[8:8 + size], pick, raw=0.1)
        return len(head).to_bytes(8, "little") + head + data[8 + size:]
