"""Many sequences on the backend ``rtl``: once on the RTL, else on a chip that is faked, with all that can go wrong."""

import dataclasses
import json

import pytest
import scoville_sim
from checkpoints import random_tensors, write_huggingface
from fake_chip import PASS, FakeChip
from scoville.config import CONFIGS
from scoville.registers import Status
from scoville_host import cli
from scoville_host.runtime.many import rtl
from scoville_sim import SettingError, SimError

# The build of tb/chip/many_machine.py.
NANO4 = dataclasses.replace(CONFIGS["nano"], slots=4, pool_pages=32, slot_pages=8)
BENCH = ("bench", "--config", "nano", "--batch", 3, "--prompt-tokens", 5, "--decode-tokens", 4)


@pytest.fixture
def run(capsys, tmp_path):
    """Run the command on a small model: (status, standard output, standard error, JSON or None)."""
    model = write_huggingface(tmp_path / "model", random_tensors())

    def call(*arguments):
        path = tmp_path / "out.json"
        path.unlink(missing_ok=True)
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in (*arguments, "--model", model, "--json", path)])
        out, err = capsys.readouterr()
        return stop.value.code, out, err, json.loads(path.read_text()) if path.exists() else None
    return call


@pytest.fixture
def fake(monkeypatch):
    """Chips are faked; what is appended to the list is called with each before its passes."""
    hooks = []

    class Chip(FakeChip):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.hook = hooks[0] if hooks else self.hook

    monkeypatch.setattr(FakeChip, "made", [])
    monkeypatch.setattr(scoville_sim, "VerilatedChip", Chip)
    yield hooks
    assert all(chip.closed for chip in FakeChip.made)


def test_on_the_rtl(run, tmp_path, monkeypatch):
    """More prompts than slots, some with temperature: tokens and logits of each as the golden model's."""
    monkeypatch.setitem(CONFIGS, "nano", NANO4)
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"ids": list(range(n + 1, 4 * n + 2)), "temperature": n % 2, "seed": n}) + "\n"
                            for n in range(5)))
    status, out, err, found = run("generate", "--config", "nano", "--prompts", path, "--max-new-tokens", 3,
                                  "--ignore-eos", "--backend", "rtl", "--memory", "random")
    assert status == 0 and len(out.splitlines()) == 5, err
    assert "simulating configuration nano with 4 slots" in err
    assert err.splitlines()[-1] == "scoville: tokens and logits equal the golden model's, bit for bit"
    assert found["golden_match"] and found["generated_tokens"] == 15 and found["unit"] == "cycles"
    assert found["beats"] < found["cycles"] and 0.1 < found["bus_utilisation"] < 1
    assert found["first_token"]["max"] < found["cycles"] and found["between_tokens"]["count"] == 10
    assert found["passes"] > 35 / 2


def test_numbers(run, fake):
    """As many passes as the golden model has, and what no register says is neither printed nor made up."""
    status, out, err, found = run(*BENCH, "--check", "--memory", "lpddr4")
    golden = run(*BENCH, "--backend", "golden")[3]
    assert status == 0 and found["golden_match"] and found["passes"] == golden["passes"] > 5, err
    assert found["seats_used"] is found["most_pages"] is found["pool"] is None
    assert golden["seats_used"] and golden["pool"]["passes"]
    assert "seats_used" not in out and "most_pages" not in out
    cycles = found["cycles"]
    assert cycles == found["passes"] * PASS and found["cycles_per_token"] == cycles / 12
    assert found["beats"] == cycles * 3 / 4 and found["bus_utilisation"] == 0.75
    assert found["memory_limit_beats_per_cycle"] == pytest.approx(0.72, abs=0.03)
    assert found["utilisation_of_memory"] == 0.75 / found["memory_limit_beats_per_cycle"]
    assert f"cycles: {cycles:,}" in out and "bus_utilisation: 0.75" in out and "to the first token" in out
    assert FakeChip.made[0].timing == scoville_sim.get_memory("lpddr4") and FakeChip.made[0].config.slots == 4


