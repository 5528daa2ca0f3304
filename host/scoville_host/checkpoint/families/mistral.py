"""Mistral: a Llama by its tensors. GGUF files call it llama.

Lowering: as a Llama. A sliding window shorter than the context is refused (huggingface.py).
"""

from dataclasses import replace

from .llama import HUGGINGFACE, LLAMA

__all__ = ["MISTRAL"]

MISTRAL = replace(LLAMA, name="mistral", huggingface=replace(HUGGINGFACE, architecture="mistral"), gguf=None)
