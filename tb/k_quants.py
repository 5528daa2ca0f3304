"""GGUF files of many types for tests: K-quants from floats, mixtures of types, and SmolLM2 as Q4_K_M.

The plain way: a scale from a block's extremes, the factor from the largest scale. llama.cpp searches for better ones.
"""

import gguf
import numpy as np
from checkpoints import SIZES, write_gguf

__all__ = ["KINDS", "MIXED", "WIDE", "as_q4_k_m", "quantise", "write_types"]

WIDE = SIZES | {"hidden": 256, "ffn": 256, "layers": 1, "heads": 8}
MIXED = {"token_embd": "Q8_0", "attn_q": "Q5_0", "attn_k": "Q5_1", "attn_v": "IQ4_NL", "attn_output": "MXFP4",
         "ffn_gate": "Q5_0", "ffn_up": "Q4_1", "ffn_down": "Q4_0"}


def _ratio(value, factor):
    """value / factor, 0 where the factor is."""
    return np.divide(value, factor, out=np.zeros(np.broadcast(value, factor).shape, np.float32), where=factor != 0)


def _factor(scales, most):
    """FP16 factor ``[n]`` under which scales ``[n, blocks]`` are integers up to `most`, and those."""
    factor = (np.abs(scales).max(axis=1) / most).astype(np.float16)
    integers = np.rint(_ratio(scales, factor[:, None].astype(np.float32)))
    return factor, np.clip(integers, -most, most).astype(np.int8)


def _with_minimums(x, bits):
    x = x.reshape(len(x), 8, 32)
    least = np.maximum(-x.min(axis=2), 0)
    factor, scale = _factor((x.max(axis=2) + least) / ((1 << bits) - 1), 63)
    under, minimum = _factor(least, 63)
    step = factor[:, None, None].astype(np.float32) * scale[..., None]
    q = np.rint(_ratio(x + under[:, None, None].astype(np.float32) * minimum[..., None], step))
    q = np.clip(q, 0, (1 << bits) - 1).astype(np.uint8)
    scale, minimum = scale.view(np.uint8), minimum.view(np.uint8)
    integers = np.concatenate([scale[:, :4] | scale[:, 4:] >> 4 << 6, minimum[:, :4] | minimum[:, 4:] >> 4 << 6,
                               scale[:, 4:] & 15 | minimum[:, 4:] << 4], axis=1)
    head = [factor[:, None].view(np.uint8), under[:, None].view(np.uint8), integers]
    return head, q


def _nibbles(q, width):
    """Runs of `width` low nibbles beside the runs behind them."""
    pairs = q.reshape(len(q), -1, 2, width)
    return (pairs[:, :, 0] & 15 | pairs[:, :, 1] << 4).reshape(len(q), -1)


def _fields(q, width, bits):
    """Bytes of `width` a run, with fields of some bits of the runs behind each other."""
    count = 8 // bits
    runs = q.reshape(len(q), -1, count, width) << (bits * np.arange(count, dtype=np.uint8)).reshape(1, 1, -1, 1)
    return np.bitwise_or.reduce(runs, axis=2).reshape(len(q), -1)


def _q4_k(x):
    head, q = _with_minimums(x, 4)
    return [*head, _nibbles(q, 32)]


def _q5_k(x):
    head, q = _with_minimums(x, 5)
    return [*head, _fields(q >> 4, 32, 1), _nibbles(q & 15, 32)]


def _signed(x, most, levels):
    """Factor, integers of halves of blocks, and codes from 0 on."""
    x = x.reshape(len(x), 16, 16)
    peak = np.take_along_axis(x, np.abs(x).argmax(axis=2)[..., None], axis=2)[..., 0]
    factor, scale = _factor(-peak / levels, most)  # the largest becomes the lowest code, of which there is one more
    q = np.rint(_ratio(x, factor[:, None, None].astype(np.float32) * scale[..., None]))
    return factor, scale, (np.clip(q, -levels, levels - 1) + levels).astype(np.uint8).reshape(len(x), 256)


