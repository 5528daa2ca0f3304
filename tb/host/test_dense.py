"""Families of dense decoders, each from random checkpoints of odd shape: settings, tensors, lowering.

The float64 model of numpy reads the importer's `Model` by definition: it is compared with llama.cpp and transformers,
which read the file themselves, and the golden model, with all that the compiler folds, is compared with it.
"""

from dataclasses import replace

import numpy as np
import pytest
from checkpoints import ODD, SIZES, fused, random_tensors, write_gguf, write_huggingface
from scoville.config import get_config
from scoville.golden import GoldenChip
from scoville_host.checkpoint.families import FAMILIES
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler.compiler import compile_model
from scoville_host.runtime.evaluate import compare
from scoville_host.runtime.float_model import float_logits
from scoville_host.runtime.golden import GoldenBackend
from scoville_host.runtime.rtl import RtlBackend

LARGE = replace(get_config("nano"), max_hidden=4096, max_rows=4096, operand_blocks=1024, act_bits=10)
IDS = np.random.default_rng(2).integers(0, 70, 45).tolist()
QUARTERS = SIZES | {"hidden": 96, "head_dim": 24}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
GRANITE = {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.015625,
           "logits_scaling": 8.0}
GRANITE_GGUF = {"embedding_scale": 12.0, "residual_scale": 0.22, "attention.scale": 0.015625, "logit_scale": 8.0}


def longrope(pairs, **more):
    return {"rope_type": "longrope", "short_factor": [1.0 + 0.1 * n for n in range(pairs)],
            "long_factor": [1.5 + 0.5 * n for n in range(pairs)]} | more


def yarn(**more):
    return {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32} | more


def case(kind, sizes=SIZES, tensors=None, wholes=(), gguf=None, **settings):
    """Architecture, sizes, options of `random_tensors`, fused tensors, settings of config.json, metadata of GGUF."""
    return kind, sizes, tensors or {}, wholes, settings, gguf


