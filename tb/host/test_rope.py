"""Tables of cosines and sines: each stretch by its formula, and by transformers where that is installed."""

import json
import math

import numpy as np
import pytest
from checkpoints import ODD, SIZES, random_tensors, write_huggingface
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler.rope import frequencies, rope_table

BASE = 10000.0
LARGE = SIZES | {"head_dim": 128, "heads": 2, "kv_heads": 1}
ROPES = {
    "linear": {"rope_type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048},
    "gpt-oss": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "beta_fast": 32.0,
                "beta_slow": 1.0, "truncate": False},
    "deepseek": {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096, "mscale": 0.707,
                 "mscale_all_dim": 1.0},
    "longrope": {"rope_type": "longrope", "short_factor": [1.0 + n / 64 for n in range(64)],
                 "long_factor": [2.0 + n for n in range(64)], "original_max_position_embeddings": 4096},
}


def model_of(folder, rope, sizes=LARGE, **settings):
    return load_checkpoint(write_huggingface(folder, random_tensors(sizes), sizes, rope_theta=None, **{
        "max_position_embeddings": 131072} | settings, rope_parameters=rope | {"rope_theta": BASE}))


PLAIN = BASE ** (-np.arange(64) / 64)


def test_formulas(tmp_path):
    """What each does to the fastest and the slowest rotation, and to the size of cosine and sine."""
    found = {name: model_of(tmp_path / name, rope) for name, rope in ROPES.items()}
    freq = {name: frequencies(model, 512) for name, model in found.items()}
    assert np.allclose(freq["linear"], PLAIN / 2.5) and np.array_equal(freq["dynamic"], PLAIN)
    for name, factor in (("llama3", 8), ("yarn", 4), ("gpt-oss", 32), ("deepseek", 40)):
        ratio = PLAIN / freq[name]
        assert ratio[0] == 1 and ratio[-1] == pytest.approx(factor) and (np.diff(ratio) >= -1e-9).all(), name
    # Pairs that turn 32 times and once in 2048 positions are numbers 16.1 and 40.2; between them it is linear.
    blend = np.clip((np.arange(64) - 16) / (41 - 16), 0, 1)
    assert np.allclose(freq["yarn"], PLAIN * (1 - blend) + PLAIN / 4 * blend)
    assert np.allclose(freq["longrope"], PLAIN / (1 + np.arange(64) / 64), rtol=5e-6)
    assert np.allclose(frequencies(found["longrope"], 4097), PLAIN / (2 + np.arange(64)), rtol=5e-6)
    sizes = {"yarn": 1 + 0.1 * math.log(4), "gpt-oss": 1.3466, "linear": 1, "llama3": 1,
             "deepseek": (1 + 0.0707 * math.log(40)) / (1 + 0.1 * math.log(40)),
             "longrope": math.sqrt(1 + math.log(32) / math.log(4096))}
    for name, size in sizes.items():
        table = rope_table(found[name], 64)
        assert np.allclose(np.hypot(table[:, :, 0], table[:, :, 1]), size, rtol=1e-4), name


def test_what_does_not_turn(tmp_path):
    """Dimensions beyond the rotary part, and padding, have cosine 1 and sine 0, whatever attention's factor is."""
    model = model_of(tmp_path, ROPES["yarn"], ODD)
    for turning in (3, 6, 12):
        model.rotary = 2 * turning
        table = rope_table(model, 40)
        assert table.shape == (40, 16, 2) and (table[:, turning:] == [1, 0]).all()
        assert (table[1:, :turning, 1] != 0).all() and table[0, 0, 0] == np.float32(1 + 0.1 * math.log(4))


@pytest.mark.parametrize("context", [512, 5000])
@pytest.mark.parametrize("name", ROPES)
def test_transformers(tmp_path, name, context):
    """Frequencies to the rounding of FP32, in which transformers computes and blends them, and attention's factor."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    model = model_of(tmp_path, ROPES[name])
    config = LlamaConfig(**{key: value for key, value in json.loads((tmp_path / "config.json").read_text()).items()
                            if value is not None})
    wanted, size = ROPE_INIT_FUNCTIONS[ROPES[name]["rope_type"]](config, torch.device("cpu"), seq_len=context)
    np.testing.assert_allclose(frequencies(model, context), wanted.numpy(), rtol=5e-6)
    assert size == pytest.approx(model.rope_scaling.attention_factor if model.rope_scaling else 1.0, rel=1e-12)
