"""Reproducible Verilog: the same component gives the same bytes, on any machine and in any folder."""

import gc
import os
import re
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil, verilog

from .rtlil_text import without_assertions

__all__ = ["STRIP", "emit", "emit_rtlil", "from_rtlil"]

ATTRIBUTES = ("generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding")  # Amaranth's own
FUNCTION = re.compile(r"\\\$(procmux\$\d+ )")  # Icarus takes its name for a system function's
STRIP = "chformal -remove"  # what a Yosys script does before it builds anything: assertions are no hardware


@contextmanager
def _environment(values):
    """These variables for a while."""
    before = {name: os.environ.pop(name, None) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


@contextmanager
def _builtin_yosys():
    """Amaranth's own Yosys, as a system's makes other text; and a home, without which it does not start."""
    values = {"AMARANTH_USE_YOSYS": "builtin"}
    with ExitStack() as stack:
        if not os.access(os.path.expanduser("~"), os.W_OK | os.X_OK):
            values["HOME"] = stack.enter_context(TemporaryDirectory())
        stack.enter_context(_environment(values))
        yield


@contextmanager
def _all_live():
    """What Amaranth makes of a component lives until its text is there: looking for garbage took half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def emit_rtlil(component, name="top", platform=None, *, emit_src=False, assertions=True):
    """The component as RTLIL text; its ports are those of its signature, and clk and rst.

    A `platform` may give blocks of its own (`scoville.numerics.multiplier`). With `emit_src` every cell says which
    Python line made it: an absolute path, so not for what is kept. For `assertions` see `emit`.
    """
    with _all_live():
        text = rtlil.convert(component, name=name, platform=platform, emit_src=emit_src)
    return text if assertions else without_assertions(text)


def from_rtlil(text, *, system_verilog=True, keep_src=False):
    """Verilog text of RTLIL text, see `emit`; with `keep_src` each declaration says which Python line made it."""
    with _builtin_yosys():
        if system_verilog:
            return verilog._convert_rtlil_text(text, strip_internal_attrs=not keep_src, write_verilog_opts=("-sv",))
        return _plain(text, keep_src)


def _plain(text, keep_src):
    """As Amaranth writes Verilog, but every process becomes multiplexers: there is no ``always @*`` left to wait."""
    inner = " ".join(f"-remove {name}" for name in ATTRIBUTES)
    steps = [f"read_rtlil <<rtlil\n{text}\nrtlil", "proc -norom", "memory_collect",
             *([] if keep_src else [f"attrmap {inner}", f"attrmap -modattr {inner}"]), "write_verilog -norename"]
    text = find_yosys(lambda version: version >= (0, 40)).run(["-q", "-"], "\n".join(steps), ignore_warnings=True)
    return FUNCTION.sub(r"\\\1", text)


def emit(component, name="top", *, system_verilog=True, assertions=True):
    """Verilog of a component.

    Parameters
    ----------
    component : wiring.Component
    name : name of the top module
    system_verilog : write `always_comb` and `always_ff`, as Verilator's and Yosys's SystemVerilog modes read it. False
        for tools of Verilog-2005: combinational logic is in `assign` alone (docs/top.md says why).
    assertions : False for what is built: the same logic, without assertions and without what only they use

    Returns
    -------
    str
        One file with all modules; no absolute paths, no source locations, the same bytes every time.
    """
    return from_rtlil(emit_rtlil(component, name, assertions=assertions), system_verilog=system_verilog)
