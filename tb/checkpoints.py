"""Small random checkpoints, written by the public libraries: what the importers are tested against."""

import json

import numpy as np
from safetensors.numpy import save_file

SIZES = {"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 32, "ffn": 96, "vocab": 70}
ODD = {"hidden": 40, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 24, "ffn": 72, "vocab": 70}
LAYER = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
         "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj", "qkv": "self_attn.qkv_proj",
         "gate_up": "mlp.gate_up_proj"}
GGUF = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up",
        "down": "ffn_down", "qkv": "attn_qkv", "gate_up": "ffn_up"}
PERMUTED = ("llama", "granite", "smollm3")  # architectures whose GGUF files have the rows of q and k interleaved


def random_tensors(sizes=SIZES, seed=1, *, tied=True, biases=()):
    """Float32 tensors by the importer's names; values are multiples of 2^-10 below 1, exact in every float type."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return (rng.integers(-120, 121, shape) / 1024).astype(np.float32)

    hidden, query, kv = sizes["hidden"], sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    shapes = {"q": (query, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, query),
              "gate": (sizes["ffn"], hidden), "up": (sizes["ffn"], hidden), "down": (hidden, sizes["ffn"])}
    tensors = {"embedding": draw(sizes["vocab"], hidden), "norm": 1 + draw(hidden)}
    if not tied:
        tensors["lm_head"] = draw(sizes["vocab"], hidden)
    for n in range(sizes["layers"]):
        tensors |= {f"{n}.attention_norm": 1 + draw(hidden), f"{n}.ffn_norm": 1 + draw(hidden)}
        tensors |= {f"{n}.{name}": draw(*shape) for name, shape in shapes.items()}
        tensors |= {f"{n}.{name}_bias": draw(shapes[name][0]) for name in biases}
    return tensors


def fused(tensors, wholes=("qkv", "gate_up")):
    """Tensors as Phi-3 has them: q, k and v below each other, and gate and up."""
    parts = {"qkv": ("q", "k", "v"), "gate_up": ("gate", "up")}
    inside = {part for whole in wholes for part in parts[whole]}
    kept = {name: values for name, values in tensors.items() if name.rpartition(".")[2] not in inside}
    for layer in sorted({name.partition(".")[0] for name in tensors if "." in name}):
        kept |= {f"{layer}.{whole}": np.concatenate([tensors[f"{layer}.{part}"] for part in parts[whole]])
                 for whole in wholes}
    return kept


def huggingface_name(name):
    """The checkpoint's name of a tensor."""
    top = {"embedding": "model.embed_tokens.weight", "norm": "model.norm.weight", "lm_head": "lm_head.weight"}
    if name in top:
        return top[name]
    layer, part = name.split(".")
    norms = {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    kind = "bias" if part.endswith("_bias") else "weight"
    part = part.removesuffix("_bias")
    return f"model.layers.{layer}.{norms.get(part) or LAYER[part]}.{kind}"


def write_huggingface(folder, tensors, sizes=SIZES, *, dtype=np.float32, shards=1, **settings):
    """A checkpoint directory; `settings` go into config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": sizes["hidden"],
        "num_hidden_layers": sizes["layers"], "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["kv_heads"], "head_dim": sizes["head_dim"], "intermediate_size": sizes["ffn"],
        "vocab_size": sizes["vocab"], "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": "lm_head" not in tensors, "eos_token_id": 1, "bos_token_id": 0,
        "attention_bias": any(name.endswith(("q_bias", "o_bias")) for name in tensors),
        "mlp_bias": any(name.endswith("up_bias") for name in tensors),
    } | settings
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    stored = {huggingface_name(name): values.astype(dtype) for name, values in tensors.items()}
    names = sorted(stored)
    if shards == 1:
        save_file(stored, folder / "model.safetensors")
        return folder
    where = {name: f"model-{index % shards + 1:05}-of-{shards:05}.safetensors" for index, name in enumerate(names)}
    for file in set(where.values()):
        save_file({name: stored[name] for name in names if where[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}), encoding="utf-8")
    return folder


def read_huggingface(folder):
    """(tensors by the importer's names, sizes) of a checkpoint directory with one BF16 file, read by hand."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = {"hidden": config["hidden_size"], "layers": config["num_hidden_layers"],
             "heads": config["num_attention_heads"], "kv_heads": config["num_key_value_heads"],
             "head_dim": config["head_dim"], "ffn": config["intermediate_size"], "vocab": config["vocab_size"]}
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8:8 + length]), data[8 + length:]
    tensors = {}
    for name in random_tensors(sizes, tied=config["tie_word_embeddings"]):
        entry = header[huggingface_name(name)]
        assert entry["dtype"] == "BF16"
        raw = np.frombuffer(body[slice(*entry["data_offsets"])], np.uint16)
        tensors[name] = (raw.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
    return tensors, sizes


def to_bf16(folder):
    """Change the one safetensors file of a folder to BF16, as its bytes on disk."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body, parts, offset = json.loads(data[8:8 + length]), data[8 + length:], [], 0
    header.pop("__metadata__", None)
    for entry in header.values():
        begin, end = entry["data_offsets"]
        parts.append((np.frombuffer(body[begin:end], np.uint32) >> 16).astype(np.uint16).tobytes())
        entry |= {"dtype": "BF16", "data_offsets": [offset, offset + len(parts[-1])]}
        offset += len(parts[-1])
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def interleaved(values, heads):
    """Rows of q or k as GGUF's llama has them: a head's halves side by side (llama.cpp, convert_hf_to_gguf.py)."""
    return values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def write_gguf(path, tensors, sizes=SIZES, kind="F32", architecture="llama", *, whole=None, split=0, order=None,
               more=None, **settings):
    """A GGUF file whose matrices have a type; vectors stay F32. `settings` replace the architecture's metadata;
    None leaves a key out.

    Parameters
    ----------
    whole : metadata of the whole file, numbers or texts.
    split : tensors a part, for a file in parts.
    order : a `gguf.GGUFEndian`; little if None.
    more : tensors by the file's own names.
    """
    import gguf

    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=split, endianess=order or gguf.GGUFEndian.LITTLE)
    for key, value in (whole or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_float32)(key, value)
    numbers = {
        "block_count": sizes["layers"], "context_length": 128, "embedding_length": sizes["hidden"],
        "feed_forward_length": sizes["ffn"], "attention.head_count": sizes["heads"],
        "attention.head_count_kv": sizes["kv_heads"], "attention.key_length": sizes["head_dim"],
        "attention.value_length": sizes["head_dim"],
        "rope.dimension_count": sizes["head_dim"], "vocab_size": sizes["vocab"],
    } | settings
    numbers = {"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 10000.0} | numbers
    for key, value in numbers.items():
        if value is not None:
            add = {float: writer.add_float32, str: writer.add_string, bool: writer.add_bool}.get(
                type(value), writer.add_uint32)
            add(f"{architecture}.{key}", value)
    for name, values in (more or {}).items():
        writer.add_tensor(name, values)
    writer.add_uint32("tokenizer.ggml.eos_token_id", 1)
    # A vocabulary without meaning: llama.cpp reads no file that has none.
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{n}>" for n in range(sizes["vocab"])])
    writer.add_token_scores([0.0] * sizes["vocab"])
    writer.add_token_types([1] * sizes["vocab"])
    top = {"embedding": "token_embd", "norm": "output_norm", "lm_head": "output"}
    norms = {"attention_norm": "attn_norm", "ffn_norm": "ffn_norm"}
    for name, values in tensors.items():
        layer, _, part = name.rpartition(".")
        base = part.removesuffix("_bias")
        stored = f"blk.{layer}.{norms.get(base) or GGUF[base]}" if layer else top[name]
        if base in ("q", "k") and architecture in PERMUTED:
            values = interleaved(values, sizes["heads" if base == "q" else "kv_heads"])
        stored += ".bias" if part.endswith("_bias") else ".weight"
        if values.ndim == 1 or kind == "F32":
            writer.add_tensor(stored, np.ascontiguousarray(values, np.float32))
        elif kind == "F16":
            writer.add_tensor(stored, values.astype(np.float16))
        else:
            number = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(stored, gguf.quants.quantize(np.ascontiguousarray(values), number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
