"""A model as the compiler sees it: hyper-parameters and named tensors, whatever file they came from."""

from dataclasses import dataclass, field

import numpy as np

from ..errors import RequestError
from .families.family import Dialect, Family
from .families.llama import LLAMA
from .formats import Blocks
from .rope_settings import RopeScaling

__all__ = ["LINEARS", "Model", "Tensor"]

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


@dataclass(kw_only=True, eq=False)
class Model:
    """A decoder-only model of the Llama family.

    Members
    -------
    rope_layout : how the rows of q and k lie in the checkpoint: ``"half"`` (Hugging Face: dimension d turns with
        d + head_dim/2) or ``"interleaved"`` (GGUF llama: 2j with 2j+1).
    rotary : dimensions of a head that turn, its first; 0 stands for all.
    rope_factors : divisors of the rotation frequencies, float32 ``[rotary/2]``, or None.
    turning : whether q and k of each layer turn, or None: they do.
    embedding_scale, residual_scale : what embeddings, and what attention and the FFN add to the residual, are
        multiplied by; attention_scale : scores, in place of head_dim^-0.5; logit_scale : what logits are divided by.
    window : keys that a token sees, itself the last, if that is a limit in any layer; else None.
    family : whose shapes its tensors have; `dialect` : what the file calls them.
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
    rotary: int = 0
    turning: tuple | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    attention_scale: float | None = None
    logit_scale: float = 1.0
    tied: bool
    window: int | None = None
    family: Family = LLAMA
    dialect: Dialect | None = None
    eos_ids: list = field(default_factory=list)
    tensors: dict = field(default_factory=dict)

    def __post_init__(self):
        self.rotary = self.rotary or self.head_dim

    @classmethod
    def of(cls, settings, **others):
        """The model of `Settings` and what else there is to say; see `Settings` for what follows from the heads."""
        numbers = {name: getattr(settings, name) for name in (
            "hidden", "layers", "heads", "ffn", "vocab", "context", "epsilon", "rope_theta")}
        numbers |= {name: getattr(settings, name) or 1.0  # 0 is none
                    for name in ("embedding_scale", "residual_scale", "logit_scale")}
        numbers |= {"attention_scale": settings.attention_scale or None, "turning": settings.turning(),
                    "rotary": settings.rotary or 0}
        return cls(**numbers | {"kv_heads": settings.kv_heads or settings.heads, "window": settings.reach(),
                                "head_dim": settings.head_dim or settings.hidden // settings.heads} | others)

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

    def shape(self, name):
        """The shape of one tensor of `shapes`."""
        return self.family.shape(self, name)

    def stored(self, name):
        """What the file calls a tensor."""
        return self.dialect.stored(name) if self.dialect else name

    def check_shape(self, name, shape, needed):
        """Refuse the shape that a file gives for a tensor, before it is read, unless it is what `shapes` needs."""
        if tuple(shape) != needed:
            raise RequestError(f"{self.source}: tensor {self.stored(name)!r} has shape {list(shape)}; "
                               f"the hyper-parameters say {list(needed)}")

    def check_numbers(self):
        """Refuse a model whose numbers contradict each other; RequestError as `check`."""
        for name in ("hidden", "layers", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context"):
            if getattr(self, name) < 1:
                raise RequestError(f"{self.source}: {name} is {getattr(self, name)}; it must be at least 1")
        if self.heads % self.kv_heads:
            raise RequestError(f"{self.source}: {self.heads} query heads cannot share {self.kv_heads} KV heads evenly")
        if self.head_dim % 2:
            raise RequestError(f"{self.source}: head dimension {self.head_dim} is odd; rotary positions need pairs")
        if self.rotary % 2 or not 2 <= self.rotary <= self.head_dim:
            raise RequestError(f"{self.source}: {self.rotary} dimensions of a head turn; it must be an even number, "
                               f"up to {self.head_dim}")
        if self.turning is not None and len(self.turning) < self.layers:
            raise RequestError(f"{self.source}: {len(self.turning)} layers have or lack rotary positions; there are "
                               f"{self.layers}")

    def check(self):
        """Refuse a model whose numbers contradict each other or whose tensors are missing, misshapen or not finite.

        Raises
        ------
        RequestError
            With the first thing that is wrong, by the file's own name of a tensor.
        """
        self.check_numbers()
        self.check_tensors()

    def check_tensors(self, finite=True):
        """Refuse tensors as `check` does; only `finite` looks into them."""
        for name, needed in self.shapes().items():
            tensor = self.tensors.get(name)
            if tensor is not None:
                self.check_shape(name, tensor.shape, needed)
                if finite:
                    _check_finite(self.source, self.stored(name), tensor)
            elif not name.endswith("_bias") or name.rpartition(".")[2].removesuffix("_bias") in self.family.biases:
                raise RequestError(f"{self.source}: tensor {self.stored(name)!r} is missing")


def _check_finite(source, name, tensor):
    if tensor.blocks is None:
        if not np.isfinite(tensor.values).all():
            raise RequestError(f"{source}: tensor {name!r} holds NaN or infinity")
    elif not tensor.blocks.is_finite():
        raise RequestError(f"{source}: tensor {name!r} has a block scale that is NaN or infinite")
