"""Random Llama models of any shape, compiled, and what the golden model makes of them."""

import dataclasses

import numpy as np
from scoville.config import get_config
from scoville_host.checkpoint.model import LINEARS, Model, Tensor
from scoville_host.compiler.compiler import compile_model
from scoville_host.runtime.golden import GoldenBackend

__all__ = ["MIX", "compiled", "configuration", "golden", "prompt_for", "random_llama", "same_bits"]

# What `nano` has not, in a small chip: a wide bus, lanes of one row, phases, blocks in four steps, wide activations.
MIX = dataclasses.replace(get_config("slim"), name="mix", bus_bytes=32, lanes=2, phases=2, act_bits=10)

_images = {}
_golden = {}


def random_llama(seed=0, *, hidden=64, layers=2, heads=2, kv_heads=1, head_dim=32, ffn=96, vocab=77, context=128,
                 tied=True, biases=(), scale=1.0):
    """A `Model` with random weights.

    Parameters
    ----------
    biases : names of the matrices that have one; see `LINEARS`.
    scale : multiplies the norm weights; a huge one overflows.
    """
    rng = np.random.default_rng([seed, hidden, head_dim, ffn, vocab])
    model = Model(name=f"random{seed}", source="random", hidden=hidden, layers=layers, heads=heads, kv_heads=kv_heads,
                  head_dim=head_dim, ffn=ffn, vocab=vocab, context=context, epsilon=1e-5, rope_theta=10000.0,
                  rope_layout="half", tied=tied)
    assert set(biases) <= set(LINEARS)
    for name, shape in model.shapes().items():
        if name.endswith("_bias") and name.split(".")[1].removesuffix("_bias") not in biases:
            continue
        values = rng.standard_normal(shape)
        if name.endswith("norm"):
            values = scale * (1 + 0.2 * values)
        else:
            values *= 0.3 if len(shape) == 1 else shape[1] ** -0.5
        model.tensors[name] = Tensor("F32", values=values.astype(np.float32))
    model.check()
    return model


def configuration(name):
    """A configuration by name: one of the project's, or `MIX`."""
    return MIX if name == MIX.name else get_config(name)


def prompt_for(model, length, seed=0):
    """Random token ids."""
    return np.random.default_rng([seed, length]).integers(0, model.vocab, length).tolist()


def compiled(config, *, weights="mxint8", **shape):
    """The image of a random model, made once."""
    key = (config, weights, tuple(sorted(shape.items())))
    if key not in _images:
        _images[key] = compile_model(random_llama(**shape), config, weights=weights)
    return _images[key]


def golden(image, prompt, max_new, **options):
    """The golden model's `Result`, made once."""
    key = (id(image), tuple(prompt), max_new, tuple(sorted(options.items())))
    if key not in _golden:
        _golden[key] = image, GoldenBackend().generate(image, prompt, max_new, **options)  # the image keeps its id
    return _golden[key][1]


def same_bits(a, b):
    """Whether two float32 arrays are equal bit for bit."""
    return a.shape == b.shape and bool((a.view(np.uint32) == b.view(np.uint32)).all())
