"""Matrices in the chip's order: rows arranged and padded, columns padded, floats quantised."""

import numpy as np
from scoville.config import BLOCK, TILE_ROWS

from ..checkpoint.formats import common_format, quantise, stack, wider
from ..errors import RequestError
from .layout import align, head_blocks, pair_rows

__all__ = ["Matrices", "matrix_rows", "pad_rows"]


def pad_rows(count, total):
    """Row numbers 0 to count - 1, then -1 (a row of zeros) up to `total`."""
    return np.concatenate([np.arange(count), np.full(total - count, -1)])


def _take(values, rows):
    """Rows of a float array in another order; -1 gives zeros."""
    picked = values[rows]
    picked[np.asarray(rows) < 0] = 0
    return picked


def matrix_rows(model):
    """Checkpoint rows of each matrix in the chip's order, by kind; -1 is a row of zeros."""
    ffn = align(model.ffn, BLOCK)
    gate = pad_rows(model.ffn, ffn)
    hidden = pad_rows(model.hidden, align(model.hidden, TILE_ROWS))
    return {
        "q": pair_rows(model.heads, model.head_dim, model.rope_layout, model.rotary),
        "k": pair_rows(model.kv_heads, model.head_dim, model.rope_layout, model.rotary),
        "v": pair_rows(model.kv_heads, model.head_dim, "plain"),
        "o": hidden,
        "gate_up": np.stack([gate, np.where(gate < 0, -1, gate + model.ffn)], axis=1).reshape(-1),
        "down": hidden,
        "lm_head": pad_rows(model.vocab, align(model.vocab, TILE_ROWS)),
    }


class Matrices:
    """The matrices and biases of a model, as the compiler writes them into memory.

    Parameters
    ----------
    model : `Model`.
    weights : `WeightFormat` for what the checkpoint stores as floats.
    config : ChipConfig
    requantise : bring what the checkpoint stores as blocks to that format too, instead of keeping it as it is.
    """

    def __init__(self, model, weights, config, requantise):
        self.model, self.weights, self.config, self.requantise = model, weights, config, requantise
        self.rows = matrix_rows(model)
        width = head_blocks(model.head_dim) * BLOCK
        columns = np.full((model.heads, width), -1)
        columns[:, :model.head_dim] = np.arange(model.heads * model.head_dim).reshape(model.heads, -1)
        self.head_columns = columns.reshape(-1)

    def parts(self, layer, kind):
        """Names of the tensors that a matrix is made of."""
        names = ("gate", "up") if kind == "gate_up" else (kind,)
        return [f"{layer}.{name}" for name in names]

    def matrix(self, layer, kind):
        """`Blocks` of a layer's matrix: rows a multiple of 32, columns padded (a head at a time for ``o``)."""
        parts = self.parts(layer, kind)
        return self._finish(parts, [self.model.tensors[name] for name in parts], kind)

    def lm_head(self):
        """`Blocks` of the output matrix."""
        return self._finish(["lm_head"], [self.model.lm_head], "lm_head")

    def _finish(self, names, tensors, kind):
        fmt = self.format(names, tensors, kind)
        blocks = [self._blocks(name, tensor, kind) for name, tensor in zip(names, tensors, strict=True)]
        return stack([part.widened(fmt) for part in blocks]).take(self.rows[kind])

    def format(self, names, tensors, kind):
        """The format of a matrix of several tensors, which share a pass; RequestError if there is none."""
        kinds = [self._format(name, tensor, kind) for name, tensor in zip(names, tensors, strict=True)]
        fmt = common_format(kinds)
        if fmt is None:
            raise RequestError(f"{self.model.source}: {' and '.join(names)} are "
                               f"{' and '.join(each.name.lower() for each in kinds)}, which have no format in common, "
                               "but share a pass; bring all weights to one format with --weights")
        return fmt

    def _format(self, name, tensor, kind):
        """The format of a tensor's weights, which stay as they are stored where they can."""
        if not tensor.blocks or self.requantise:
            return self.weights
        if kind == "o" and self.model.head_dim % BLOCK:
            raise RequestError(f"{self.model.source}: blocks of {name} run across heads of {self.model.head_dim}; "
                               "quantise anew with --weights")
        fmt = tensor.blocks.format
        if self.config.k_quants:
            return fmt
        if fmt.two_level:
            raise RequestError(f"{self.model.source}: {name} has weights in {fmt.name.lower()}, which configuration "
                               f"{self.config.name} has not; take one with k_quants, or --weights")
        return wider(fmt) if fmt.high_bits else fmt

    def _blocks(self, name, tensor, kind):
        if tensor.blocks and not self.requantise:
            return tensor.blocks
        values = tensor.floats()
        if kind == "o" and self.model.head_dim % BLOCK:
            values = _take(values.T, self.head_columns).T
        pad = align(values.shape[1], BLOCK) - values.shape[1]
        blocks = quantise(np.pad(values, ((0, 0), (0, pad))), self.weights)
        if not blocks.is_finite():
            raise RequestError(f"{self.model.source}: {name} has values too large for the scales of "
                               f"{self.weights.name.lower()}; use --weights mxint8")
        return blocks

    def bias(self, layer, kind):
        """Float32 bias in the order of the matrix's rows, or None if the model has none."""
        parts = [self.model.tensors.get(f"{name}_bias") for name in self.parts(layer, kind)]
        if all(part is None for part in parts):
            return None
        sizes = [self.model.shape(name)[0] for name in self.parts(layer, kind)]
        values = [np.zeros(size, np.float32) if part is None else part.floats()
                  for part, size in zip(parts, sizes, strict=True)]
        return _take(np.concatenate(values), self.rows[kind])
