"""The backend board against a fake one: text, retries, and every error that a user can meet."""

import os

import numpy as np
import pytest
import serial
from checkpoints import random_tensors, write_huggingface
from fake_board import FakeBoard
from scoville.config import get_config
from scoville_host import cli
from scoville_host.runtime import link

NANO = get_config("nano")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(link, "WAIT", 0.2)


@pytest.fixture
def run(capsys, tmp_path):
    """`scoville generate --backend board` on random weights: (status, standard output, standard error)."""
    checkpoint = write_huggingface(tmp_path / "model", random_tensors())

    def call(port, *arguments, ends=False):
        with pytest.raises(SystemExit) as stop:
            cli.main(["generate", "--backend", "board", "--model", str(checkpoint), "--prompt-ids", "1,2,3",
                      "--max-new-tokens", "4", *([] if ends else ["--ignore-eos"]),
                      *(["--port", str(port)] if port else []), *arguments])
        out, err = capsys.readouterr()
        return stop.value.code, out, err
    return call


def test_text_equals_golden(run, tmp_path):
    with FakeBoard(NANO) as board:
        status, out, err = run(board.port, "--logits-out", str(tmp_path / "logits.npy"))
        assert (status, len(out.split())) == (0, 4)
        assert "uploaded and verified" in err and "tokens and logits equal the golden model's" in err
        assert np.load(tmp_path / "logits.npy").shape == (4, 70)
        frames = board.frames
        status, again, err = run(board.port)
        assert (status, again) == (0, out) and "already on the board" in err
        assert board.chip.starts == 2 and board.frames - frames < frames


def test_more_stop_tokens_than_registers(run, tmp_path):
    """Whichever of nine ends the text, the board's tokens and logits are the golden model's."""
    with FakeBoard(NANO) as board:
        tokens = [int(token) for token in run(board.port)[1].split()]
        others = [token for token in range(2, 70) if token not in tokens][:8]
        for at in (3, 8):
            ends = others[:at] + [tokens[0]] + others[at:]
            (tmp_path / "model" / "generation_config.json").write_text(f'{{"eos_token_id": {ends}}}')
            status, out, err = run(board.port, ends=True)
            assert status == 0 and "tokens and logits equal the golden model's" in err
            assert out.split() == [str(tokens[0])]


def test_only_what_differs_is_sent(run):
    with FakeBoard(NANO) as board:
        run(board.port)
        frames = board.frames
        run(board.port)
        same = board.frames - frames
        board.memory[5] ^= 1
        status, _, err = run(board.port)
        assert status == 0 and "uploaded and verified" in err
        assert board.frames - frames - 2 * same < 16384 // 1024 + 40


def test_noise_is_retried(run):
    def spoil(number, line):
        if number % 7 == 3:
            return None
        if number % 7 == 5:
            return b"\3" + line[1:]
        return line

    with FakeBoard(NANO, spoil=spoil) as board:
        status, _, err = run(board.port, "--quiet")
        assert (status, err) == (0, "")
        assert board.chip.starts == 1  # a lost answer does not start the chip again


def test_no_room_for_logits(run, tmp_path):
    with FakeBoard(NANO) as board:
        run(board.port)
        used = 1 + max(np.flatnonzero(board.memory))
    with FakeBoard(NANO, memory_bytes=-(-(used - 4 * 288) // 4096) * 4096) as board:
        status, _, err = run(board.port)
        assert status == 0 and ("only tokens can be compared" in err) == ("tokens equal the golden model's" in err)
    with FakeBoard(NANO, memory_bytes=8192) as board:
        status, _, err = run(board.port)
        assert status == 2 and "bytes; the board has 8,192 (see --context, --weights)" in err


@pytest.mark.parametrize("arguments, message", [
    ([], "--backend board needs --port"),
    (["--port", "/dev/gone"], "no serial port /dev/gone; there are:"),
    (["--port", "/dev/gone", "--baud", "0"], "--baud is 0"),
])
def test_no_port(run, arguments, message):
    status, _, err = run(None, *arguments)
    assert (status, err.count("\n")) == (2, 1) and message in err


def test_port_in_use(run):
    with FakeBoard(NANO) as board, serial.Serial(board.port, exclusive=True):
        status, _, err = run(board.port)
    assert status == 2 and "is in use by another program" in err


def test_a_rate_beyond_any(run):
    with FakeBoard(NANO) as board:
        status, _, err = run(board.port, "--baud", "99999999999")
    assert (status, err.count("\n")) == (2, 1) and "at 99999999999 baud (--baud): " in err


def test_no_permission(run, monkeypatch):
    def refuse(*arguments, **options):
        raise serial.SerialException(13, "Permission denied")

    monkeypatch.setattr(serial, "Serial", refuse)
    status, _, err = run("/dev/ttyUSB0")
    assert status == 2 and "no permission to open /dev/ttyUSB0; add yourself to its group" in err


def test_no_answer(run):
    ours, theirs = os.openpty()
    status, _, err = run(os.ttyname(theirs))
    os.close(ours)
    os.close(theirs)
    assert (status, err.count("\n")) == (2, 1)
    assert "no board answers on" in err and "is it programmed" in err


@pytest.mark.parametrize("arguments, message", [
    (["--board", "ulx3s"], "is programmed for fake, not for ulx3s"),
    (["--config", "kria"], "wrong bitstream: the board on {port} has configuration nano, not kria"),
])
def test_another_board(run, arguments, message):
    with FakeBoard(NANO) as board:
        status, _, err = run(board.port, *arguments)
        assert (status, err.count("\n")) == (2, 1) and message.format(port=board.port) in err


def test_cable_pulled(run):
    with FakeBoard(NANO, after=20) as board:
        status, _, err = run(board.port, "--quiet")
    assert (status, err.count("\n")) == (1, 1)
    assert "was the cable pulled?" in err


def test_board_reset_in_mid_run(run):
    board = FakeBoard(NANO)

    def spoil(number, line):
        if number == 20:
            board.link.last = None
        return line

    board.spoil = spoil
    with board:
        status, _, err = run(board.port, "--quiet")
    assert status == 1 and "the board has lost the session" in err


def test_memory_that_does_not_hold(run):
    board = FakeBoard(NANO)

    def spoil(number, line):
        board.memory[100] = 0x5A ^ board.frames & 255
        return line

    board.spoil = spoil
    with board:
        status, _, err = run(board.port, "--quiet")
    assert status == 1 and "its memory does not hold it" in err
