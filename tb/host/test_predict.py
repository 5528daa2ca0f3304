"""The analytical model: against counts of the RTL, against itself on shapes alone, and on what it must refuse."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import random_tensors, write_huggingface
from scoville.attention.softmax import Softmax
from scoville.config import BLOCK, CONFIGS, get_config
from scoville.epilogue.chain import Chain
from scoville.epilogue.pair import PairStage
from scoville_host.cli import main
from scoville_host.compiler.layout import matrix_bytes
from scoville_host.errors import RequestError
from scoville_host.predict import cycle_steady
from scoville_host.predict.cycle_stream import Memory, Stream
from scoville_host.predict.cycles import Cycles, memory_of, program_of
from scoville_host.predict.latencies import latencies
from scoville_host.predict.outline import compile_outline, fitted, read_outline, set_fields
from scoville_host.predict.predict import predict
from scoville_host.report.benchmark import BASELINE, ROWS
from scoville_host.runtime.session import open_session
from scoville_sim import get_memory, measured_limit

TOLERANCE = 0.02
COUNTED = json.loads(BASELINE.read_text())
SHAPE = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 5, "num_attention_heads": 2,
         "num_key_value_heads": 1, "intermediate_size": 96, "vocab_size": 128, "max_position_embeddings": 256}


@pytest.fixture
def shape(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(SHAPE))
    return path


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in COUNTED and not row.long], ids=lambda row: row.slug)
def test_counts_of_the_rtl(row):
    """Every quick row of the baseline that `make bench` keeps."""
    found = predict(row.model, row.config, row.prompt_tokens, row.decode_tokens, weights=row.weights,
                    context=row.context, memory=row.memory)
    for key, count in COUNTED[row.name].items():
        assert found[key] == pytest.approx(count, rel=TOLERANCE), key


@pytest.mark.parametrize("config", CONFIGS)
def test_every_cycle_has_a_reason(config):
    found = predict("tiny", config, 9, 3)
    assert found["work_cycles"] + sum(found["stalls"].values()) == pytest.approx(found["cycles"], abs=20)
    assert found["prefill_cycles"] + found["decode_cycles"] == found["cycles"]
    assert 0 < found["bus_utilisation"] < 1 and min(found["stalls"].values()) >= 0


def test_longer_contexts_take_longer():
    near, far = (predict("tiny", "nano", 1, 2, position=position) for position in (0, 400))
    assert far["decode_cycles"] > near["decode_cycles"]
    assert far["model_bytes_per_token"] > near["model_bytes_per_token"]


@pytest.mark.slow
def test_long_prompts(tmp_path):
    """2,048 tokens of SmolLM2's shape on `kria`: their passes leave the multipliers no idler than those of 512."""
    path = tmp_path / "smollm2.json"
    path.write_text(json.dumps({
        "model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "max_position_embeddings": 8192,
        "tie_word_embeddings": True, "rms_norm_eps": 1e-5, "rope_theta": 1e5}))
    used = [predict(str(path), "kria", tokens, 1, weights="q4_1")["mac_utilisation"] for tokens in (512, 2048)]
    assert used[1] >= max(0.93, used[0]), used


def test_a_plain_stream_runs_at_the_memorys_rate():
    config = get_config("kria")
    for rate in (1.0, 0.75):
        stream = Stream(config, Memory(rate=rate, read_latency=100, write_latency=20))
        stream.request(0, 0, 10000)
        _, last = stream.vector(10000)
        assert last == pytest.approx(10000 / rate + 100, abs=20)
    # a FIFO that is shorter than the latency
    short = replace(config, stream_beats=64)
    stream = Stream(short, Memory(rate=1.0, read_latency=1000, write_latency=20))
    stream.request(0, 0, 10000)
    for _ in range(625):
        stream.vector(16)
    assert stream.taken > 10000 / stream.depth * 1000 * 0.9


def test_memories():
    assert memory_of(get_memory("ideal")) == Memory(rate=1.0, read_latency=100, write_latency=20)
    assert memory_of(get_memory("lpddr4")).rate < 0.75
    ddr4 = get_memory("ddr4")
    assert memory_of(ddr4, 64) == Memory(rate=measured_limit(ddr4, 64), shared=True, read_latency=60, write_latency=20)


def test_latencies_are_the_documented_ones():
    found = latencies(get_config("kria"))
    assert f"Latency of a plain row: {found.front + found.plain + found.back} cycles" in Chain.__doc__
    assert f"Latency {found.plain} cycles from a row" in PairStage.__doc__
    assert f"GLU: {found.glu} from" in PairStage.__doc__
    assert latencies(replace(get_config("kria"), lanes=1)).glu == found.glu - 1
    assert found.scores + found.weigh == 20 and "20 cycles from the last score" in Softmax.__doc__


