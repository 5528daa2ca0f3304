"""Running other programs. What PyPI's packages installed beside this Python is found from any shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["find_tool", "run_tool", "tool_path"]


def tool_path():
    """The PATH on which tools are looked for: the folder of this Python, then the user's."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def find_tool(name):
    """Where a tool is, or None."""
    return shutil.which(name, path=tool_path())


def run_tool(command, *, cwd=None, environment=None, **options):
    """Run a program to its end.

    Parameters
    ----------
    command : list; whatever is no text becomes it
    environment : dict of variables, beside this process's own
    options : of `subprocess.run`

    Returns
    -------
    `subprocess.CompletedProcess`, whatever the status, with both outputs as text

    Raises
    ------
    OSError
        If it cannot be started.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(list(map(str, command)), cwd=cwd, encoding="utf-8", errors="replace", check=False,
                          env=os.environ | {"PATH": tool_path()} | (environment or {}), **streams)
