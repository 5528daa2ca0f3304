"""`scoville inspect`: what it says of a checkpoint is what compiling it says, from the headers alone."""

import json
import resource
import time

import gguf
import numpy as np
import pytest
from checkpoints import ODD, SIZES, random_tensors, write_gguf, write_huggingface
from k_quants import MIXED, WIDE, write_types
from scoville.config import CONFIGS
from scoville_host import cli
from scoville_host.errors import RequestError
from scoville_host.predict.inspection import inspect
from scoville_host.predict.predict import predict
from scoville_host.runtime.session import open_session


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main(["inspect", *(str(argument) for argument in arguments)])
        return stop.value.code, *capsys.readouterr()
    return call


def checkpoints(folder):
    """(path, what its obstacles must say), of files that run and files that do not."""
    tensors = random_tensors(tied=False)
    yield write_huggingface(folder / "shards", tensors, shards=3), None
    yield write_gguf(folder / "q4_0.gguf", tensors, kind="Q4_0"), None
    yield write_types(folder / "mixed.gguf", tensors, MIXED), None
    write_gguf(folder / "parts.gguf", tensors, kind="Q8_0", split=5)
    yield next(folder.glob("parts-00002*.gguf")), None
    mixture = {"token_embd": "Q6_K", "ffn_down": "Q6_K", "attn_v": "Q5_K", "": "Q4_K"}
    yield write_types(folder / "q4_k_m.gguf", random_tensors(WIDE), mixture, WIDE), None
    yield write_types(folder / "k.gguf", random_tensors(WIDE), {"attn_q": "Q2_K", "ffn_down": "Q6_K"}, WIDE), "Q2_K"
    yield write_gguf(folder / "odd.gguf", random_tensors(ODD), ODD, rope=1), "'llama.rope' is not known"
    yield write_gguf(folder / "ragged.gguf", random_tensors(SIZES | {"head_dim": 16, "hidden": 32}), SIZES | {
        "head_dim": 16, "hidden": 32}, kind="Q8_0"), "blocks of 0.o run across heads of 16"
    yield write_huggingface(folder / "gelu", tensors, hidden_act="gelu"), "activation 'gelu'"
    yield write_huggingface(folder / "mamba", tensors, model_type="mamba"), "architecture 'mamba' is not supported"
    yield write_huggingface(folder / "heads", tensors, num_attention_heads=0), "num_attention_heads is 0"


def test_says_what_compiling_says(tmp_path):
    for path, wanted in checkpoints(tmp_path):
        found = inspect(str(path), "nano")
        assert found["supported"] == found["runs"] == (wanted is None), path
        try:
            image = open_session(str(path), "nano", text=False).image
        except RequestError as error:
            assert wanted and wanted in found["obstacles"][0]["what"] and wanted in str(error), (path, str(error))
        else:
            assert image.size == found["configs"][0]["image_bytes"] and image.context == found["context"]
            wanted = predict(str(path), "nano", 1, 1, position=63)["cycles"]
            assert found["configs"][0]["cycles_per_token"] == pytest.approx(wanted, rel=1e-3), path


def test_all_that_stands_in_the_way(tmp_path):
    """Settings, types and tensors of one file, each in a line; a type once."""
    tensors = random_tensors(WIDE)
    del tensors["norm"]
    path = write_types(tmp_path / "a.gguf", tensors, {"attn_q": "Q2_K", "attn_k": "Q2_K", "ffn_up": "IQ3_S"}, WIDE)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"llama.attention.value_length", b"llama.attention.valve_length"))
    found = inspect(str(path))
    assert [(each["subject"], each["what"].split(";")[0].split(" as it")[0]) for each in found["obstacles"]] == [
        ("setting", "'llama.attention.valve_length' is not known"),
        ("format", "tensor 'blk.0.attn_q.weight' has type Q2_K, which does not run"),
        ("format", "tensor 'blk.0.ffn_up.weight' has type IQ3_S, which does not run"),
        ("tensor", "tensor 'output_norm.weight' is missing")]
    assert found["obstacles"][1]["what"].endswith(" (and 1 more)") and "--weights q8_0" in found["obstacles"][1]["what"]
    rows = {row["type"]: row for row in found["formats"]}
    assert rows["Q2_K"] == {"type": "Q2_K", "tensors": 2, "bytes": (256 + 64) * 84, "runs_as": None}
    assert sum(row["bytes"] for row in found["formats"]) == found["bytes"]
    assert {row["runs_as"] for row in inspect(str(path), weights="q8_0")["formats"]} == {"q8_0"}


