"""``generate`` with several prompts and ``bench`` with many sequences: each as alone, numbers by hand, bad input."""

import json

import pytest
from checkpoints import random_tensors, write_huggingface
from scoville.schedule.records import Kind
from scoville_host.runtime.many.rings import Rings


@pytest.fixture
def model(tmp_path):
    return write_huggingface(tmp_path / "model", random_tensors())


def test_each_text_is_what_it_is_alone(run, tmp_path):
    """By bits: with temperature, shared pages, more prompts than slots, and few pages."""
    stem = "Once upon a time there was a little dog who liked to play in the garden with a ball. One day he "
    prompts = [stem + "ran", "The cat", stem + "sat", "Tom"]
    options = ("--max-new-tokens", 6, "--temperature", 0.9, "--seed", 5, "--context", 96, "--quiet")
    alone = [run("generate", "--prompt", prompt, *options)[1] for prompt in prompts]
    status, out, err = run("generate", *(word for prompt in prompts for word in ("--prompt", prompt)), *options,
                           "--slots", 2, "--pool-pages", 4, "--json", tmp_path / "out.json")
    assert (status, err) == (0, "")
    found = json.loads((tmp_path / "out.json").read_text())
    assert [one["text"] + "\n" for one in found["sequences"]] == alone
    order = sorted(range(4), key=lambda n: found["sequences"][n]["first_token"])
    assert sorted(out.split("\n")) == sorted("".join(f"[{n + 1}] {alone[n]}" for n in order).split("\n"))
    assert found["sequences"][2]["shared"] >= 32 and found["slots"] == 2 and found["pool_pages"] == 4
    assert found["generated_tokens"] == sum(one["generated_tokens"] for one in found["sequences"])


def test_prompts_of_a_file(run, tmp_path):
    """Each line says what is its own; the others are as the command says."""
    lines = [{"prompt": "The dog", "limit": 3}, {"ids": [5, 6, 7], "temperature": 2.0, "seed": 9, "priority": 4},
             {"prompt": "Tom", "seed": 1, "tenant": 3}]
    path = tmp_path / "p.jsonl"
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    status, out, _ = run("generate", "--prompts", path, "--json-lines", "--max-new-tokens", 5, "--temperature", 1.5)
    found = sorted((json.loads(line) for line in out.splitlines()), key=lambda one: one["prompt"])
    assert status == 0 and [one["prompt"] for one in found] == [1, 2, 3]
    for one, line in zip(found, lines, strict=True):
        what = ("--prompt", line["prompt"]) if "prompt" in line else ("--prompt-ids", ",".join(map(str, line["ids"])))
        run("generate", *what, "--max-new-tokens", line.get("limit", 5), "--temperature", line.get("temperature", 1.5),
            "--seed", line.get("seed", 0), "--json", tmp_path / "alone.json")
        alone = json.loads((tmp_path / "alone.json").read_text())
        assert (one["tokens"], one["text"]) == (alone["tokens"], alone["text"])
    (tmp_path / "p.txt").write_bytes(b'\xef\xbb\xbfThe dog\r\n\r\n{"a": 1}\n')
    status, out, err = run("generate", "--prompts", tmp_path / "p.txt", "--max-new-tokens", 1)
    assert status == 0 and len(out.splitlines()) == 2 and "2 prompts, 2 tokens in " in err


def test_one_prompt_of_a_file_is_one_of_many(run, tmp_path, model):
    (tmp_path / "p.jsonl").write_text('{"ids": [1, 2]}\n')
    status, out, _ = run("generate", "--model", model, "--prompts", tmp_path / "p.jsonl", "--max-new-tokens", 4)
    assert status == 0 and out.startswith("[1] ") and len(out.split()) == 5, "without a tokenizer ids are shown"


def test_the_end_of_a_text_ends_it(run, tmp_path, model):
    (tmp_path / "p.jsonl").write_text('{"ids": [1, 2]}\n{"ids": [1, 2], "temperature": 3, "seed": 1}\n')
    words = ("generate", "--model", model, "--prompts", tmp_path / "p.jsonl", "--max-new-tokens", 5, "--json-lines")
    first = json.loads(run(*words, "--ignore-eos")[1].splitlines()[0])
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": first["tokens"][1]}))
    ended = json.loads(run(*words)[1].splitlines()[0])
    length = first["tokens"].index(first["tokens"][1]) + 1
    assert (ended["reason"], ended["tokens"]) == ("STOP", first["tokens"][:length])
    assert json.loads(run(*words, "--ignore-eos")[1].splitlines()[0])["tokens"] == first["tokens"]


