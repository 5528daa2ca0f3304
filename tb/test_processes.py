"""A test that ends leaves no simulator behind: it fails, is interrupted, or pytest is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
MARK = "SCOVILLE_TEST_OF_PROCESSES"
HANGS = """
import cocotb
import harness
import test_harness
from cocotb.triggers import Timer


@cocotb.test()
async def hangs(dut):
    while True:
        await Timer(1, "us")


def test_hangs(sim):
    harness.run(test_harness.Hung, __name__, sim=sim)
"""


def marked(mark):
    """Command lines of the processes with this mark in their environment, which all their descendants inherit."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended, or is not ours
            continue
    return found


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "workers"), [("SIGKILL", 1), ("SIGTERM", 1), ("SIGTERM", 0), ("SIGINT", 0)])
def test_pytest_ends(sim, tmp_path, number, workers):
    """pytest, or its controller, gets a signal while a simulator runs that would run for ever."""
    (tmp_path / "test_inner.py").write_text(HANGS)
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    mark = f"{tmp_path} {os.getpid()}"
    environment = os.environ | {MARK: mark, "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{tmp_path}"}
    command = [*PYTEST, "-n", str(workers), "--rootdir", tmp_path, "--sim", sim, tmp_path / "test_inner.py"]
    simulator = "vvp -m" if sim == "icarus" else "/top "
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as outer:
        wait_until(lambda: any(simulator in line for line in marked(mark)))
        outer.send_signal(getattr(signal, number))
        wait_until(lambda: not marked(mark), 20)
    assert outer.returncode


def test_what_a_command_starts_ends_with_it():
    """A grandchild, of a command that ends by itself and of one that takes too long."""
    environment = os.environ | {MARK: "grandchild"}
    assert processes.run(["sh", "-c", "sleep 1000 & exit 3"], 60, env=environment) == 3
    wait_until(lambda: not marked("grandchild"), 5)
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(["sh", "-c", "sleep 1000 & sleep 1000"], 0.3, env=environment)
    wait_until(lambda: not marked("grandchild"), 5)


def test_a_process_that_is_left_fails_its_test(tmp_path):
    """The gate of conftest.py, on a test that passes but for the process that it leaves."""
    (tmp_path / "test_inner.py").write_text(
        "import subprocess\n\n\n"
        "def test_leaves():\n    subprocess.Popen(['sh', '-c', 'setsid sleep 1000 & setsid sleep 1000 & wait'])\n")
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    environment = os.environ | {MARK: str(tmp_path), "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([*PYTEST, "--rootdir", tmp_path, tmp_path / "test_inner.py"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "left processes running" in done.stdout
    wait_until(lambda: not marked(tmp_path), 5)
