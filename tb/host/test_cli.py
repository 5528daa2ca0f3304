"""The command line: exit statuses, one-line errors, and what lands where."""

import json
import subprocess
import sys

import numpy as np
import pytest
from checkpoints import random_tensors, write_huggingface
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.errors import RequestError
from vocabularies import write


@pytest.fixture
def checkpoint(tmp_path):
    return write_huggingface(tmp_path / "model", random_tensors())


@pytest.mark.parametrize("arguments, message", [
    (["bogus"], "No such command 'bogus'; see scoville --help"),
    (["generate", "--zzz"], "No such option: --zzz; see scoville generate --help"),
    (["generate", "--max-new-tokens", "x"], "--max-new-tokens"),
    (["generate"], "give either --prompt TEXT or --prompt-ids 1,2,3 or --chat FILE.json"),
    (["generate", "--prompt", "a", "--chat", "b"], "give either"),
    (["generate", "--prompt-ids", "1", "--system", "a"], "--system with --prompt-ids; it needs the model's chat"),
    (["generate", "--prompt", "a", "--raw", "--system", "a"], "--system with --raw"),
    (["generate", "--chat", "a", "--raw"], "--raw with --chat"),
    (["generate", "--prompt", "a", "--system", "a"], "has no chat template; give --prompt TEXT alone"),
    (["chat", "--model", "tiny"], "has no chat template, so it cannot be talked with; see scoville generate"),
    (["chat", "--model", "MODEL"], "has no tokenizer, so it cannot be talked with"),
    (["chat", "--seed", "-1"], "seed is -1"),
    (["generate", "--prompt", "a", "--prompt-ids", "1"], "give either"),
    (["generate", "--prompt", "a", "--model", "gone"], "unknown model 'gone': neither a file or directory, nor one of"),
    (["generate", "--prompt", "a", "--config", "gone"], "unknown configuration 'gone'; there are: nano"),
    (["generate", "--prompt", "a", "--backend", "gone"], "unknown backend 'gone'; there are: golden, rtl"),
    (["generate", "--prompt", "a", "--memory", "gone"], "unknown memory 'gone'; there are: ideal"),
    (["generate", "--prompt", "a", "--model", "MODEL"], "has no tokenizer; give --prompt-ids"),
    (["generate", "--prompt-ids", "", "--model", "MODEL"], "the prompt is empty"),
    (["generate", "--prompt-ids", "1,x", "--model", "MODEL"], "must be numbers with commas between"),
    (["generate", "--prompt-ids", "1,70", "--model", "MODEL"], "prompt token 70 is outside the vocabulary, 0 to 69"),
    (["generate", "--prompt-ids", "1,2,3", "--context", "2", "--model", "MODEL"], "has 3 tokens; the context is 2"),
    (["generate", "--prompt-ids", "1", "--context", "129", "--model", "MODEL"], "allows 1 to 128"),
    (["generate", "--prompt-ids", "1", "--max-new-tokens", "0", "--model", "MODEL"], "must be at least 1"),
    (["generate", "--prompt-ids", "1", "--temperature", "-1", "--model", "MODEL"], "temperature is -1"),
    (["generate", "--prompt-ids", "1", "--temperature", "1.1e38", "--model", "MODEL"], "to 1e+38"),
    (["generate", "--prompt-ids", "1", "--temperature", "1e300", "--model", "MODEL"], "temperature is 1e+300"),
    (["generate", "--prompt-ids", "1", "--temperature", "inf", "--model", "MODEL"], "temperature is inf"),
    (["generate", "--prompt-ids", "1", "--temperature", "nan", "--model", "MODEL"], "temperature is nan"),
    (["generate", "--prompt-ids", "1", "--seed", "-1", "--model", "MODEL"], "seed is -1"),
    (["generate", "--prompt-ids", "1", "--weights", "q9", "--model", "MODEL"], "unknown weight format 'q9'"),
    (["compile", "--model", "MODEL", "--config", "nano"], "--output"),
    (["compile", "--model", "MODEL", "-o", "."], "--output .: a folder; give the name of a file"),
    (["compile", "--model", "MODEL", "-o", ""], "--output .: a folder"),
    (["compile", "--model", "MODEL", "-o", "/tmp/gone/m.lst"], "the listing and --output are one file"),
    (["generate", "--prompt-ids", "1", "--json", "/tmp/gone/x", "--logits-out", "/tmp/gone/x"], "are one file"),
    (["bench", "--json", "/tmp"], "--json /tmp: a folder"),
    (["eval", "--text", "README.md", "--json", "README.md"], "--json and the input README.md are one file"),
    (["verilog", "--output", "README.md"], "output scoville.sv README.md/scoville.sv: Not a directory"),
    (["bench", "--model", "MODEL", "--batch", "2", "--backend", "board"], "--batch is 2"),
    (["bench", "--model", "MODEL", "--prompt-tokens", "200"], "do not fit a context of 128"),
    (["bench", "--model", "MODEL", "--position", "120"], "16 decode tokens after 120 positions do not fit"),
    (["bench", "--model", "MODEL", "--position", "-1"], "--position is -1"),
    (["bench", "--model", "MODEL", "--layers", "9"], "--layers is 9; model has 2, so it must be 1 to 2"),
    (["generate", "--prompt-ids", "1", "--model", "MODEL", "--layers", "0"], "--layers is 0"),
    (["verilog", "--config", "gone"], "unknown configuration 'gone'"),
    (["registers", "--format", "pdf"], "unknown format 'pdf'; there are: md, h"),
])
def test_wrong_requests_end_with_status_2_and_one_line(run, checkpoint, arguments, message):
    status, out, err = run(*(checkpoint if argument == "MODEL" else argument for argument in arguments))
    assert status == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("scoville: error: ") and message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_generate_writes_what_was_asked(run, checkpoint, tmp_path):
    status, out, _ = run("generate", "--model", checkpoint, "--prompt-ids", "1,2,3", "--max-new-tokens", 5,
                         "--ignore-eos", "--json", tmp_path / "out.json", "--logits-out", tmp_path / "logits.npy")
    assert status == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["tokens"] == [int(token) for token in out.split()] and len(found["tokens"]) == 5
    assert (found["model"], found["config"], found["backend"], found["prompt_tokens"]) == ("model", "nano", "golden", 3)
    logits = np.load(tmp_path / "logits.npy")
    assert logits.dtype == np.float32 and logits.shape == (5, 70)
    assert logits.argmax(axis=1).tolist() == found["tokens"]
    assert not list(tmp_path.glob("*.part"))