def test_extrapolation():
    two, three = Cycles(10.0, 4.0, 5.0, 8.0, {"bus": 5.0}), Cycles(14.0, 5.0, 7.0, 11.0, {"bus": 7.0, "header": 1.0})
    assert asdict(two.plus(two, three, 3)) == asdict(Cycles(22.0, 7.0, 11.0, 17.0, {"bus": 11.0, "header": 3.0}))


def test_outlines_are_programs_without_weights(tmp_path):
    """A model's shape gives the program that the model itself gives."""
    folder = write_huggingface(tmp_path / "model", random_tensors(tied=False))
    image = open_session(folder, "nano", weights="q4_1", text=False).image
    model = read_outline(str(folder / "config.json"))
    outline = compile_outline(model, image.config, weights="q4_1", context=image.context)
    places = ("address",)
    strip = [[{name: value for name, value in fields.items() if name not in places} for fields in program_of(each)[0]]
             for each in (image, outline)]
    assert len(strip[0]) == len(strip[1])
    for ours, theirs in zip(*strip, strict=True):
        # the checkpoint's embedding is FP32, an outline's BF16
        same = {name for name in ours if name not in ("bytes", "stride", "element")}
        assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert asdict(image.traffic) | {"token_bytes": 0} == asdict(outline.traffic) | {"token_bytes": 0}
    assert len(outline.memory) < 4096


def test_shapes_alone(shape):
    """All layers of an outline from two: as the walk over all of them."""
    found = predict(str(shape), "kria", 5, 3, weights="q4_0")
    model = read_outline(str(shape))
    image = compile_outline(model, get_config("kria"), weights="q4_0", context=8)
    fields = next(fields for fields in program_of(image)[0] if fields.get("kblocks") == 3)
    assert fields["beats"] * 64 == matrix_bytes(model_format(image), 2, 3, image.config)
    whole = predict(str(shape), "kria", 5, 3, weights="q4_0", settings=["act_bits=8"])
    assert whole["cycles"] == found["cycles"]
    faster = predict(str(shape), "kria", 5, 3, weights="mxint8", settings=["bus_bytes=128"])
    slower = predict(str(shape), "kria", 5, 3, weights="mxint8")
    assert faster["cycles"] < slower["cycles"] and faster["config"] == "kria,bus_bytes=128"


def model_format(image):
    from scoville_host.checkpoint.formats import get_format

    return get_format(image.weights["down"])


@pytest.mark.parametrize("memory", ["ideal", "lpddr4"])
@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_equal_tiles_are_left_out_without_a_loss(shape, config, memory, monkeypatch):
    shape.write_text(json.dumps(SHAPE | {"intermediate_size": 4096, "num_hidden_layers": 2, "vocab_size": 2000}))
    found = predict(str(shape), config, 3, 2, memory=memory)
    monkeypatch.setattr(cycle_steady, "TAIL", 1 << 30)
    walked = predict(str(shape), config, 3, 2, memory=memory)
    assert found["cycles"] == pytest.approx(walked["cycles"], rel=2e-4) and found["beats"] == walked["beats"]
    assert found["work_cycles"] == walked["work_cycles"]


def test_buffers_grow_with_the_model(shape):
    model = replace(read_outline(str(shape)), hidden=4096, ffn=14336, heads=32)
    config = fitted(get_config("kria"), model)
    assert config.max_hidden == 4096 and config.operand_blocks >= 128 + 14336 // BLOCK and config.rows == 4
    assert np.prod(model.tensors["embedding"].values.strides) == 0


@pytest.mark.parametrize(("settings", "message"), [
    (["rows=3"], "rows is 3; it must be a power of two"),
    (["rows"], "it must be FIELD=NUMBER"),
    (["width=3"], "with a field of bus_bytes, rows"),
])
def test_settings_that_are_wrong(settings, message):
    with pytest.raises(RequestError, match=message):
        set_fields(get_config("nano"), settings)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--set", "lanes=3"], "must be a power of two"),
    (["--prompt-tokens", "0"], "at least one of each"),
    (["--position", "510"], "context is 541; tiny allows 1 to 512"),
    (["--memory", "gone"], "unknown memory 'gone'"),
    (["--model", "gone/config.json"], "No such file"),
    (["--model", "tiny", "--config", "gone"], "unknown configuration"),
])
def test_requests_that_are_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["predict", "-q", *arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and message in error[0]


def test_command(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["predict", "-q", "--config", "slim", "--set", "bus_bytes=16", "--json", str(tmp_path / "found.json")])
    assert stop.value.code == 0
    found = json.loads(Path(tmp_path / "found.json").read_text())
    assert found["config"] == "slim,bus_bytes=16" and found["backend"] == "model" and found["memory"] == "ideal"
    assert f"cycles: {found['cycles']}\n" in capsys.readouterr().out
