"""Mistral: a Llama by its tensors. GGUF files call it llama.

Lowering: as a Llama, and nothing has a bias. A context beyond the sliding window is refused (compiler.py).
"""

from dataclasses import replace

from .llama import HUGGINGFACE, LLAMA
from .settings import HUGGINGFACE_HARMLESS, HUGGINGFACE_NEUTRAL, Neutral

__all__ = ["MISTRAL"]

_NOT_READ = ("windowed", "attention_bias", "mlp_bias")

MISTRAL = replace(
    LLAMA, name="mistral", tested=(), gguf=None,
    huggingface=replace(
        HUGGINGFACE, architecture="mistral", biases={},
        keys={field: key for field, key in HUGGINGFACE.keys.items() if field not in _NOT_READ},
        defaults={"kv_heads": 8, "context": 131072, "epsilon": 1e-6, "window": 4096},
        harmless=HUGGINGFACE_HARMLESS | {"use_sliding_window"},  # transformers does not ask: the window stands
        neutral=HUGGINGFACE_NEUTRAL | {"attention_bias": Neutral("biases", (False,)),
                                       "mlp_bias": Neutral("biases", (False,))}))
