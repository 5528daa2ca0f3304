"""Any checkpoint as one GGUF file, so that llama.cpp and the compiler read the same weights."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np

from ..checkpoint.families.llama import LLAMA
from ..compiler.rope import frequencies
from ..errors import RequestError

__all__ = ["KINDS", "as_gguf", "write_gguf"]

KINDS = ("q8_0", "q4_0", "q4_1")  # formats of matrices in GGUF that the chip has too
_WRITTEN = ("llama", "mistral", "qwen2")
NUMBERS = ("hidden", "layers", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context", "epsilon", "rope_theta")


@contextlib.contextmanager
def as_gguf(path, kind=None):
    """The path of a GGUF file with a checkpoint's weights: a GGUF file itself, or one that is there meanwhile.

    Parameters
    ----------
    path : GGUF file or Hugging Face directory.
    kind : one of `KINDS` for all matrices; None leaves a GGUF file as it is, and is Q8_0 for a directory.

    Raises
    ------
    RequestError
        If the checkpoint cannot be read, or GGUF has no such format or no such rows.
    """
    from ..checkpoint.load import load_checkpoint

    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise RequestError(f"llama.cpp has no weights in {kind!r}; it must be one of {', '.join(KINDS)}")
    if kind is None and path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield write_gguf(Path(folder) / "model.gguf", load_checkpoint(path, weights=kind), kind or KINDS[0])


def write_gguf(path, model, kind):
    """Write a `Model` with its matrices in one of `KINDS`, or f32, its vectors in FP32, a vocabulary without meaning.

    Raises
    ------
    RequestError
        If rows are no multiple of a block, or a family's files are not written.
    """
    import gguf

    scaling = model.rope_scaling
    if model.family.name not in _WRITTEN or model.rotary != model.head_dim or scaling and scaling.kind == "longrope":
        raise RequestError(f"{model.source}: no GGUF file is written of family {model.family.name} with its rotary "
                           "positions; give a GGUF file")
    dialect = model.family.gguf or LLAMA.gguf  # a Mistral is a llama to GGUF
    writer = gguf.GGUFWriter(path, dialect.architecture)
    numbers = {dialect.keys[name]: getattr(model, name) for name in NUMBERS}
    numbers |= {"attention.value_length": model.head_dim, "rope.dimension_count": model.head_dim}
    if scaling and scaling.attention_factor != 1:
        numbers[dialect.keys["scaling_attention"]] = scaling.attention_factor
    if model.window is not None:
        numbers[dialect.keys["window"]] = model.window
    for key, value in numbers.items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(dialect.prefix + key, value)
    writer.add_tokenizer_model("llama")  # llama.cpp reads no file without a vocabulary
    writer.add_token_list([f"<{n}>" for n in range(model.vocab)])
    writer.add_token_scores([0.0] * model.vocab)
    writer.add_token_types([gguf.TokenType.NORMAL] * model.vocab)
    plain = model.rope_theta ** (-np.arange(0, model.head_dim, 2) / model.head_dim)
    factors = (plain / frequencies(model)).astype(np.float32)
    if (factors != 1).any():
        writer.add_tensor("rope_freqs.weight", factors)
    number = gguf.GGMLQuantizationType[kind.upper()]
    for name, tensor in model.tensors.items():
        values = _rows(model, dialect, name, tensor.floats())
        if values.ndim == 1:
            writer.add_tensor(dialect.stored(name), np.ascontiguousarray(values, np.float32))
            continue
        try:
            data = gguf.quants.quantize(np.ascontiguousarray(values), number)
        except gguf.quants.QuantError:
            raise RequestError(f"{model.source}: rows of {model.stored(name)!r} have {values.shape[1]} columns; "
                               f"{kind} needs a multiple of {gguf.GGML_QUANT_SIZES[number][0]}") from None
        writer.add_tensor(dialect.stored(name), data, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _rows(model, dialect, name, values):
    """Rows of q and k, and of their biases, in the order that the file is to have."""
    part = name.rpartition(".")[2].removesuffix("_bias")
    if part not in ("q", "k") or dialect.rope_layout == model.rope_layout:
        return values
    shape = (-1, 2, model.head_dim // 2) if model.rope_layout == "half" else (-1, model.head_dim // 2, 2)
    return values.reshape(*shape, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
