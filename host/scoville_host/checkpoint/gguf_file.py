"""Import of GGUF files; quantised blocks stay exactly as they are stored."""

import numpy as np

from ..errors import RequestError
from .families import family_of
from .formats import FORMATS, unpack_gguf
from .model import Model, Tensor
from .vocabulary import read_vocabulary

__all__ = ["load_gguf", "metadata", "open_gguf", "vocabulary_of"]

_FLOATS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


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


def vocabulary_of(reader):
    """The `Vocabulary` of an open GGUF file; None if it has none."""
    return read_vocabulary(lambda key, default=None: metadata(reader, f"tokenizer.ggml.{key}", default),
                           metadata(reader, "general.name", ""))


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
    family = family_of(path, "gguf", kind)
    keys = family.gguf.keys

    def setting(key, default=None):
        found = metadata(reader, f"{kind}.{key}", default)
        if found is None:
            raise RequestError(f"{path}: metadata {kind}.{key} is missing")
        return found

    def value(name, default=None):
        return setting(keys[name], default)

    if setting("expert_count", 0):
        raise RequestError(f"{path}: mixtures of experts are not supported")
    if setting("rope.scaling.type", "none") != "none":
        raise RequestError(f"{path}: RoPE scaling {setting('rope.scaling.type')!r} is not supported")
    hidden, heads = value("hidden"), value("heads")
    if not isinstance(heads, int):
        raise RequestError(f"{path}: a different number of heads in each layer is not supported")
    head_dim = value("head_dim", hidden // heads)
    if setting("rope.dimension_count", head_dim) != head_dim:
        raise RequestError(f"{path}: rotary positions over a part of the head are not supported")
    entries = {entry.name: entry for entry in reader.tensors}
    vocab = value("vocab", len(metadata(reader, "tokenizer.ggml.tokens", [])))
    vocabulary = vocabulary_of(reader)
    model = Model(
        name=path.stem, source=str(path), hidden=hidden, layers=value("layers"), heads=heads,
        kv_heads=value("kv_heads", heads), head_dim=head_dim, ffn=value("ffn"), vocab=vocab, context=value("context"),
        epsilon=float(value("epsilon")), rope_theta=float(value("rope_theta", 10000.0)),
        rope_layout=family.gguf.rope_layout, tied=family.gguf.stored("lm_head") not in entries, family=family,
        eos_ids=vocabulary.ends if vocabulary else [])
    _read_tensors(model, path, entries)
    model.check()
    return model


def _read_tensors(model, path, entries):
    if "rope_freqs.weight" in entries:
        model.rope_factors = _tensor(path, entries.pop("rope_freqs.weight")).floats()
        if model.rope_factors.shape != (model.head_dim // 2,):
            raise RequestError(f"{path}: rope_freqs.weight has shape {list(model.rope_factors.shape)}; "
                               f"the head dimension needs [{model.head_dim // 2}]")
    found, spare = model.family.gguf.match(model, entries)
    for name, stored in found.items():
        model.tensors[name] = _tensor(path, entries[stored])
    if spare:
        raise RequestError(f"{path}: tensor {spare!r} has no place in this architecture")
