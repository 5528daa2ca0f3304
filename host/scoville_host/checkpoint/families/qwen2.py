"""Qwen 2 and 2.5: a Llama by its tensors, with biases.

Lowering: q, k and v have a bias each, which LOAD BIAS brings before its matrix. Rows of q and k lie in a GGUF file as
they do in a directory: nothing is permuted. A sliding window is there if asked for, from a layer on.
"""

from dataclasses import replace

from .llama import GGUF, HUGGINGFACE, LLAMA
from .settings import HUGGINGFACE_HARMLESS, HUGGINGFACE_NEUTRAL, Neutral

__all__ = ["QWEN2"]

QWEN2 = replace(
    LLAMA, name="qwen2", tested=(), biases=("q", "k", "v"),
    huggingface=replace(
        HUGGINGFACE, architecture="qwen2", biases={},
        keys={field: key for field, key in HUGGINGFACE.keys.items() if not field.endswith("_bias")} | {
            "window_from": "max_window_layers", "layer_types": "layer_types"},
        harmless=HUGGINGFACE_HARMLESS | {"attention_bias"},  # q, k and v have one, o has none, whatever it says
        neutral=HUGGINGFACE_NEUTRAL | {"mlp_bias": Neutral("biases of the FFN", (False,))},
        defaults={"kv_heads": 32, "context": 32768, "epsilon": 1e-6, "window": 4096, "windowed": False,
                  "window_from": 28}),
    gguf=replace(GGUF, architecture="qwen2", prefix="qwen2.", rope_layout="half"))
