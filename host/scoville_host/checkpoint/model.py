"""A model as the compiler sees it: hyper-parameters and named tensors, whatever file they came from."""

from dataclasses import dataclass, field

import numpy as np

from ..errors import RequestError
from .families.family import Family
from .families.llama import LLAMA
from .formats import Blocks

__all__ = ["LINEARS", "Model", "RopeScaling", "Tensor"]

LINEARS = tuple(LLAMA.matrices)  # the matrices of a layer, in the order in which they run


@dataclass(frozen=True, eq=False)
class Tensor:
    """A vector or matrix: float32 `values`, or quantised `blocks`; `dtype` is the checkpoint's name for its type."""

    dtype: str
    values: np.ndarray | None = None
    blocks: Blocks | None = None

    @property
    def shape(self):
        return self.blocks.shape if self.blocks else self.values.shape

    def floats(self):
        """The tensor as float32."""
        return self.blocks.dequantise() if self.blocks else self.values


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3's stretch of the slow rotations."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(kw_only=True, eq=False)
class Model:
    """A decoder-only model of the Llama family.

    Members
    -------
    rope_layout : how the rows of q and k lie in the checkpoint: ``"half"`` (Hugging Face: dimension d turns with
        d + head_dim/2) or ``"interleaved"`` (GGUF llama: 2j with 2j+1).
    rope_factors : divisors of the rotation frequencies, float32 ``[head_dim/2]``, or None.
    family : whose names and shapes its tensors have.
    tensors : ``embedding``, ``norm``, ``lm_head`` (missing if tied) and, for layer n, ``n.attention_norm``,
        ``n.ffn_norm``, ``n.q`` … ``n.down`` (see `LINEARS`), and biases ``n.q_bias`` … where the model has them.
    source : the file or directory it came from.
    """

    name: str
    source: str = ""
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int
    epsilon: float
    rope_theta: float
    rope_layout: str
    rope_scaling: RopeScaling | None = None
    rope_factors: np.ndarray | None = None
    tied: bool
    family: Family = LLAMA
    eos_ids: list = field(default_factory=list)
    tensors: dict = field(default_factory=dict)

    @property
    def group(self):
        """Query heads that share a KV head."""
        return self.heads // self.kv_heads

    @property
    def lm_head(self):
        """The output matrix: its own, or the embedding's."""
        return self.tensors["embedding" if self.tied else "lm_head"]

    @property
    def query(self):
        """Rows of q: those of all heads."""
        return self.heads * self.head_dim

    @property
    def kv(self):
        """Rows of k, and of v."""
        return self.kv_heads * self.head_dim

    def shapes(self):
        """The shape that each tensor must have, by name; biases are optional, all others are needed."""
        return self.family.shapes(self)

    def check(self):
        """Refuse a model whose numbers contradict each other or whose tensors are missing, misshapen or not finite.

        Raises
        ------
        RequestError
            With the first thing that is wrong.
        """
        for name in ("hidden", "layers", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context"):
            if getattr(self, name) < 1:
                raise RequestError(f"{self.source}: {name} is {getattr(self, name)}; it must be at least 1")
        if self.heads % self.kv_heads:
            raise RequestError(f"{self.source}: {self.heads} query heads cannot share {self.kv_heads} KV heads evenly")
        if self.head_dim % 2:
            raise RequestError(f"{self.source}: head dimension {self.head_dim} is odd; rotary positions need pairs")
        for name, shape in self.shapes().items():
            tensor = self.tensors.get(name)
            if tensor is None:
                if name.endswith("_bias"):
                    continue
                raise RequestError(f"{self.source}: tensor {name!r} is missing")
            if tuple(tensor.shape) != shape:
                raise RequestError(f"{self.source}: tensor {name!r} has shape {list(tensor.shape)}; "
                                   f"the hyper-parameters say {list(shape)}")
            _check_finite(self.source, name, tensor)


def _check_finite(source, name, tensor):
    if tensor.blocks is None:
        if not np.isfinite(tensor.values).all():
            raise RequestError(f"{source}: tensor {name!r} holds NaN or infinity")
    elif not tensor.blocks.is_finite():
        raise RequestError(f"{source}: tensor {name!r} has a block scale that is NaN or infinite")