def test_buffers_that_are_too_small(tmp_path):
    """Every configuration says which, and the widest what larger ones would give."""
    config = {"model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
              "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 128256, "head_dim": 64,
              "max_position_embeddings": 131072, "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = inspect(str(tmp_path / "config.json"), weights="q8_0")
    assert found["supported"] and not found["runs"] and [row["config"] for row in found["configs"]] == list(CONFIGS)
    assert all("hidden size 2048 needs max_hidden = 2048" in row["obstacles"][0] for row in found["configs"])
    assert [row["config"] for row in found["configs"] if row["cycles_per_token"]] == ["kria"]
    kria = next(row for row in found["configs"] if row["config"] == "kria")
    assert kria["cycles_per_token"] == pytest.approx(1.236e9 * 34 / 32 / 64, rel=0.02)
    assert any("LINEAR.beats" in text for row in found["configs"] for text in row["obstacles"])


def test_size_does_not_matter(tmp_path):
    """A file of 8 GB whose weights are a hole: seconds, and no memory for them."""
    path = tmp_path / "large.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    sizes = {"hidden": 4096, "ffn": 14336, "vocab": 32000}
    for key, value in {"block_count": 32, "context_length": 8192, "embedding_length": 4096, "vocab_size": 32000,
                       "feed_forward_length": 14336, "attention.head_count": 32, "attention.head_count_kv": 8}.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    small = write_gguf(tmp_path / "small.gguf", random_tensors(SIZES | {"layers": 32}), SIZES | {"layers": 32})
    shapes = {"token_embd": ("vocab", "hidden"), "attn_q": ("hidden", "hidden"), "attn_k": (1024, "hidden"),
              "attn_v": (1024, "hidden"), "attn_output": ("hidden", "hidden"), "ffn_gate": ("ffn", "hidden"),
              "ffn_up": ("ffn", "hidden"), "ffn_down": ("hidden", "ffn")}
    for entry in gguf.GGUFReader(small).tensors:
        part = entry.name.removesuffix(".weight").rpartition(".")[2]
        if part in shapes:
            rows, columns = (sizes.get(size, size) for size in shapes[part])
            writer.add_tensor_info(entry.name, (rows, columns // 32 * 34), np.dtype(np.uint8),
                                   rows * columns // 32 * 34, gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor_info(entry.name, (4096,), np.dtype(np.float32), 4 * 4096)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as file:
        file.truncate(file.seek(0, 2) + 9 * 2**30)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = inspect(str(path), "kria")
    assert time.process_time() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB
    assert found["supported"] and found["bytes"] > 7.5e9
    assert found["configs"][0]["cycles_per_token"] == pytest.approx(found["bytes"] / 64, rel=0.03)


def test_command(run, tmp_path):
    """Text for people, JSON for programs; the status says whether the file could be read."""
    status, out, err = run("tiny", "--config", "nano")
    assert (status, err) == (0, "") and out.startswith("tiny: Hugging Face directory, family llama\n")
    assert "BF16        29           664,896  floats" in out and out.endswith("  runs\n")
    status, out, _ = run("tiny", "--config", "nano", "--json")
    found = json.loads(out)
    assert status == 0 and found["runs"] and found["configs"][0]["config"] == "nano"
    path = write_types(tmp_path / "k.gguf", random_tensors(WIDE), {"attn_q": "Q2_K"}, WIDE)
    status, out, err = run(path)
    assert (status, err) == (0, "") and "stands in the way (format): tensor 'blk.0.attn_q.weight'" in out
    assert out.endswith("  does not run\n")
    path.write_bytes(path.read_bytes()[:3000])
    for arguments in ([path], ["README.md"], ["gone"], ["tiny", "--config", "gone"], ["tiny", "--weights", "gone"],
                      ["tiny", "--context", "0"]):
        status, out, err = run(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith("scoville: error: "), arguments
