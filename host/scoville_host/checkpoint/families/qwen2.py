"""Qwen 2 and 2.5: a Llama by its tensors, with biases.

Lowering: q, k and v have a bias each, which LOAD BIAS brings before its matrix. Rows of q and k lie in a GGUF file as
they do in a directory: nothing is permuted.
"""

from dataclasses import replace

from .llama import GGUF, HUGGINGFACE, LLAMA

__all__ = ["QWEN2"]

QWEN2 = replace(
    LLAMA, name="qwen2", biases=("q", "k", "v"),
    huggingface=replace(HUGGINGFACE, architecture="qwen2"),
    gguf=replace(GGUF, architecture="qwen2", rope_layout="half"))
