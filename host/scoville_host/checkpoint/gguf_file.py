"""Import of GGUF files; quantised blocks stay exactly as they are stored."""

import numpy as np

from ..errors import RequestError
from .formats import FORMATS, unpack_gguf
from .model import LINEARS, Model, Tensor

__all__ = ["load_gguf", "open_gguf", "metadata"]

SUPPORTED = {"llama": "interleaved", "qwen2": "half"}  # architecture: how the rows of q and k lie
_FLOATS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_LAYER = {"attention_norm": "attn_norm", "ffn_norm": "ffn_norm"}
_LAYER |= dict(zip(
    LINEARS, ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), strict=True))
_TOP = {"embedding": "token_embd", "norm": "output_norm", "lm_head": "output"}


def open_gguf(path):
    """A `gguf.GGUFReader`.

    Raises
    ------
    RequestError
        If the file is missing, truncated or not GGUF.
    """
    import gguf  # slow to import

    try:
        return gguf.GGUFReader(path)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror or error}") from None
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: truncated, or not a GGUF file ({error})") from None


def metadata(reader, key, default=None):
    """The value of a metadata key, or the default."""
    found = reader.get_field(key)
    return default if found is None else found.contents()


def _tensor(path, entry):
    kind = entry.tensor_type.name
    shape = tuple(int(size) for size in reversed(entry.shape))
    if kind in _FLOATS:
        raw = np.frombuffer(entry.data.tobytes(), _FLOATS[kind]).reshape(shape)
        values = (raw.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else raw.astype(np.float32)
        return Tensor(kind, values=values)
    if kind.lower() not in FORMATS or kind.startswith("MX"):
        raise RequestError(f"{path}: tensor {entry.name!r} has type {kind}; "
                           "supported are F32, F16, BF16, Q8_0, Q4_0, Q4_1")
    return Tensor(kind, blocks=unpack_gguf(np.array(entry.data).reshape(shape[0], -1), FORMATS[kind.lower()]))


def load_gguf(path):
    """The `Model` of a GGUF file.

    Raises
    ------
    RequestError
        If the file is broken, or its architecture or a tensor's type is not supported.
    """
    reader = open_gguf(path)
    kind = metadata(reader, "general.architecture")
    if kind not in SUPPORTED:
        raise RequestError(f"{path}: architecture {kind!r} is not supported; supported are {', '.join(SUPPORTED)}")

    def value(key, default=None):
        found = metadata(reader, f"{kind}.{key}", default)
        if found is None:
            raise RequestError(f"{path}: metadata {kind}.{key} is missing")
        return found

    if value("expert_count", 0):
        raise RequestError(f"{path}: mixtures of experts are not supported")
    if value("rope.scaling.type", "none") != "none":
        raise RequestError(f"{path}: RoPE scaling {value('rope.scaling.type')!r} is not supported")
    hidden, heads = value("embedding_length"), value("attention.head_count")
    if not isinstance(heads, int):
        raise RequestError(f"{path}: a different number of heads in each layer is not supported")
    head_dim = value("attention.key_length", hidden // heads)
    if value("rope.dimension_count", head_dim) != head_dim:
        raise RequestError(f"{path}: rotary positions over a part of the head are not supported")
    entries = {entry.name: entry for entry in reader.tensors}
    vocab = value("vocab_size", len(metadata(reader, "tokenizer.ggml.tokens", [])))
    eos = metadata(reader, "tokenizer.ggml.eos_token_id")
    model = Model(
        name=path.stem, source=str(path), hidden=hidden, layers=value("block_count"), heads=heads,
        kv_heads=value("attention.head_count_kv", heads), head_dim=head_dim, ffn=value("feed_forward_length"),
        vocab=vocab, context=value("context_length"), epsilon=float(value("attention.layer_norm_rms_epsilon")),
        rope_theta=float(value("rope.freq_base", 10000.0)), rope_layout=SUPPORTED[kind],
        tied="output.weight" not in entries, eos_ids=[] if eos is None else [eos])
    _read_tensors(model, path, entries)
    model.check()
    return model


def _read_tensors(model, path, entries):
    if "rope_freqs.weight" in entries:
        model.rope_factors = _tensor(path, entries.pop("rope_freqs.weight")).floats()
        if model.rope_factors.shape != (model.head_dim // 2,):
            raise RequestError(f"{path}: rope_freqs.weight has shape {list(model.rope_factors.shape)}; "
                               f"the head dimension needs [{model.head_dim // 2}]")
    used = set()
    for name in model.shapes():
        layer, _, part = name.rpartition(".")
        part, kind = (part.removesuffix("_bias"), "bias") if part.endswith("_bias") else (part, "weight")
        stored = f"blk.{layer}.{_LAYER[part]}.{kind}" if layer else f"{_TOP[part]}.{kind}"
        if stored in entries:
            model.tensors[name] = _tensor(path, entries[stored])
            used.add(stored)
    for stored in entries:
        if stored not in used:
            raise RequestError(f"{path}: tensor {stored!r} has no place in this architecture")
