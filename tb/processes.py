"""Processes that a test starts end with it, however it ends: by itself, by a failure, an interrupt, or a kill."""

import ctypes
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

__all__ = ["adopt", "children", "end", "run"]

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_prctl = ctypes.CDLL(None).prctl


def _die_with(parent):
    """In a new process: be killed when `parent` is gone, which no handler of the parent can prevent."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def run(command, seconds, **options):
    """Run a command in a process group of its own, and leave nothing of the group behind.

    Parameters
    ----------
    command : list of str
    seconds : wall-clock time after which the group is killed
    options : of `subprocess.Popen`

    Returns
    -------
    int : the exit status

    Raises
    ------
    subprocess.TimeoutExpired : the command took longer; it has ended by then.
    """
    parent = os.getpid()
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=lambda: _die_with(parent), **options)
    try:
        return process.wait(seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def adopt():
    """Let orphans among our descendants become our own children, so that `children` finds them."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _parents():
    """The parent of every process that runs: {pid: parent's pid}; those that have ended already are left out."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has gone in the meantime
            state, parent = path.read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(path.parent.name)] = int(parent)
    return parents


def children():
    """Process ids of this process's children that still run."""
    return {pid for pid, parent in _parents().items() if parent == os.getpid()}


def end(pids):
    """Kill processes, each with what it has started."""
    parents, dead = _parents(), set(pids)
    while more := {pid for pid, parent in parents.items() if parent in dead} - dead:
        dead |= more
    for pid in dead:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
