"""Phi-3 and Phi-4-mini: a Llama whose q, k and v, and gate and up, lie in one tensor each.

Lowering: rows of those tensors are read as matrices of their own; positions turn the first part of a head; longrope.
"""

from dataclasses import replace

from .llama import GGUF, HUGGINGFACE, LLAMA
from .settings import HUGGINGFACE_HARMLESS, HUGGINGFACE_NEUTRAL, Neutral

__all__ = ["FUSED", "PHI3", "fused_names"]

FUSED = {"qkv": ("q", "k", "v"), "gate_up": ("gate", "up")}


def fused_names(layer, **names):
    """A dialect's names of a layer's tensors where `names` hold several matrices."""
    inside = {part for whole in names for part in FUSED[whole]}
    return {name: stored for name, stored in layer.items() if name not in inside} | names


PHI3 = replace(
    LLAMA, name="phi3", tested=(), rope_scalings=("default", "longrope"), partial_rotary=True,
    huggingface=replace(
        HUGGINGFACE, architecture="phi3", biases={}, fused=FUSED,
        layer=fused_names(HUGGINGFACE.layer, qkv="model.layers.{}.self_attn.qkv_proj",
                          gate_up="model.layers.{}.mlp.gate_up_proj"),
        keys={field: key for field, key in HUGGINGFACE.keys.items() if not field.endswith("_bias")} | {
            "rotary_factor": "partial_rotary_factor"},
        harmless=HUGGINGFACE_HARMLESS | {"embd_pdrop", "resid_pdrop"},
        neutral={key: value for key, value in HUGGINGFACE_NEUTRAL.items() if key != "partial_rotary_factor"} | {
            "attention_bias": Neutral("biases", (False,)), "mlp_bias": Neutral("biases", (False,)),
            "lm_head_bias": Neutral("biases", (False,)), "full_attn_mod": Neutral("layers of several kinds", (1,)),
            "interpolate_factor": Neutral("RoPE scaling", (1,))},
        defaults={"context": 4096, "epsilon": 1e-5, "original_context": 4096}),
    gguf=replace(GGUF, architecture="phi3", prefix="phi3.", rope_layout="half", fused=FUSED,
                 layer=fused_names(GGUF.layer, qkv="blk.{}.attn_qkv", gate_up="blk.{}.ffn_up")))
