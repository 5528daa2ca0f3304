"""Tensors as they lie in a file: type, shape and bytes, from its header alone, and how to read them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..errors import RequestError
from .formats import Blocks, WeightFormat
from .model import Tensor

__all__ = ["StoredTensor", "place"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredTensor:
    """One tensor of a file; nothing of it is read before `read`.

    Parameters
    ----------
    source, name : the file, and what it calls the tensor.
    dtype : the file's name of its type; `size` : its bytes.
    form : the chip's format of its blocks; None for floats.
    load : reads rows from `start` to `stop`: float32 or `Blocks`.
    refusal : why it cannot be read, with what would do, or None.
    dequantise : as `load`, float32 of blocks that the chip has no form for; None where nobody knows them.
    rows : those that it has of a tensor in the file that holds several, one below the other; None for all.
    """

    source: object
    name: str
    dtype: str
    shape: tuple
    size: int
    load: Callable
    form: WeightFormat | None = None
    refusal: str | None = None
    dequantise: Callable | None = None
    rows: tuple | None = None

    def part(self, start, stop):
        """Some of its rows, as a tensor."""
        return replace(self, rows=(start, stop), shape=(stop - start, *self.shape[1:]))

    def as_floats(self):
        """The same, of blocks without a form as the floats that they stand for."""
        return replace(self, load=self.dequantise, refusal=None) if self.refusal and self.dequantise else self

    def check(self):
        """Refuse a type that cannot be read; RequestError."""
        if self.refusal:
            raise RequestError(f"{self.source}: tensor {self.name!r} {self.refusal}")
        if self.form and len(self.shape) != 2:
            raise RequestError(f"{self.source}: tensor {self.name!r} has type {self.dtype}; "
                               "a vector must be F32, F16 or BF16")

    def read(self):
        """The `Tensor`; RequestError as `check`, or if its blocks are none that the chip has."""
        self.check()
        try:
            found = self.load(*(self.rows or (0, self.shape[0] if self.shape else 1)))
        except ValueError as error:
            raise RequestError(f"{self.source}: tensor {self.name!r} {error}") from None
        return Tensor(self.dtype, blocks=found) if self.form else Tensor(self.dtype, values=found)

    def outline(self):
        """A `Tensor` of zeros in its place, which takes no memory."""
        if self.form and len(self.shape) == 2:
            return Tensor(self.dtype, blocks=Blocks.outline(self.form, *self.shape))
        return Tensor(self.dtype, values=np.broadcast_to(np.float32(0), self.shape))


def place(model, tensors, refusals, *, biases=None, outline=False, requantise=False):
    """Read the tensors of a `Model`, or `outline` them.

    Parameters
    ----------
    tensors : dict of the file's names to `StoredTensor`.
    biases : matrices that may have one; None for any.
    requantise : all matrices become another format, so that blocks without a form will do.

    Raises
    ------
    RequestError
        If one has no place, another shape, or a type that is not supported, unless `refusals` are gathered.
    """
    found, spare = model.dialect.match(model, tensors)
    with refusals.of("tensor"):
        if spare:
            raise RequestError(f"{model.source}: tensor {spare!r} has no place in this architecture")
    shapes = model.shapes()
    for name, stored in found.items():
        tensor, part = tensors[stored], name.rpartition(".")[2]
        with refusals.of("tensor"):
            if biases is not None and part.endswith("_bias") and part.removesuffix("_bias") not in biases:
                raise RequestError(f"{model.source}: tensor {stored!r} is there, but config.json speaks of no such "
                                   "bias")
            start, whole = model.dialect.rows(model, name)
            model.check_shape(name, tensor.shape, whole)
            if whole != shapes[name]:
                tensor = tensor.part(start, start + shapes[name][0])
            if requantise or name == "embedding" and not model.tied:  # a table of floats, whatever it was
                tensor = tensor.as_floats()
            with refusals.of("format"):
                if outline:
                    model.tensors[name] = tensor.outline()
                    tensor.check()
                else:
                    model.tensors[name] = tensor.read()
    if outline:
        with refusals.of("tensor"):
            model.check_tensors(finite=False)
    else:
        model.check()