def test_a_prompt_that_the_chip_refuses_ends_alone(run, tmp_path, model, monkeypatch):
    (tmp_path / "p.jsonl").write_text('{"ids": [1, 2]}\n' * 3)
    put = Rings.put
    monkeypatch.setattr(Rings, "put", lambda rings, **fields: put(
        rings, **fields | ({"kind": 7} if fields["id"] == 1 and fields["kind"] == Kind.REQUEST else {})))
    status, out, err = run("generate", "--model", model, "--prompts", tmp_path / "p.jsonl", "--max-new-tokens", 2)
    assert status == 1 and sorted(line[:4] for line in out.splitlines()) == ["[1] ", "[2] ", "[3] "]
    assert "failed: [2] the chip refuses request 1, KIND: kind or a flag is unknown" in err
    assert err.splitlines()[-1] == "scoville: failed: not all prompts were continued"


@pytest.mark.parametrize("arguments, message", [
    (["--prompt", "a", "--prompts", "FILE"], "give either --prompt TEXT, perhaps several times, or --prompts FILE"),
    (["--prompt", "a", "--prompt", "b", "--prompt-ids", "1"], "--prompt-ids with several prompts"),
    (["--prompts", "FILE", "--chat", "x"], "--chat with several prompts; --prompts FILE.jsonl has texts and ids"),
    (["--prompts", "FILE", "--logits-out", "x"], "--logits-out with several prompts; it is of one"),
    (["--prompts", "FILE", "--trace", "x"], "--trace with several prompts"),
    (["--prompt-ids", "1", "--slots", "2"], "--slots with one prompt; it is of several"),
    (["--prompt-ids", "1", "--pool-pages", "9"], "--pool-pages with one prompt"),
    (["--prompt-ids", "1", "--json-lines"], "--json-lines with one prompt"),
    (["--prompts", "FILE", "--slots", "3"], "--slots is 3; it must be a power of two"),
    (["--prompts", "FILE", "--slots", "0"], "--slots is 0; it must be a power of two"),
    (["--prompts", "FILE", "--slots", "-2"], "--slots is -2; it must be a power of two"),
    (["--prompts", "FILE", "--slots", "65536"], "--slots is 65536; it must be a power of two, 1 to 32768"),
    (["--prompts", "FILE", "--pool-pages", "3"], "the pool has 3 pages; it must be 4, for a sequence of 128"),
    (["--prompts", "FILE", "--pool-pages", "99999999999"], "at most 16777216 pages have numbers"),
    (["--prompt", "a", "--prompt", "b", "--backend", "board"], "several --prompt: --backend board serves one sequence "
                                                               "at a time; it must be --backend golden or rtl"),
    (["--prompts", "FILE", "--memory", "ddr4"], "--memory with --backend golden; it is of rtl"),
    (["--prompts", "FILE", "--trace-tokens", "2"], "--trace-tokens with several prompts; it is of one"),
    (["--prompts", "FILE", "--port", "x"], "--port with several prompts; it is of one"),
    (["--prompts", "FILE", "--board", "x"], "--board with several prompts; it is of one"),
    (["--prompts", "FILE", "--baud", "9600"], "--baud with several prompts; it is of one"),
    (["--prompts", "FILE", "--backend", "gone"], "unknown backend 'gone'"),
    (["--prompts", "FILE", "--config", "gone"], "unknown configuration 'gone'"),
    (["--prompts", "FILE", "--max-new-tokens", "0"], "FILE line 1: 0 new tokens; it must be at least 1"),
    (["--prompts", "FILE", "--seed", "-1"], "FILE line 1: seed is -1"),
    (["--prompts", "FILE", "--temperature", "-1"], "FILE line 1: temperature is -1"),
    (["--prompts", "FILE", "--json", "FILE"], "--json and the input FILE are one file"),
    (["--prompt", "a", "--prompt", "b", "--raw", "--system", "x"], "--prompt 1: --system with --raw"),
    (["--prompts", "gone.txt"], "gone.txt: No such file"),
    (["--prompts", "/"], "/: Is a directory"),
    (["--prompt", "a", "--prompt", "b"], "has no tokenizer"),
])
def test_wrong_requests_of_many(run, model, tmp_path, arguments, message):
    path = tmp_path / "FILE.jsonl"
    path.write_text('{"ids": [1, 2]}\n{"ids": [3]}\n')
    words = [str(path) if word == "FILE" else word for word in arguments]
    status, out, err = run("generate", "--model", model, *words)
    last = err.splitlines()[-1].replace(str(path), "FILE")
    assert (status, out) == (2, "") and last.startswith("scoville: error: ") and message in last, last


