"""Outputs: whole or not at all, through links and devices, with the permissions that were there, never two in one."""

import os
import stat
import threading

import pytest
from scoville_host.errors import RequestError
from scoville_host.files import check_outputs, write_bytes, write_text


def modes(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_links_are_written_through(tmp_path):
    target, link, dangling = tmp_path / "target", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"old")
    link.symlink_to("target")
    dangling.symlink_to(tmp_path / "new" / "file")
    write_bytes(link, b"new")
    write_bytes(dangling, b"there")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert dangling.is_symlink() and (tmp_path / "new" / "file").read_bytes() == b"there"
    os.link(target, tmp_path / "second")
    write_bytes(target, b"both")
    assert (tmp_path / "second").read_bytes() == b"both"


def test_devices_and_pipes_stay(tmp_path):
    """The device is a terminal of the test's own: a fault here must not take /dev/null from the machine."""
    master, slave = os.openpty()
    write_bytes(os.ttyname(slave), b"through")
    assert os.read(master, 100) == b"through"
    os.close(master)
    os.close(slave)
    pipe, came = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: came.append(pipe.read_bytes()))
    reader.start()
    write_bytes(pipe, b"through")
    reader.join(10)
    assert came == [b"through"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_permissions(tmp_path):
    path, fresh = tmp_path / "kept", tmp_path / "fresh"
    path.touch()
    path.chmod(0o640)
    write_text(path, "ä")
    before = os.umask(0o027)
    write_text(fresh, "")
    os.umask(before)
    assert (modes(path), modes(fresh)) == (0o640, 0o640) and path.read_bytes() == "ä".encode()


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(RequestError, match=r"file: No space left on device$"):
        write_bytes(path, b"new")
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"old"


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in ((tmp_path, "a folder"), ("", "a folder"), (tmp_path / "file" / "x", "Not a directory"),
                         (tmp_path / ("x" * 300), "File name too long"), (tmp_path / "loop", "Too many levels")):
        with pytest.raises(RequestError, match=f"^--json .*: {reason}"):
            check_outputs({"--json": path})
    for one, other in (("file", "link"), ("new", "./new"), ("a/../new", "new")):
        (tmp_path / "a").mkdir(exist_ok=True)
        with pytest.raises(RequestError, match="^--trace and --json are one file"):
            check_outputs({"--json": f"{tmp_path}/{one}", "--logits-out": None, "--trace": f"{tmp_path}/{other}"})
    with pytest.raises(RequestError, match="^--json and the input .* are one file"):
        check_outputs({"--json": tmp_path / "link"}, inputs=["tiny", tmp_path / "file"])
    check_outputs({"--json": "/dev/null", "--trace": "/dev/null", "--logits-out": tmp_path / "x" / "y"})
    assert sorted(os.listdir(tmp_path)) == ["a", "file", "link", "loop"]
