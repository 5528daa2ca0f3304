"""Import of GGUF files, split or whole; quantised blocks stay exactly as they are stored."""

import re
from pathlib import Path

import numpy as np

from ..errors import RequestError
from .families import family_of
from .families.settings import GGUF_GLOBAL, GGUF_METADATA
from .formats import Blocks
from .gguf_blocks import GGUF_FORMS
from .model import Model
from .refusals import AT_ONCE
from .rope_settings import rope_of_gguf
from .schema import read_settings, refuse_neutral, refuse_others, shown
from .stored import StoredTensor, place
from .vocabulary import read_vocabulary

__all__ = ["list_gguf", "load_gguf", "metadata", "open_gguf", "vocabulary_of"]

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


def list_gguf(path):
    """(open reader, `StoredTensor` by name) of a GGUF file, or of a split one; no weights are read.

    Raises
    ------
    RequestError
        If the file is broken.
    """
    reader = open_gguf(path)
    tensors = {entry.name: _stored(path, entry) for entry in reader.tensors}
    if len(tensors) < len(reader.tensors):
        raise RequestError(f"{path}: two parts have a tensor of one name")
    return reader, tensors


def _stored(path, entry):
    kind, shape = entry.tensor_type.name, tuple(int(size) for size in reversed(entry.shape))
    form, refusal = None, None

    def bytes_of(start, stop):
        return np.array(entry.data if len(shape) < 2 else entry.data[start:stop])

    def floats(start, stop):
        raw = np.frombuffer(bytes_of(start, stop).tobytes(), _FLOATS[kind]).reshape(-1, *shape[1:])
        return (raw.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else raw.astype(np.float32)

    def blocks(start, stop):
        return Blocks(format=form, **GGUF_FORMS[kind].unpack(bytes_of(start, stop).reshape(stop - start, -1)))

    def dequantised(start, stop):
        from gguf.quants import dequantize

        return dequantize(bytes_of(start, stop), entry.tensor_type)

    load, known = floats, None
    if kind in GGUF_FORMS:
        load, form = blocks, GGUF_FORMS[kind].form
    elif kind not in _FLOATS:
        known = dequantised if _is_known(entry.tensor_type) else None
        refusal = (f"has type {kind}, which does not run as it is stored; "
                   f"{'--weights q8_0 requantises it, or ' if known else ''}take a file of "
                   f"{', '.join(_FLOATS)}, {', '.join(GGUF_FORMS)}")
    return StoredTensor(source=path, name=entry.name, dtype=kind, shape=shape, size=int(entry.n_bytes), load=load,
                        form=form, refusal=refusal, dequantise=known)


def _is_known(kind):
    """Whether the package gguf dequantises a type."""
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def load_gguf(path, *, refusals=AT_ONCE, outline=False, requantise=False):
    """The `Model` of a GGUF file, or of a split one of which `path` is any part.

    Parameters
    ----------
    refusals, outline : as in `huggingface.load_huggingface`.
    requantise : read blocks that the chip has no form for as floats, since all matrices become another format.

    Raises
    ------
    RequestError
        If the file is broken, its architecture or a tensor's type is not supported, or a key asks for what the chip
        does not do.
    """
    reader, tensors = list_gguf(path)
    family = family_of(path, "gguf", metadata(reader, "general.architecture", source=path))
    dialect = family.gguf
    values = _settings(reader, path, dialect, refusals)
    settings = read_settings(path, dialect, values)
    eos = metadata(reader, "tokenizer.ggml.eos_token_id", source=path)
    if eos is not None and type(eos) is not int:
        raise RequestError(f"{path}: tokenizer.ggml.eos_token_id is {shown(eos)}; it must be a valid integer")
    vocabulary = vocabulary_of(reader, path)
    model = Model.of(settings, name=path.stem, source=str(path), rope_layout=dialect.rope_layout, family=family,
                     dialect=dialect, tied=dialect.stored("lm_head") not in tensors,
                     eos_ids=vocabulary.ends if vocabulary else [])
    model.check_numbers()
    refuse_others(path, dialect, values, model, refusals)
    with refusals.of("tensor"):
        model.rope_factors = _divisors(model, path, tensors, "rope_freqs")
        short, long = (_divisors(model, path, tensors, f"rope_factors_{name}") for name in ("short", "long"))
        model.rope_scaling = rope_of_gguf(path, settings, short, long)
    place(model, tensors, refusals, outline=outline, requantise=requantise)
    return model


def _settings(reader, path, dialect, refusals):
    """Values of the architecture's keys; those of other keys are looked at."""
    values = {}
    for key in reader.fields:
        if key.startswith(dialect.prefix):
            values[key.removeprefix(dialect.prefix)] = metadata(reader, key, source=path)
            continue
        with refusals.of("setting"):
            if key in GGUF_GLOBAL:
                refuse_neutral(path, key, metadata(reader, key, source=path), GGUF_GLOBAL[key], None)
            elif not key.startswith(GGUF_METADATA):
                raise RequestError(f"{path}: {shown(key)} is not known; it might change the arithmetic")
    tokens = reader.get_field("tokenizer.ggml.tokens")
    if tokens is not None:
        values.setdefault(dialect.keys["vocab"], len(tokens.data))
    if values.get(dialect.keys["window"]) == 0:
        del values[dialect.keys["window"]]
    return values


def _divisors(model, path, tensors, name):
    """Divisors of the rotation frequencies, or None; few numbers, so that an outline has them too."""
    stored = tensors.pop(f"{name}.weight", None)
    if stored is None:
        return None
    if stored.shape != (model.rotary // 2,):
        raise RequestError(f"{path}: {name}.weight has shape {list(stored.shape)}; "
                           f"the head dimension needs [{model.rotary // 2}]")
    factors = stored.read().floats()
    if not (np.isfinite(factors) & (factors > 0)).all():
        raise RequestError(f"{path}: {name}.weight has factors that are not above 0, or not finite")
    return factors
