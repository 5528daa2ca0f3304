"""Weight formats of GGUF files: what the chip reads is gguf's own dequantisation, bit for bit, or refused."""

from dataclasses import replace

import gguf
import numpy as np
import pytest
from checkpoints import random_tensors
from k_quants import MIXED, WIDE, write_types
from scoville.config import get_config
from scoville.golden import GoldenChip
from scoville.golden_memory import unpack_weights
from scoville_host.checkpoint.formats import Blocks, common_format
from scoville_host.checkpoint.gguf_blocks import GGUF_FORMS
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.checkpoint.model import Tensor
from scoville_host.compiler.compiler import compile_model
from scoville_host.compiler.layout import pack_matrix, unpack_matrix
from scoville_host.errors import RequestError
from scoville_host.runtime.golden import GoldenBackend
from scoville_host.runtime.rtl import RtlBackend

# FP16: 0, -0, the least and the largest subnormal, the least normal, the largest finite, 1 and others, of both signs.
HALVES = np.array([0, 0x8000, 1, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00, 0x2E66], np.uint16)
KINDS = list(GGUF_FORMS)
OTHERS = ["Q2_K", "IQ2_XS", "IQ1_S", "IQ3_S", "TQ1_0", "NVFP4"]
FACTORS = {"IQ4_XS": [0], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}  # of FP16


def random_blocks(kind, rows=24, columns=512, seed=5):
    """Bytes of a tensor: any code, and scales (and minimums) from `HALVES`, or any byte that MXFP4 can have here."""
    rng = np.random.default_rng(seed)
    layout = GGUF_FORMS[kind]
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0]
    data = rng.integers(0, 256, (rows, columns // size, layout.bytes)).astype(np.uint8)
    if kind in FACTORS:
        for at in FACTORS[kind]:
            data[:, :, at:at + 2] = rng.choice(HALVES, data.shape[:2])[:, :, None].view(np.uint8)
    elif layout.form.scale_bytes == 2:
        for at in range(0, layout.form.scale_bytes + layout.form.minimum_bytes, 2):
            data[:, :, at:at + 2] = rng.choice(HALVES, data.shape[:2])[:, :, None].view(np.uint8)
    else:
        data[:, :, 0] = rng.choice([2, 3, 127, 128, 240, 252], data.shape[:2])
    return data.reshape(rows, -1)


def bits(values):
    """Bits of float32, -0 as 0: the chip has one zero."""
    return (np.ascontiguousarray(values, np.float32) + np.float32(0)).view(np.uint32)


def blocks_of(kind, data):
    return Blocks(format=GGUF_FORMS[kind].form, **GGUF_FORMS[kind].unpack(data))


@pytest.mark.parametrize("kind", KINDS)
def test_bit_for_bit(kind):
    """Imported, and through the layout of memory."""
    data = random_blocks(kind, rows=32)
    wanted = bits(gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind]))
    blocks = blocks_of(kind, data)
    assert np.array_equal(bits(blocks.dequantise()), wanted)
    for name in ("nano", "kria"):
        config = get_config(name)
        stored = unpack_matrix(pack_matrix(blocks, config), blocks.format, 1, blocks.codes.shape[1], config)
        assert np.array_equal(bits(stored.dequantise()), wanted)


@pytest.mark.parametrize("bus_bytes", [8, 32, 64, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_golden_model_reads_them(kind, bus_bytes):
    """From the stream in memory, at every width of the bus."""
    config = replace(get_config("nano"), bus_bytes=bus_bytes, rows=1)
    data = random_blocks(kind, rows=64)
    blocks, fmt = blocks_of(kind, data), GGUF_FORMS[kind].form
    instruction = {"address": 0, "tiles": 2, "kblocks": 16, "code_bits8": int(fmt.code_bits == 8),
                   "scale_format": fmt.scale_format, "minimum": int(fmt.minimum), "high_bits": fmt.high_bits}
    weights = unpack_weights(pack_matrix(blocks, config), instruction, np.array(fmt.table or [0] * 16, np.int8), config)
    found = weights.codes * weights.scales[:, :, None]
    if fmt.minimum:
        found += weights.minimums[:, :, None]
    wanted = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind])
    assert np.array_equal(bits(found.swapaxes(0, 1).reshape(wanted.shape)), bits(wanted))


@pytest.mark.parametrize("kind", KINDS)
def test_wider_forms_hold_the_same_weights(kind):
    blocks = blocks_of(kind, random_blocks(kind))
    others = [layout.form for layout in GGUF_FORMS.values()]
    met = [fmt for other in others if (fmt := common_format([blocks.format, other]))]
    assert len(met) >= (1 if kind == "MXFP4" or kind in FACTORS else 6)
    for fmt in met:
        assert np.array_equal(bits(blocks.widened(fmt).dequantise()), bits(blocks.dequantise()))