@pytest.mark.parametrize("line, message", [
    ("{", "line 2: not valid JSON"), ("[1]", "line 2: must be a JSON object"), ('{"ids": []}', "line 2: the prompt is"),
    ("{}", "line 2: give either prompt or ids"), ('{"ids": [1], "prompt": "a"}', "line 2: give either prompt or ids"),
    ('{"ids": [70]}', "line 2: prompt token 70 is outside the vocabulary, 0 to 69"),
    ('{"ids": [1], "top_k": 3}', "line 2: 'top_k' is not known; there are: prompt, ids, limit"),
    ('{"ids": [1], "limit": 0}', "line 2: 0 new tokens"), ('{"ids": [1], "seed": 1.5}', "line 2: seed is 1.5"),
    ('{"ids": [1], "temperature": -1}', "line 2: temperature is -1"),
    ('{"ids": [1], "temperature": 1e300}', "line 2: temperature is 1e+300"),
    ('{"ids": [1], "priority": 256}', "line 2: priority is 256; it must be 0 to 255"),
    ('{"ids": [1], "tenant": -1}', "line 2: tenant is -1"), (f'{{"ids": {[1] * 129}}}', "line 2: the prompt has 129"),
    ("\xff", "not UTF-8 at byte 11"), ("", "line 1 of nothing"),
])
def test_wrong_lines(run, model, tmp_path, line, message):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"ids":[1]}' + b"\n" * bool(line.isascii()) + line.encode("latin-1") if line else b" \n\r\n")
    status, out, err = run("generate", "--model", model, "--prompts", path)
    message = "no line has anything in it" if not line else message
    assert (status, out) == (2, "") and message in err.splitlines()[-1] and "Traceback" not in err


def test_batch_by_hand(run, model, tmp_path):
    """Two seats: A's prompt has both; then A's last token and B's first, a token of each, B alone."""
    status, out, err = run("bench", "--model", model, "--config", "nano", "--backend", "golden", "--batch", 2,
                           "--prompt-tokens", 3, "--decode-tokens", 2, "--check", "--json", tmp_path / "b.json")
    found = json.loads((tmp_path / "b.json").read_text())
    assert status == 0 and "tokens and logits equal the golden model's, bit for bit" in err
    assert [one["first_token"] for one in found["sequences"]] == [2, 4]
    assert [one["between_tokens"] for one in found["sequences"]] == [[1], [1]]
    assert (found["passes"], found["idle"], found["tokens_per_pass"], found["seats_used"]) == (5, 0, 0.8, 0.8)
    assert (found["batch"], found["most_pages"], found["pool_pages"], found["preempted"]) == (2, 2, 8, 0)
    assert found["pool"] == {"passes": [1, 3, 5], "running": [2, 1, 0], "free": [6, 7, 8], "shared": [0, 0, 0],
                             "parked": [0, 0, 0]}
    assert found["first_token"] == {"count": 2, "mean": 3, "p50": 2, "p90": 4, "p99": 4, "max": 4}
    assert found["golden_match"] is True and found["cycles"] is None and found["unit"] == "passes"
    assert "tokens_per_pass: 0.800" in out and "between tokens" in out


def test_trace_by_hand(run, model, tmp_path):
    """A request that comes into an idle chip, one that comes while it computes, one much later."""
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"arrival": at, "prompt": 3, "output": 3}) + "\n" for at in (20.0, 2.0, 2.2)))
    status, *_ = run("bench", "--model", model, "--backend", "golden", "--trace-of-requests", path,
                     "--passes-per-second", 2.5, "--json", tmp_path / "b.json")
    found = json.loads((tmp_path / "b.json").read_text())
    a, b, c = found["sequences"]  # at 5, 5.5 and 50 passes
    assert status == 0 and [one["arrival"] for one in (a, b, c)] == [5, 5.5, 50]
    assert a["first_token"] == c["first_token"] == 2 and a["between_tokens"] == [1, 1]
    assert b["first_token"] == pytest.approx(9 - 5.5) and b["between_tokens"] == [1, 1]
    assert found["passes"] == 6 + 4 and found["idle"] == 50 - 6