def test_a_request_is_sent_when_it_comes(run, fake, tmp_path):
    """While the prompt before has no completion yet; a second is 300 million cycles."""
    path, taken = tmp_path / "t.jsonl", []
    path.write_text("".join(json.dumps({"arrival": passes * PASS / 300e6, "prompt": 40, "output": 1}) + "\n"
                            for passes in (0, 3.5, 1e6, 1e6 + 3.5)))
    fake.append(lambda chip: taken.append(chip.many.submission.tail) and False)
    status, _, err, found = run("bench", "--config", "nano", "--trace-of-requests", path)
    assert status == 0, err
    assert [taken.index(count) for count in (1, 2, 3, 4)] == [0, 4, 40, 44]
    assert [one["arrival"] for one in found["sequences"]] == pytest.approx([0, 3500, 1e9, 1e9 + 3500])
    assert found["cycles"] == found["passes"] * PASS == 80 * PASS and found["idle"] == pytest.approx(1e9 - 40 * PASS)


def stop(chip):
    chip.many.status = Status.WRITE_ERROR


def lose(chip):
    chip.many.submission.take = lambda: None


def break_rules(chip):
    raise SimError("cycle 7: m_axi.ar: ARVALID was taken back")


@pytest.mark.parametrize("hook, message", [
    (stop, "the chip stopped: WRITE_ERROR at 0x0"),
    (lose, "the chip has nothing to do, and 3 sequences have not ended"),
    (lambda chip: True, f"no interrupt for {20 * rtl.PATIENCE:,} cycles"),
    (break_rules, "cycle 7: m_axi.ar: ARVALID was taken back"),
])
@pytest.mark.parametrize("command", [BENCH, (
    "generate", "--config", "nano", "--prompts", "FILE", "--backend", "rtl")], ids=["bench", "generate"])
def test_a_run_that_fails(run, fake, tmp_path, monkeypatch, command, hook, message):
    """One line, status 1, and it ends."""
    monkeypatch.setattr(rtl, "SLICES", 20)
    fake.append(hook)
    (tmp_path / "p.jsonl").write_text('{"ids": [1, 2]}\n' * 3)
    status, out, err, found = run(*(tmp_path / "p.jsonl" if word == "FILE" else word for word in command))
    assert (status, out, found) == (1, "", None) and err.splitlines()[-1] == f"scoville: failed: {message}"


@pytest.mark.parametrize("error, status, message", [
    (SettingError("JOBS is 'x'"), 2, "error: JOBS is 'x'"), (SimError("linking failed"), 1, "failed: linking failed"),
    (MemoryError(), 2, "error: 4 slots and 16 pages need")])
def test_a_chip_that_is_not_built(run, monkeypatch, error, status, message):
    def build(*arguments, **options):
        raise error
    monkeypatch.setattr(scoville_sim, "VerilatedChip", build)
    found = run(*BENCH)
    assert found[0] == status and found[2].splitlines()[-1].startswith(f"scoville: {message}")


def test_a_chip_of_one_slot_has_no_rings(run, fake, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"ids": [1, 2]}\n')
    words = ("generate", "--prompts", tmp_path / "p.jsonl", "--backend", "rtl", "--max-new-tokens", 1)
    status, *_, found = run(*words)
    assert (status, found["slots"]) == (0, 2)
    status, _, err, _ = run(*words, "--slots", 1)
    assert status == 2 and err.splitlines()[-1].endswith("--slots is 1; it must be a power of two, 2 to 32768")


@pytest.mark.parametrize("words", [("generate", "--prompt-ids", "1,2"), ("bench",)])
def test_a_chip_of_many_slots_takes_no_single_prompt(run, fake, words):
    status, _, err, _ = run(*words, "--config", "kria16", "--backend", "rtl")
    assert status == 2 and "kria16 has 16 slots" in err and "--prompts FILE" in err and not FakeChip.made


def test_a_wrong_prompt_builds_nothing(run, fake, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"ids": [1, 2]}\n{"ids": [70]}\n')
    status, *_, err, _ = run("generate", "--prompts", tmp_path / "p.jsonl", "--backend", "rtl")
    assert status == 2 and "line 2: prompt token 70 is outside" in err and not FakeChip.made


@pytest.mark.parametrize("check", [True, False])
def test_a_difference_fails_unless_nobody_looks(run, fake, tmp_path, another_golden, check):
    (tmp_path / "p.jsonl").write_text('{"ids": [1, 2]}\n' * 2)
    status, *_, err, found = run("generate", "--prompts", tmp_path / "p.jsonl", "--backend", "rtl",
                                 *([] if check else ["--no-check"]))
    assert (status, found["golden_match"]) == ((1, False) if check else (0, None))
    assert ("failed: tokens or logits differ from the golden model's" in err) == check
