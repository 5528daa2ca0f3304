"""Import of GGUF files, split or whole; quantised blocks stay exactly as they are stored."""

import re
from pathlib import Path

import numpy as np

from ..errors import RequestError
from .families import family_of
from .families.settings import GGUF_GLOBAL, GGUF_METADATA
from .formats import FORMATS, unpack_gguf
from .model import Model, Tensor
from .schema import read_settings, refuse_neutral, refuse_others, shown
from .vocabulary import read_vocabulary

__all__ = ["load_gguf", "metadata", "open_gguf", "vocabulary_of"]

_FLOATS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def _open(path):
    from .gguf_reader import BoundedReader  # slow to import

    try:
        return BoundedReader(path)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror or error}") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise RequestError(f"{path}: truncated, or not a GGUF file that can be read ({error})") from None


def open_gguf(path):
    """A `gguf.GGUFReader` with a file's metadata and tensors; of a split file with those of all its parts.

    Raises
    ------
    RequestError
        If the file or a part of it is missing, truncated, big-endian or not GGUF.
    """
    path = Path(path)
    reader = _open(path)
    count = metadata(reader, "split.count", 0, source=path)
    if not isinstance(count, int) or count <= 1:
        return reader
    match = _PART.fullmatch(path.name)
    if not match or int(match["count"]) != count:
        raise RequestError(f"{path}: one of {count} parts of a split file; its name must end in "
                           f"-NNNNN-of-{count:05}.gguf, as those of the others do")
    first, tensors = None, []
    for number in range(count):
        part = path.with_name(f"{match['stem']}-{number + 1:05}-of-{count:05}.gguf")
        if not part.exists():
            raise RequestError(f"{path}: one of {count} parts; {part.name} is missing")
        opened = _open(part)
        if (metadata(opened, "split.no", source=part), metadata(opened, "split.count", source=part)) != (number, count):
            raise RequestError(f"{part}: not part {number + 1} of {count} by its own metadata (split.no, split.count)")
        first = first or opened
        tensors += opened.tensors
    first.tensors = tensors
    total = metadata(first, "split.tensors.count", source=path)
    if total not in (None, len(tensors)):
        raise RequestError(f"{path}: its {count} parts have {len(tensors)} tensors; split.tensors.count says "
                           f"{shown(total)}")
    return first


def metadata(reader, key, default=None, source="metadata"):
    """The value of a metadata key, or the default.

    Raises
    ------
    RequestError
        If it is text that is not UTF-8.
    """
    found = reader.get_field(key)
    try:
        return default if found is None else found.contents()
    except UnicodeDecodeError:
        raise RequestError(f"{source}: {key} is not valid UTF-8") from None


def vocabulary_of(reader, source):
    """The `Vocabulary` of an open GGUF file; None if it has none.

    Raises
    ------
    RequestError
        If it is not what llama.cpp writes.
    """
    try:
        return read_vocabulary(lambda key, default=None: metadata(reader, f"tokenizer.ggml.{key}", default, source),
                               metadata(reader, "general.name", "", source))
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RequestError(f"{source}: its vocabulary is not as llama.cpp writes one ({error})") from None


def _tensor(path, entry):
    kind = entry.tensor_type.name
    shape = tuple(int(size) for size in reversed(entry.shape))
    if kind not in _FLOATS and (kind.lower() not in FORMATS or kind.startswith("MX")):
        raise RequestError(f"{path}: tensor {entry.name!r} has type {kind}; "
                           "supported are F32, F16, BF16, Q8_0, Q4_0, Q4_1")
    if kind in _FLOATS:
        raw = np.frombuffer(entry.data.tobytes(), _FLOATS[kind]).reshape(shape)
        values = (raw.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else raw.astype(np.float32)
        return Tensor(kind, values=values)
    if len(shape) != 2:
        raise RequestError(f"{path}: tensor {entry.name!r} has type {kind}; a vector must be F32, F16 or BF16")
    blocks = unpack_gguf(np.array(entry.data).reshape(shape[0], -1), FORMATS[kind.lower()])
    return Tensor(kind, blocks=blocks)


def load_gguf(path):
    """The `Model` of a GGUF file, or of a split one of which `path` is any part.

    Raises
    ------
    RequestError
        If the file is broken, its architecture or a tensor's type is not supported, or a key asks for what the chip
        does not do.
    """
    reader = open_gguf(path)
    family = family_of(path, "gguf", metadata(reader, "general.architecture", source=path))
    dialect, values = family.gguf, {}
    for key in reader.fields:
        if key.startswith(dialect.prefix):
            values[key.removeprefix(dialect.prefix)] = metadata(reader, key, source=path)
        elif key in GGUF_GLOBAL:
            refuse_neutral(path, key, metadata(reader, key, source=path), GGUF_GLOBAL[key], None)
        elif not key.startswith(GGUF_METADATA):
            raise RequestError(f"{path}: {shown(key)} is not known; it might change the arithmetic")
    tokens = reader.get_field("tokenizer.ggml.tokens")
    if tokens is not None:
        values.setdefault(dialect.keys["vocab"], len(tokens.data))
    if values.get(dialect.keys["window"]) == 0:
        del values[dialect.keys["window"]]
    settings = read_settings(path, dialect, values)
    eos = metadata(reader, "tokenizer.ggml.eos_token_id", source=path)
    if eos is not None and type(eos) is not int:
        raise RequestError(f"{path}: tokenizer.ggml.eos_token_id is {shown(eos)}; it must be a valid integer")
    entries = {entry.name: entry for entry in reader.tensors}
    if len(entries) < len(reader.tensors):
        raise RequestError(f"{path}: two parts have a tensor of one name")
    vocabulary = vocabulary_of(reader, path)
    model = Model.of(settings, name=path.stem, source=str(path), rope_layout=dialect.rope_layout, family=family,
                     dialect=dialect, tied=dialect.stored("lm_head") not in entries,
                     eos_ids=vocabulary.ends if vocabulary else [])
    model.check_numbers()
    refuse_others(path, dialect, values, model)
    _read_tensors(model, path, entries)
    model.check()
    return model


def _read_tensors(model, path, entries):
    if "rope_freqs.weight" in entries:
        model.rope_factors = _tensor(path, entries.pop("rope_freqs.weight")).floats()
        if model.rope_factors.shape != (model.head_dim // 2,):
            raise RequestError(f"{path}: rope_freqs.weight has shape {list(model.rope_factors.shape)}; "
                               f"the head dimension needs [{model.head_dim // 2}]")
        if not (np.isfinite(model.rope_factors) & (model.rope_factors > 0)).all():
            raise RequestError(f"{path}: rope_freqs.weight has factors that are not above 0, or not finite")
    found, spare = model.family.gguf.match(model, entries)
    if spare:
        raise RequestError(f"{path}: tensor {spare!r} has no place in this architecture")
    shapes = model.shapes()
    for name, stored in found.items():
        model.check_shape(name, entries[stored].shape[::-1].tolist(), shapes[name])
        model.tensors[name] = _tensor(path, entries[stored])
