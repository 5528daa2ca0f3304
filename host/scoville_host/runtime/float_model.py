"""A Llama in float64 numpy, from its definition: the float reference where torch is not installed.

It reads a `Model`, so an error of the importer's would be in it too; llama.cpp beside it would differ then.
"""

import numpy as np

from ..compiler.rope import frequencies

__all__ = ["float_logits"]


def float_logits(model, ids):
    """Logits after every position of a text, from the dequantised weights: float64 ``[len(ids), vocab]``."""
    def tensor(name):
        return model.tensors[name].floats().astype(np.float64)

    def normed(x, name):
        return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + model.epsilon) * tensor(name)

    def project(x, name):
        bias = f"{name}_bias"
        return x @ tensor(name).T + (tensor(bias) if bias in model.tensors else 0.0)

    count = len(ids)
    size = model.rope_scaling.attention_factor if model.rope_scaling else 1.0
    turn = size * np.exp(1j * np.arange(count)[:, None, None] * frequencies(model, count))
    scale = model.attention_scale or model.head_dim ** -0.5
    future = np.triu(np.full((count, count), -np.inf), 1)

    def heads(x, name):
        return project(x, name).reshape(count, -1, model.head_dim)

    def attend(x, layer):
        q, k = (heads(x, f"{layer}.{name}") for name in "qk")
        if model.turning is None or model.turning[layer]:
            q, k = (np.concatenate([_rotated(each[:, :, :model.rotary], turn, model.rope_layout),
                                    each[:, :, model.rotary:]], axis=2) for each in (q, k))
        k = k.repeat(model.group, axis=1)
        v = heads(x, f"{layer}.v").repeat(model.group, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) * scale + future
        shares = np.exp(scores - scores.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        return np.einsum("hqk,khd->qhd", shares, v).reshape(count, -1)

    x = model.tensors["embedding"].floats()[np.asarray(ids)].astype(np.float64) * model.embedding_scale
    for layer in range(model.layers):
        x = x + project(attend(normed(x, f"{layer}.attention_norm"), layer), f"{layer}.o") * model.residual_scale
        y = normed(x, f"{layer}.ffn_norm")
        gate = project(y, f"{layer}.gate")
        x = x + project(gate / (1 + np.exp(-gate)) * project(y, f"{layer}.up"), f"{layer}.down") * model.residual_scale
    return normed(x, "norm") @ model.lm_head.floats().astype(np.float64).T / model.logit_scale


def _rotated(x, turn, layout):
    """Queries or keys ``[positions, heads, head_dim]``, each pair turned as a complex number."""
    half = x.shape[2] // 2
    pairs = x.reshape(*x.shape[:2], 2, half) if layout == "half" else x.reshape(*x.shape[:2], half, 2).swapaxes(2, 3)
    turned = (pairs[:, :, 0] + 1j * pairs[:, :, 1]) * turn
    pairs = np.stack([turned.real, turned.imag], axis=2)
    return (pairs if layout == "half" else pairs.swapaxes(2, 3)).reshape(x.shape)
