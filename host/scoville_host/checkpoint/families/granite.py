"""Granite 3 (dense): a Llama with four multipliers.

Lowering: none of them touches a weight block. The scale of scores is ATTEND's constant. What attention and the FFN add
to the residual has a factor r: the chip keeps the residual 1/r as large instead, which a norm does not see with
epsilon/r^2, so that the embedding's table gets its own factor / r. The divisor of the logits is in the last norm's
weights. Each number of these is rounded to FP32 once.
"""

from dataclasses import replace

from .llama import GGUF, HUGGINGFACE, LLAMA
from .settings import GGUF_HARMLESS, GGUF_NEUTRAL, Neutral

__all__ = ["GRANITE"]

GRANITE = replace(
    LLAMA, name="granite", tested=(),
    huggingface=replace(
        HUGGINGFACE, architecture="granite",
        keys={field: key for field, key in HUGGINGFACE.keys.items() if field not in ("window", "windowed")} | {
            "embedding_scale": "embedding_multiplier", "residual_scale": "residual_multiplier",
            "attention_scale": "attention_multiplier", "logit_scale": "logits_scaling"},
        defaults={"context": 2048, "epsilon": 1e-6, "attention_scale": 1.0}),
    gguf=replace(
        GGUF, architecture="granite", prefix="granite.",
        keys=GGUF.keys | {"embedding_scale": "embedding_scale", "residual_scale": "residual_scale",
                          "attention_scale": "attention.scale", "logit_scale": "logit_scale"},
        harmless=GGUF_HARMLESS - {"rope.scaling.finetuned"},
        neutral=GGUF_NEUTRAL | {"rope.scaling.finetuned": Neutral("no rotary positions", (True,))}))