def test_ids_need_no_tokenizer(run, checkpoint, tmp_path):
    """Ids run where text cannot: whatever is wrong with the tokenizer, and the ids that end a text are known."""
    gguf = write(tmp_path / "v.gguf", {"model": "bert", "tokens": [f"<{n}>" for n in range(50)] + ["<|eot_id|>"],
                                       "scores": [1.0], "eos_token_id": 3})
    (checkpoint / "tokenizer.json").write_text("{}")
    for model, message in ((gguf, "tokens, but 51 token types and 1 scores"), (checkpoint, "tokenizer.json")):
        status, out, err = run("generate", "--model", model, "--prompt-ids", "1,2,3", "--max-new-tokens", 2)
        assert status == 0 and all(part.isdigit() for part in out.split()) and out.split()
        assert "tokens are shown as ids (" in err and message in err
        status, out, err = run("generate", "--model", model, "--prompt", "a")
        assert (status, out) == (2, "") and message in err.splitlines()[-1]
        assert run("bench", "--model", model, "--backend", "golden", "--prompt-tokens", 1, "--decode-tokens", 1)[0] == 0
    assert load_checkpoint(gguf).eos_ids == [3, 50]


@pytest.mark.parametrize("stored, wanted", [
    ({"eos_token_id": [5, 6]}, [5, 6, 1]), ({"eos_token_id": 5}, [5, 1]), ({}, [1]), ({"eos_token_id": None}, [1]),
    ({"eos_token_id": "5"}, "eos_token_id is .'5'.; it must be a token id"), ([], "must be a JSON object"),
    ({"eos_token_id": [True]}, "must be a token id"),
])
def test_generation_config(checkpoint, stored, wanted):
    """Where transformers takes the ids that end a text from, in front of config.json."""
    (checkpoint / "generation_config.json").write_text(json.dumps(stored))
    if isinstance(wanted, list):
        assert load_checkpoint(checkpoint).eos_ids == wanted
    else:
        with pytest.raises(RequestError, match=wanted):
            load_checkpoint(checkpoint)


def test_quiet(run, checkpoint):
    assert run("generate", "-q", "--model", checkpoint, "--prompt-ids", "1", "--max-new-tokens", 1)[2] == ""


def test_new_tokens_end_with_the_context(run, checkpoint):
    status, out, _ = run("generate", "--model", checkpoint, "--prompt-ids", "1,2,3", "--context", 6, "--ignore-eos")
    assert status == 0 and len(out.split()) == 4


def test_every_lane_count_gives_the_same_tokens(run, checkpoint):
    outs = {run("generate", "--model", checkpoint, "--prompt-ids", "1,2,3", "--max-new-tokens", 8, "--config", config,
                "--ignore-eos", "--temperature", 0.8, "--seed", 3)[1] for config in ("nano", "slim", "kria")}
    assert len(outs) == 1


def test_compile_writes_image_and_listing(run, checkpoint, tmp_path):
    status, _, _ = run("compile", "--model", checkpoint, "--config", "nano", "-o", tmp_path / "m.image")
    assert status == 0
    assert (tmp_path / "m.image").stat().st_size > 10000
    assert "program" in (tmp_path / "m.lst").read_text()


def test_unwritable_output(run, checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = run("compile", "--model", checkpoint, "-o", tmp_path / "file" / "m.image")
    assert status == 2 and "Traceback" not in err


def test_memories(run, tmp_path):
    path = tmp_path / "memories.json"
    status, out, _ = run("memories", "--config", "slim", "--json", path)
    found = json.loads(path.read_text())
    assert status == 0 and found["bus_bytes"] == 8
    rows = {row["name"]: row for row in found["memories"]}
    assert set(rows) >= {"ideal", "ddr4", "hbm", "sdram", "sdram32"} and all(name in out for name in rows)
    assert rows["ideal"]["limit_beats_per_cycle"] == 1 and 0.24 < rows["sdram"]["limit_beats_per_cycle"] < 0.25
    assert rows["ddr4"]["dram_clocks"]["faw"] == 36
    status, _, err = run("memories", "--config", "gone")
    assert status == 2 and "unknown configuration" in err


def test_lists(run):
    assert "kria" in run("configs")[1]
    assert "smollm2" in run("models")[1]
    assert "ddr4" in run("memories")[1]
    assert "PROMPT_LENGTH" in run("registers")[1]
    assert "#define SCOVILLE_" in run("registers", "--format", "h")[1]


def test_help_is_quick_and_has_examples():
    """Help must not import the hardware language or the tokenizers."""
    code = ("import sys\nfrom scoville_host import cli\n"
            "try:\n    cli.main(['generate', '--help'])\nexcept SystemExit as stop:\n    assert not stop.code\n"
            "heavy = {'amaranth', 'torch', 'tokenizers', 'gguf', 'numpy'} & set(sys.modules)\nassert not heavy, heavy")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 'scoville generate --prompt "Once upon a time"' in done.stdout