def _q6_k(x):
    factor, scale, q = _signed(x, 127, 32)
    return [_nibbles(q & 15, 64), _fields(q >> 4, 32, 2), scale.view(np.uint8), factor[:, None].view(np.uint8)]


def _q3_k(x):
    factor, scale, q = _signed(x, 31, 4)
    scale = (scale + 32).astype(np.uint8)
    return [_fields(q >> 2, 32, 1), _fields(q & 3, 32, 2), _nibbles(scale & 15, 8), _fields(scale >> 4, 4, 2),
            factor[:, None].view(np.uint8)]


KINDS = {"Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k}


def quantise(values, kind):
    """Bytes ``[rows, bytes]`` of float32 ``[rows, columns]``, columns a multiple of 256."""
    parts = KINDS[kind](np.ascontiguousarray(values, np.float32).reshape(-1, 256))
    return np.concatenate(parts, axis=1).reshape(len(values), -1)


def _kind(name, layers, columns):
    """The type of a matrix in a Q4_K_M, as llama.cpp mixes it; of rows that are no multiple of 256 another."""
    layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    kind = "Q6_K" if name.startswith("token_embd") or more and ("attn_v" in name or "ffn_down" in name) else "Q4_K"
    return kind if columns % 256 == 0 else {"Q6_K": "Q8_0", "Q4_K": "Q5_0"}[kind]


def rewrite(source, target, change):
    """Write a GGUF file anew: `change` gives each tensor's (array, type, or None for floats)."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            kind = field.types[0]
            more = {"sub_type": field.types[-1]} if kind == gguf.GGUFValueType.ARRAY else {}
            writer.add_key_value(field.name, field.contents(), kind, **more)
    for entry in reader.tensors:
        data, kind = change(entry)
        writer.add_tensor(entry.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def as_q4_k_m(source, target):
    """Write a GGUF file's weights anew as Q4_K_M; returns the count of tensors of each type."""
    tensors, counts = gguf.GGUFReader(source).tensors, {}
    layers = 1 + max(int(entry.name.split(".")[1]) for entry in tensors if entry.name.startswith("blk."))

    def change(entry):
        values = gguf.quants.dequantize(entry.data, entry.tensor_type)
        if values.ndim < 2:
            return values, None
        kind = _kind(entry.name, layers, values.shape[1])
        counts[kind] = counts.get(kind, 0) + 1
        number = gguf.GGMLQuantizationType[kind]
        return quantise(values, kind) if kind in KINDS else gguf.quants.quantize(values, number), number

    rewrite(source, target, change)
    return counts


def write_types(path, tensors, types, sizes=SIZES):
    """A GGUF file whose matrices have types by the end of their names; random bytes where gguf cannot quantise."""
    path = write_gguf(path, tensors, sizes, kind="F32")
    target = path.with_name(f"{path.stem}-mixed.gguf")

    def change(entry):
        kind = next((kind for end, kind in types.items() if entry.name.endswith(f"{end}.weight")), "F32")
        values = np.array(entry.data)
        if kind == "F32" or values.ndim == 1:
            return values, None
        number = gguf.GGMLQuantizationType[kind]
        if kind in KINDS:
            return quantise(values, kind), number
        try:
            return gguf.quants.quantize(values, number), number
        except NotImplementedError:  # codes at random, under scales that are small
            block, size = gguf.GGML_QUANT_SIZES[number]
            data = np.random.default_rng(len(entry.name)).integers(
                0, 100, (values.shape[0], values.shape[1] // block * size)).astype(np.uint8)
            if kind == "IQ4_NL":
                data.reshape(values.shape[0], -1, size)[:, :, :2] = np.array([0.001], np.float16).view(np.uint8)
            return data, number

    rewrite(path, target, change)
    return target
