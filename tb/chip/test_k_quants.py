"""Weights with scales of two levels: the whole chip gives the golden model's bits, SmolLM2 as Q4_K_M keeps the bus."""

import gguf
import numpy as np
import pytest
from checkpoints import random_tensors
from k_quants import KINDS, WIDE, as_q4_k_m, quantise, write_types
from llamas import configuration
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.checkpoint.models import resolve
from scoville_host.compiler.compiler import compile_model
from scoville_host.predict.predict import predict_image
from scoville_host.runtime.generate import bench
from scoville_host.runtime.session import open_session
from test_same_bits import check

CONFIGS = ["nano", *(pytest.param(name, marks=pytest.mark.slow) for name in ("slim", "kria"))]
MIXTURES = {
    "Q4_K_M": {"token_embd": "Q6_K", "attn_v": "Q6_K", "ffn_down": "Q6_K", "": "Q4_K"},
    "Q5_K_M": {"token_embd": "Q6_K", "attn_v": "Q6_K", "": "Q5_K"},
    "Q3_K_M": {"token_embd": "Q6_K", "attn_v": "Q5_K", "ffn_down": "Q4_K", "": "Q3_K"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_writer(kind):
    """Its weights are near the floats, as gguf reads them."""
    values = np.random.default_rng(1).standard_normal((8, 512)).astype(np.float32)
    values[3] = 0
    found = gguf.quants.dequantize(quantise(values, kind), gguf.GGMLQuantizationType[kind])
    error = np.sqrt(np.mean((found - values) ** 2))
    assert error < {"Q3_K": 0.27, "Q4_K": 0.09, "Q5_K": 0.045, "Q6_K": 0.03}[kind] and not found[3].any()


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("name", CONFIGS)
def test_mixtures(tmp_path, name, mixture):
    path = write_types(tmp_path / "model.gguf", random_tensors(WIDE), MIXTURES[mixture], WIDE)
    image = compile_model(load_checkpoint(path), configuration(name))
    assert set(image.weights.values()) == {kind.lower() for kind in MIXTURES[mixture].values()}
    wanted = check(image, [3, 1, 4, 1, 5, 9], 2)
    assert np.isfinite(wanted.logits).all() and np.std(wanted.logits) > 0.1


@pytest.mark.slow
def test_smollm2(tmp_path):
    """Decoding on `kria` takes the bus for the bytes as they are stored, and little else."""
    counts = as_q4_k_m(resolve("smollm2")[1], tmp_path / "q4_k_m.gguf")
    assert counts == {"Q8_0": 15, "Q5_0": 166, "Q4_K": 16, "Q6_K": 14}
    session = open_session(str(tmp_path / "q4_k_m.gguf"), "kria", context=96, text=False)
    found = bench(session, 1, 2, backend="rtl", position=63, check=True)
    predicted = predict_image(session.image, 1, 2, position=63)
    print(f"{found['cycles_per_token']:,.0f} cycles a token, {found['decode_bus_utilisation']:.4f} of the bus; "
          f"predicted {predicted.cycles - predicted.prefill:,.0f}")
    assert found["golden_match"] and found["decode_bus_utilisation"] >= 0.98
    assert predicted.cycles - predicted.prefill == pytest.approx(found["cycles_per_token"], rel=0.02)
