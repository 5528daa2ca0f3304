"""Programs of models that are known by their shape alone: what the analytical model needs of one, and no weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from scoville.config import PAGE_TOKENS
from scoville.isa import Element

from ..checkpoint.formats import Blocks, get_format
from ..checkpoint.huggingface import model_of, read_json
from ..checkpoint.model import Tensor
from ..checkpoint.refusals import AT_ONCE
from ..compiler.compiler import Compiler
from ..compiler.limits import buffer_needs
from ..compiler.matrices import Matrices
from ..compiler.program import MemoryMap
from ..errors import RequestError

__all__ = ["SHAPES", "compile_outline", "fitted", "is_outline", "picked", "read_outline", "set_fields",
           "sort_of_layer"]


def _shape(hidden, layers, heads, kv_heads, ffn, vocab, kind="llama", **settings):
    return {"model_type": kind, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "intermediate_size": ffn, "vocab_size": vocab,
            "max_position_embeddings": 32768} | settings


SHAPES = {
    "llama-3.2-1b": _shape(2048, 16, 32, 8, 8192, 128256, head_dim=64, tie_word_embeddings=True),
    "qwen2.5-7b": _shape(3584, 28, 28, 4, 18944, 152064, kind="qwen2"),
    "llama-3-8b": _shape(4096, 32, 32, 8, 14336, 128256),
    "llama-3-70b": _shape(8192, 80, 64, 8, 28672, 128256),
}
"""Settings of well-known models, as their config.json has them, as far as they matter here."""


def is_outline(model):
    """Whether `--model` names a shape, not weights."""
    return model in SHAPES or Path(model).suffix == ".json"


def read_outline(model, refusals=AT_ONCE):
    """The `Model` of a name in `SHAPES` or a config.json; its tensors hold zeros and take no memory."""
    config = SHAPES[model] if model in SHAPES else read_json(Path(model))
    model = model_of(config, model, refusals)
    for name, shape in model.shapes().items():
        if not name.endswith("_bias") or name.rpartition(".")[2].removesuffix("_bias") in model.family.biases:
            model.tensors[name] = Tensor(dtype="BF16", values=np.broadcast_to(np.float32(0), shape))
    return model


def set_fields(config, settings):
    """A configuration with other sizes: `settings` are texts such as ``rows=8``.

    Raises
    ------
    RequestError
        If a field is unknown or a value is not allowed.
    """
    numbers = [name for name, value in vars(config).items() if isinstance(value, int)]
    changes = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in numbers or not value.isdecimal():
            raise RequestError(f"--set {setting}: it must be FIELD=NUMBER, with a field of {', '.join(numbers)}")
        changes[name] = int(value)
    if not changes:
        return config
    name = ",".join([config.name, *(f"{field}={value}" for field, value in changes.items())])
    try:
        return replace(config, **changes, name=name)
    except ValueError as error:
        raise RequestError(f"--set {' '.join(settings)}: {error}") from None


def sort_of_layer(model, layer):
    """What a layer's cycles depend on besides the model's numbers: its matrices' formats, and which have a bias."""
    def sort(name):
        tensor = model.tensors.get(f"{layer}.{name}")
        return tensor and (tensor.blocks.format.name if tensor.blocks else "floats")

    return tuple(sort(name) for matrix in model.family.matrices for name in (matrix, f"{matrix}_bias"))


def picked(model, numbers):
    """The model with some of its layers alone."""
    tensors = {name: tensor for name, tensor in model.tensors.items() if "." not in name}
    for to, number in enumerate(numbers):
        tensors |= {f"{to}.{name.partition('.')[2]}": tensor for name, tensor in model.tensors.items()
                    if name.startswith(f"{number}.")}
    return replace(model, layers=len(numbers), tensors=tensors)


def fitted(config, model):
    """The configuration with buffers enlarged to what a model needs; rates and latencies do not depend on them."""
    needs = {field: need for field, (need, _) in buffer_needs(model, config).items()} | {"max_rows": 2 * model.ffn}
    pages = -(-model.context // PAGE_TOKENS)
    needs |= {"slot_pages": pages, "pool_pages": pages}
    for field in ("max_head_blocks", "slot_pages", "pool_pages"):
        needs[field] = 1 << (needs[field] - 1).bit_length()
    return replace(config, **{name: max(need, getattr(config, name)) for name, need in needs.items()})


def compile_outline(model, config, *, weights=None, context=None):
    """As `compile_model`, of a model from `read_outline`: the image's memory holds nothing but the program."""
    matrices = _Matrices(model, get_format(weights or "mxint8"), config, requantise=weights is not None)
    return _OutlineCompiler(model, config, matrices, context or model.context, 0).build(None)


class _Matrices(Matrices):
    """Matrices of zeros that take no memory."""

    def _finish(self, names, tensors, kind):
        columns = len(self.head_columns) if kind == "o" else tensors[0].shape[1]
        return Blocks.outline(self.format(names, tensors, kind), len(self.rows[kind]), columns)


class _Map(MemoryMap):
    """A map that forgets all contents but the program's."""

    def fill(self, name, array):
        if name == "program":
            super().fill(name, array)

    def contents(self):
        return self.pieces["program"]


class _OutlineCompiler(Compiler):
    memory_map = _Map

    def _embedding(self, element):
        kind = np.uint16 if element is Element.BF16 else np.float32
        return np.broadcast_to(kind(0), (self.model.vocab, self.hidden))

    def _place_rows(self, name, values, stride):
        return self.map.reserve(name, len(values) * stride)

    def _place_matrix(self, name, blocks, size):
        return self.map.reserve(name, size)

    def _finish(self):
        image = super()._finish()
        image.base = image.regions["program"].address
        return image