def test_few_pages(run, model, tmp_path):
    status, _, err = run("bench", "--model", model, "--config", "kria", "--backend", "golden", "--batch", 2, "--check",
                         "--prompt-tokens", 31, "--decode-tokens", 40, "--pool-pages", 4, "--json", tmp_path / "b.json")
    found = json.loads((tmp_path / "b.json").read_text())
    assert status == 0 and found["preempted"] > 0 and found["most_pages"] == 4 and found["golden_match"]
    assert sum(one["preempted"] for one in found["sequences"]) == found["preempted"]


def test_a_difference_fails(run, model, another_golden):
    status, out, err = run("bench", "--model", model, "--backend", "golden", "--batch", 2, "--check",
                           "--prompt-tokens", 1, "--decode-tokens", 1)
    assert status == 1 and err.splitlines()[-1] == "scoville: failed: tokens or logits differ from the golden model's"


@pytest.mark.parametrize("arguments, message", [
    (["--batch", "0"], "--batch is 0; it must be at least 1"),
    (["--batch", "2", "--backend", "board"], "--batch is 2: --backend board serves one"),
    (["--trace-of-requests", "FILE", "--backend", "board"], "--trace-of-requests: --backend board serves one"),
    (["--trace-of-requests", "FILE", "--memory", "ddr4"], "--memory with --backend golden; it is of rtl"),
    (["--trace-of-requests", "FILE", "--backend", "rtl", "--passes-per-second", "2"],
     "--passes-per-second with --backend rtl, whose seconds are its memory's clock's; it is of golden"),
    (["--batch", "2", "--passes-per-second", "2"], "--passes-per-second without --trace-of-requests"),
    (["--passes-per-second", "2"], "--passes-per-second without --trace-of-requests"),
    (["--batch", "2", "--trace-tokens", "2"], "--trace-tokens with many sequences; it is of one"),
    (["--trace-of-requests", "FILE", "--batch", "2"], "--batch with --trace-of-requests, which says what comes"),
    (["--trace-of-requests", "FILE", "--prompt-tokens", "2"], "--prompt-tokens with --trace-of-requests"),
    (["--trace-of-requests", "FILE", "--passes-per-second", "0"], "--passes-per-second is 0"),
    (["--trace-of-requests", "FILE", "--passes-per-second", "inf"], "--passes-per-second is inf"),
    (["--trace-of-requests", "FILE", "--json", "FILE"], "are one file"),
    (["--trace-of-requests", "gone"], "gone: No such file"),
    (["--trace-of-requests", "FILE", "--context", "2"], "request 1 has 2 prompt and 2 output tokens, which do not fit"),
    (["--batch", "2", "--prompt-tokens", "0"], "0 prompt and 16 decode tokens; each must be at least 1"),
    (["--batch", "2", "--decode-tokens", "120"], "do not fit a context of 128"),
    (["--batch", "2", "--position", "9"], "--position with many sequences; it is of one"),
    (["--batch", "2", "--trace", "x"], "--trace with many sequences"),
    (["--slots", "2"], "--slots with one sequence; it is of many: --batch or --trace-of-requests"),
    (["--batch", "1", "--pool-pages", "9"], "--pool-pages with one sequence"),
    (["--batch", "2", "--slots", "6"], "--slots is 6; it must be a power of two"),
    (["--batch", "2", "--pool-pages", "1"], "the pool has 1 pages"),
])
def test_wrong_benches(run, model, tmp_path, arguments, message):
    path = tmp_path / "t.jsonl"
    path.write_text('{"arrival": 0, "prompt": 2, "output": 2}\n')
    words = [str(path) if word == "FILE" else word for word in arguments]
    status, out, err = run("bench", "--model", model, "--backend", "golden", *words)
    assert (status, out) == (2, "") and message in err.splitlines()[-1], err
