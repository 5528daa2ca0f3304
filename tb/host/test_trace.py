"""The recorded trace port: every cycle belongs to one instruction, and the counters say the same."""

import json

import numpy as np
import pytest
from checkpoints import random_tensors, write_huggingface
from scoville.config import get_config
from scoville.isa import Opcode
from scoville.registers import STALLS
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.cli import main
from scoville_host.compiler.compiler import compile_model
from scoville_host.report.summary import passes
from scoville_host.report.timeline import Timeline, by_kind
from scoville_host.report.trace import SLICES, chrome_trace, merged, spans
from scoville_host.runtime import generate as work
from scoville_host.runtime import rtl
from scoville_host.runtime.rtl import RtlBackend

PROMPT, NEW = [3, 1, 4, 1, 5], 3


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = write_huggingface(tmp_path_factory.mktemp("model"), random_tensors())
    return compile_model(load_checkpoint(folder), get_config("nano"))


@pytest.fixture(scope="module")
def result(image):
    return RtlBackend(record=True).generate(image, PROMPT, NEW)


@pytest.fixture(scope="module")
def whole(image, result):
    return Timeline(image, result.activity, len(PROMPT), NEW, tokens=NEW + 1)


def test_the_recording_and_the_counters_agree(image, result):
    """In the passes that made a token, and by the difference in those before."""
    counts = [Timeline(image, result.activity, len(PROMPT), NEW, tokens=tokens) for tokens in (NEW - 1, NEW)]
    assert counts[0].cycles == result.decode_cycles
    cycles = np.bincount(counts[1].members["charged"], minlength=1 + len(STALLS))
    assert cycles[0] <= result.work and cycles.sum() <= result.cycles
    assert all(count <= result.stalls[name] for name, count in zip(STALLS, cycles[1:], strict=True))


def test_every_cycle_has_an_owner(whole):
    owned = [each for each in whole.instructions if each.first is not None]
    assert owned[0].first == 0 and owned[-1].last == whole.cycles
    for before, each in zip(owned, owned[1:], strict=False):
        assert each.first == before.last
    for each in owned:
        assert each.work + sum(each.stalls.values()) == each.last - each.first
    kinds = by_kind(whole)
    assert {"q", "k", "v", "o", "gate_up", "down", "lm_head", "attention", "end of the pass"} == set(kinds)
    assert sum(kind["cycles"] for kind in kinds.values()) == whole.cycles


def test_work_of_an_instruction(image, whole):
    """A matrix keeps the array busy for as long as its size says."""
    config = image.config
    for each in whole.instructions:
        if each.fields["opcode"] is Opcode.LINEAR:
            assert each.work == each.fields["tiles"] * each.fields["kblocks"] * config.interleave * config.block_cycles


def test_begin_and_end(image, result, whole):
    program = list(whole.program(True))
    assert [each.name for each in whole.instructions] == [name for name, _ in program] * NEW
    last = [number for number, each in enumerate(passes(len(PROMPT), NEW, image.config.lanes)) if each[2]]
    assert sorted({each.number for each in whole.instructions}) == last
    for before, each in zip(whole.instructions, whole.instructions[1:], strict=False):
        assert before.taken < each.taken
        assert each.taken < each.begin <= each.end <= whole.cycles
        if each.fields["wait"]:  # it may take operands as they are written, and ends after all that it needs
            assert all(other.begin <= each.begin and other.end <= each.end for other in whole.instructions
                       if other.taken < each.taken and other.fields["opcode"] is not Opcode.LOAD)


def test_chrome_trace(whole):
    trace = chrome_trace(whole)
    rows = {event["args"]["name"]: event["tid"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    assert {"front end", "back end", "array", "stream reader", "weight decoder", "softmax", "epilogue chain",
            "quantiser", "KV store", "writer", "sampler"} <= set(rows)
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    for row in rows.values():
        mine = [event for event in slices if event["tid"] == row]
        assert len(mine) <= 2 * SLICES
        assert all(event["ts"] >= 0 and event["ts"] + event["dur"] <= whole.cycles for event in mine)
    array = [event for event in slices if event["tid"] == rows["array"]]
    assert sum(event["dur"] for event in array) == whole.cycles
    other = trace["otherData"]
    assert other["work"] + sum(other["stalls"].values()) == other["cycles"] == whole.cycles
    assert not other["cut"]


def test_a_short_recording_ends_with_the_sequence(monkeypatch, image, whole):
    monkeypatch.setattr(rtl, "RECORD", 400)
    result = RtlBackend(record=True).generate(image, PROMPT, NEW)
    assert result.activity[2] and len(result.activity[0]) == 400
    short = Timeline(image, result.activity, len(PROMPT), NEW, tokens=2)
    assert short.cut and short.cycles < whole.cycles
    assert [each.name for each in short.instructions] == [
        each.name for each in whole.instructions[-len(short.instructions):]]


def test_long_rows_are_thinned():
    level = np.tile([True] * 20 + [False] * 20, 4 * SLICES)
    assert len(spans(level)[0]) == 4 * SLICES
    begin, end, busy = merged(level)
    assert len(begin) <= SLICES and busy.sum() == level.sum() and (begin < end).all() and (end[:-1] < begin[1:]).all()


@pytest.mark.parametrize("arguments, message", [
    (["--trace", "t.json", "--backend", "golden"], "only rtl has cycles"),
    (["--trace", "t.json", "--backend", "rtl", "--trace-tokens", "0"], "must be at least 1"),
])
def test_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["generate", "--model", "tiny", "--prompt", "a", *arguments])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_command(tmp_path, image):
    path = tmp_path / "t.json"

    class Session:
        tokenizer = None

    Session.image = image
    found, _ = work.generate(Session, PROMPT, 2, backend="rtl", check=False, trace=path)
    assert json.loads(path.read_text())["otherData"]["cycles"] == found["decode_cycles"]