QKV = {"biases": ("q", "k", "v")}
BOTH = ("qkv", "gate_up")
CASES = {
    "llama, linear": case("llama", rope_parameters={"rope_type": "linear", "factor": 4.0}, gguf={
        "rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "llama, dynamic": case("llama", ODD, rope_parameters={"rope_type": "dynamic", "factor": 4.0}, gguf={}),
    "llama, llama3, tied": case("llama", ODD, {"tied": True}, rope_parameters=LLAMA3),
    "llama, yarn": case("llama", ODD, rope_parameters=yarn(), gguf={
        "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}),
    "llama, yarn as gpt-oss": case("llama", rope_parameters=yarn(truncate=False, beta_fast=8.0)),
    "llama, yarn as deepseek": case("llama", rope_parameters=yarn(mscale=0.7, mscale_all_dim=1.0)),
    "mistral, window": case("mistral", sliding_window=64),
    "qwen2, yarn": case("qwen2", SIZES | {"head_dim": 16}, QKV, rope_parameters=yarn(), gguf={
        "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}),
    "granite": case("granite", **GRANITE, gguf=GRANITE_GGUF),
    "granite, tied, biases": case("granite", ODD, {"tied": True, "biases": ("q", "k", "v", "o")}, rms_norm_eps=1.0,
                                  **GRANITE | {"embedding_multiplier": 1.5}),
    "smollm3": case("smollm3", SIZES | {"layers": 5}, gguf={}),
    "smollm3, listed": case("smollm3", ODD, {"tied": True}, no_rope_layers=[0, 1]),
    "phi3": case("phi3", SIZES | {"hidden": 128}, wholes=BOTH, gguf={}),
    "phi3, a part": case("phi3", QUARTERS, {"tied": True}, BOTH, partial_rotary_factor=0.75, gguf={
        "rope.dimension_count": 18}),
    "phi3, longrope, short": case("phi3", QUARTERS, wholes=BOTH, original_max_position_embeddings=64,
                                  partial_rotary_factor=0.75, rope_parameters=longrope(9)),
    "phi3, longrope, long": case("phi3", QUARTERS, wholes=BOTH, original_max_position_embeddings=32,
                                 rope_parameters=longrope(12), gguf={
                                     "rope.scaling.original_context_length": 32,
                                     "rope.scaling.attn_factor": 1.1832159}),
    "glm": case("glm", SIZES | {"hidden": 128}, QKV, ("gate_up",), attention_bias=True),
    "glm, odd": case("glm", QUARTERS, {"tied": True}, ("gate_up",), attention_bias=False, partial_rotary_factor=0.25),
}
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "granite": "Granite", "smollm3": "SmolLM3",
           "phi3": "Phi3", "glm": "Glm"}


def tensors_of(name):
    kind, sizes, options, wholes, _, _ = CASES[name]
    tensors = random_tensors(sizes, **{"tied": False} | options)
    for each in tensors:
        if each.rpartition(".")[2] in ("q", "k"):
            tensors[each] *= 20 if kind == "granite" else 4  # sharp attention, so that positions matter
        elif each == "embedding":
            tensors[each] *= 4
    return fused(tensors, wholes) if wholes else tensors


def directory(folder, name):
    kind, sizes, _, _, settings, _ = CASES[name]
    rope = settings.pop("rope_parameters", None)
    if rope:
        settings["rope_parameters"] = rope | {"rope_theta": 10000.0}
    config = {"rope_theta": None if rope else 10000.0, "architectures": [f"{CLASSES[kind]}ForCausalLM"],
              "model_type": kind, "pad_token_id": 0} | settings
    if kind == "phi3":
        config |= {"attention_bias": False, "mlp_bias": False}
    return write_huggingface(folder, tensors_of(name), sizes, **config)


def error(found, wanted):
    return np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std()


@pytest.mark.parametrize("name", CASES)
def test_golden_model_agrees_with_the_definition(tmp_path, name):
    """All that the compiler folds, and the order of rows, on a chip with activations of 10 bits."""
    model = load_checkpoint(directory(tmp_path, name))
    wanted = float_logits(model, IDS)
    image = compile_model(model, LARGE, context=len(IDS))
    found = GoldenChip(image.config, image.allocate(), image.registers, base=image.base).logits(IDS)
    assert error(found, wanted) < 0.1
    assert compare(wanted, found)[0] <= 0.003


@pytest.mark.parametrize("name", ["llama, llama3, tied", "mistral, window", "qwen2, yarn", "granite, tied, biases",
                                  "smollm3, listed", "phi3, longrope, long", "glm, odd"])
def test_rtl(tmp_path, name):
    """The chip itself, bit for bit: keys that do not turn, that turn in part, beside biases and constants."""
    image = compile_model(load_checkpoint(directory(tmp_path, name)), get_config("nano"), context=64)
    golden, rtl = (backend.generate(image, IDS[:34], 2) for backend in (GoldenBackend(), RtlBackend()))
    assert rtl.tokens == golden.tokens
    assert np.array_equal(rtl.logits.view(np.uint32), golden.logits.view(np.uint32))


@pytest.mark.parametrize("name", CASES)
def test_the_definition_agrees_with_transformers(tmp_path, name):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from scoville_host.runtime.reference import load_reference

    path = directory(tmp_path, name)
    assert error(float_logits(load_checkpoint(path), IDS), load_reference(path).logits(IDS)) < 1e-4


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][-1] is not None])
def test_the_definition_agrees_with_llama_cpp(tmp_path, name):
    """The same model as GGUF file, read by both; and it is that of the directory."""
    pytest.importorskip("xllamacpp")
    from scoville_host.runtime.llama_cpp import LlamaCpp

    kind, sizes, _, _, settings, numbers = CASES[name]
    rope = settings.get("rope_parameters", {})
    more = {f"rope_factors_{part}.weight": np.array(rope[f"{part}_factor"], np.float32)
            for part in ("short", "long") if f"{part}_factor" in rope}
    path = write_gguf(tmp_path / "model.gguf", tensors_of(name), sizes, architecture=kind, more=more, **numbers)
    wanted = float_logits(load_checkpoint(path), IDS)
    assert error(float_logits(load_checkpoint(directory(tmp_path / "hf", name)), IDS), wanted) < 1e-5
    kl, same = compare(wanted, LlamaCpp(path, 64, sizes["vocab"]).log_probabilities(IDS))
    assert 0 <= kl < 2e-6 and same > 0.95


def test_a_part_of_the_head_in_a_llama_file(tmp_path):
    """Neighbours turn, the rest of the head does not. llama.cpp takes no such file."""
    path = write_gguf(tmp_path / "model.gguf", tensors_of("llama, linear"), **{"rope.dimension_count": 10})
    model = load_checkpoint(path)
    wanted = float_logits(model, IDS)
    image = compile_model(model, LARGE, context=len(IDS))
    found = GoldenChip(image.config, image.allocate(), image.registers, base=image.base).logits(IDS)
    assert error(found, wanted) < 0.1
    model.rotary = model.head_dim
    assert error(float_logits(model, IDS), wanted) > 0.2


def test_every_family_has_cases():
    """Of either kind of file: `scoville models` says so."""
    assert {case[0] for case in CASES.values()} == {family.name for family in FAMILIES}
    assert {case[0] for case in CASES.values() if case[-1] is not None} == {
        family.name for family in FAMILIES if family.gguf}