def test_scales_that_mxfp4_cannot_have():
    data = random_blocks("MXFP4")
    for scale, message in ((0, "below"), (1, "below"), (254, "infinite"), (255, "infinite")):
        data[3, 0] = scale
        with pytest.raises(ValueError, match=message):
            blocks_of("MXFP4", data)
    data[3, :17] = 0  # a block of zeros may have any scale that is a number
    assert not blocks_of("MXFP4", data).dequantise()[3, :32].any()


def test_one_file_of_many_types(tmp_path):
    """The golden model's logits are near those of the float model of gguf's own dequantisation."""
    from scoville_host.runtime.float_model import float_logits

    path = write_types(tmp_path / "model.gguf", random_tensors(), MIXED)
    model = load_checkpoint(path)
    for entry in gguf.GGUFReader(path).tensors:
        name = next(name for name in model.shapes() if model.stored(name) == entry.name)
        assert np.array_equal(bits(model.tensors[name].floats()),
                              bits(gguf.quants.dequantize(entry.data, entry.tensor_type))), entry.name
    image = compile_model(model, get_config("nano"))
    assert image.weights == {"k": "q5_1", "v": "iq4_nl", "q": "q5_0", "o": "mxfp4", "gate_up": "q8_min",
                             "down": "q4_0", "lm_head": "q8_0"}
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    found = GoldenChip(image.config, image.allocate(), image.registers, base=image.base).logits(ids)
    wanted = float_logits(model, ids)
    assert np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std() < 0.02
    golden, rtl = (backend.generate(image, ids, 2) for backend in (GoldenBackend(), RtlBackend()))
    assert rtl.tokens == golden.tokens and np.array_equal(bits(rtl.logits), bits(golden.logits))


def test_configurations_without_k_quants(tmp_path):
    """Codes of 5 bits take 8 there, with the same logits; scales of two levels are refused."""
    path = write_types(tmp_path / "model.gguf", random_tensors(), MIXED)
    image = compile_model(load_checkpoint(path), get_config("ulx3s"))
    assert {image.weights[name] for name in ("k", "q", "gate_up")} == {"q8_min", "q8_0"}
    logits = [GoldenChip(each.config, each.allocate(), each.registers, base=each.base).logits([3, 1, 4]) for each in (
        image, compile_model(load_checkpoint(path), replace(image.config, name="with", k_quants=True)))]
    assert np.array_equal(*map(bits, logits))
    path = write_types(tmp_path / "k.gguf", random_tensors(WIDE), {"attn_q": "Q4_K"}, WIDE)
    with pytest.raises(RequestError, match="0.q has weights in q4_k, which configuration ulx3s has not; take one with "
                                           "k_quants, or --weights"):
        compile_model(load_checkpoint(path), get_config("ulx3s"))


def test_no_common_form(tmp_path):
    path = write_types(tmp_path / "model.gguf", random_tensors(), {"ffn_gate": "MXFP4", "ffn_up": "Q4_0"})
    with pytest.raises(RequestError, match="0.gate and 0.up are mxfp4 and q4_0, which have no format in common"):
        compile_model(load_checkpoint(path), get_config("nano"))
    compile_model(load_checkpoint(path, weights="q8_0"), get_config("nano"), weights="q8_0")


@pytest.mark.parametrize("kind", OTHERS)
def test_types_that_do_not_run_as_stored(tmp_path, kind):
    """Refused by name; the user's own choice of another format takes gguf's floats."""
    path = write_types(tmp_path / "model.gguf", random_tensors(WIDE), {"ffn_down": kind}, WIDE)
    with pytest.raises(RequestError, match=f"'blk.0.ffn_down.weight' has type {kind}, which does not run as it is "
                                           "stored; --weights q8_0 requantises it, or take a file of F32, F16"):
        load_checkpoint(path)
    tensor = load_checkpoint(path, weights="q8_0").tensors["0.down"]
    entry = next(each for each in gguf.GGUFReader(path).tensors if each.name == "blk.0.ffn_down.weight")
    assert tensor.blocks is None
    assert np.array_equal(tensor.values, gguf.quants.dequantize(entry.data, entry.tensor_type))


def test_an_embedding_of_its_own_may_have_any_type(tmp_path):
    """It is a table of floats; tied to the output it is a matrix too."""
    types = {"token_embd": "Q2_K"}
    path = write_types(tmp_path / "a.gguf", random_tensors(WIDE, tied=False), types, WIDE)
    model = load_checkpoint(path)
    assert isinstance(model.tensors["embedding"], Tensor) and model.tensors["embedding"].blocks is None
    compile_model(model, get_config("kria"))
    path = write_types(tmp_path / "b.gguf", random_tensors(WIDE), types, WIDE)
    with pytest.raises(RequestError, match="'token_embd.weight' has type Q2_K"):
        load_checkpoint(path)
