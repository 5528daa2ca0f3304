"""SmolLM3: a Llama in which every fourth layer has no rotary positions.

Lowering: q and k of such a layer go through the PAIR stage as they are.
"""

from dataclasses import replace

from .llama import GGUF, HUGGINGFACE, LLAMA

__all__ = ["SMOLLM3"]

SMOLLM3 = replace(
    LLAMA, name="smollm3", tested=(),
    huggingface=replace(
        HUGGINGFACE, architecture="smollm3",
        keys=HUGGINGFACE.keys | {"rope_layers": "no_rope_layers", "rope_interval": "no_rope_layer_interval",
                                 "layer_types": "layer_types"},
        neutral={key: value for key, value in HUGGINGFACE.neutral.items() if key != "layer_types"},
        defaults={"kv_heads": 4, "context": 32768, "epsilon": 1e-6, "rope_theta": 2e6, "rope_interval": 4,
                  "windowed": False, "tied": True}),
    gguf=replace(GGUF, architecture="smollm3", prefix="smollm3.", defaults={"rope_interval": 4}))
