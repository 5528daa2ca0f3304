"""GLM 4 (the 9B models of 2024, as transformers has them): a Llama with biases and gate and up in one tensor.

Lowering: as Phi-3's; q, k and v have biases; half of a head turns, dimension 2j with 2j + 1.
"""

from dataclasses import replace

from .llama import HUGGINGFACE, LLAMA
from .phi3 import FUSED, fused_names
from .settings import HUGGINGFACE_NEUTRAL, Neutral

__all__ = ["GLM"]

GLM = replace(
    LLAMA, name="glm", tested=(), gguf=None, partial_rotary=True,
    huggingface=replace(
        HUGGINGFACE, architecture="glm", fused={"gate_up": FUSED["gate_up"]}, rope_layout="interleaved",
        layer=fused_names(HUGGINGFACE.layer, gate_up="model.layers.{}.mlp.gate_up_proj"),
        keys={field: key for field, key in HUGGINGFACE.keys.items()
              if field not in ("window", "windowed", "mlp_bias")} | {"rotary_factor": "partial_rotary_factor"},
        biases={"attention_bias": ("q", "k", "v")},
        neutral={key: value for key, value in HUGGINGFACE_NEUTRAL.items() if key != "partial_rotary_factor"} | {
            "mlp_bias": Neutral("biases of the FFN", (False,))},
        defaults={"kv_heads": 2, "head_dim": 128, "context": 131072, "epsilon": 1.5625e-7, "rotary_factor": 0.5,
                  "attention_bias": True}))
