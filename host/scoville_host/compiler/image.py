"""The memory image: all that the chip and its driver need to run one model."""

import json
from dataclasses import asdict, dataclass, field

import numpy as np
from scoville.config import ChipConfig

from ..errors import RequestError
from ..files import write_bytes

__all__ = ["Image", "Region", "Traffic"]

FORMAT = "scoville-image-1"


@dataclass(frozen=True)
class Region:
    """A stretch of memory, bytes."""

    address: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What a pass must read, and the useful multiply-adds, with every kind of padding left out.

    Members
    -------
    layer_bytes : weights and vectors of all layers, as the checkpoint's format stores them: once a pass.
    head_bytes : the output matrix: once a pass that makes a token.
    token_bytes : embedding and RoPE row: once a token.
    kv_bytes : K and V of one position, codes and exponents, all layers.
    layer_macs, head_macs : multiply-adds of the matrices, a token.
    kv_macs : multiply-adds of attention, a token and position.
    """

    layer_bytes: int
    head_bytes: int
    token_bytes: int
    kv_bytes: int
    layer_macs: int
    head_macs: int
    kv_macs: int

    def pass_bytes(self, position, tokens, last):
        """Bytes that a pass of `tokens` tokens from `position` on has to read."""
        return (self.layer_bytes + self.head_bytes * last + self.token_bytes * tokens
                + self.kv_bytes * (position + tokens))

    def pass_macs(self, position, tokens, last):
        """Useful multiply-adds of that pass."""
        positions = tokens * position + tokens * (tokens + 1) // 2
        return self.layer_macs * tokens + self.head_macs * last + self.kv_macs * positions


@dataclass(kw_only=True, eq=False)
class Image:
    """A compiled model.

    Members
    -------
    model : its name; `source` : the checkpoint, which also has the tokenizer.
    config : `ChipConfig` it was compiled for.
    memory : uint8, the initialised bytes from address `base` on; what follows up to `size` starts as zeros.
    size : bytes from `base` that the chip may touch.
    regions : dict of name to `Region`; addresses are absolute.
    registers : values that the driver writes before a sequence, by register name without _LO and _HI.
    vocab, context, layers : of the model, and the positions that a sequence may have.
    eos_ids : token ids that end a text.
    weights : weight formats used, by matrix kind.
    traffic : `Traffic`.
    listing : the program, one line an instruction.
    """

    model: str
    source: str
    config: ChipConfig
    memory: np.ndarray
    base: int
    size: int
    regions: dict
    registers: dict
    vocab: int
    context: int
    layers: int
    eos_ids: list
    weights: dict
    traffic: Traffic
    listing: list = field(default_factory=list)

    def allocate(self):
        """A writable uint8 copy of the whole memory; index 0 is address `base`."""
        memory = np.zeros(self.size, np.uint8)
        memory[:len(self.memory)] = self.memory
        return memory

    def region(self, memory, name):
        """The bytes of a region in a memory made by `allocate`, without a copy."""
        region = self.regions[name]
        return memory[region.address - self.base:region.address - self.base + region.size]

    def save(self, path):
        """Write a safetensors file: the initialised memory, and everything else as JSON in the metadata."""
        from safetensors.numpy import save

        info = {key: value for key, value in vars(self).items() if key != "memory"}
        info |= {"format": FORMAT, "config": asdict(self.config), "traffic": asdict(self.traffic),
                 "regions": {name: [region.address, region.size] for name, region in self.regions.items()}}
        write_bytes(path, save({"memory": self.memory}, metadata={"scoville": json.dumps(info)}))

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Raises
        ------
        RequestError
            If the file is missing, broken or not an image.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                info = json.loads((file.metadata() or {}).get("scoville", "{}"))
                memory = file.get_tensor("memory") if info.get("format") == FORMAT else None
        except (OSError, SafetensorError, ValueError) as error:
            raise RequestError(f"{path}: not a memory image ({error})") from None
        if memory is None:
            raise RequestError(f"{path}: not a memory image of format {FORMAT}")
        info.pop("format")
        info |= {"config": ChipConfig(**info["config"]), "traffic": Traffic(**info["traffic"]),
                 "regions": {name: Region(*region) for name, region in info["regions"].items()}}
        return cls(memory=memory, **info)
