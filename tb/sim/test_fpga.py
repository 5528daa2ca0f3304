"""`make fpga`: boards, report, reproducible bitstream and enforced clock, on a counter in place of the chip."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scoville_sim import fpga

TOP = '''"""A multiplier and a counter on ULX3S."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import io
from scoville.checks import check
from scoville.vendor.ecp5 import Clocks
from scoville_sim.fpga import load

platform = load("ulx3s").platform


class Top(Elaboratable):
    def __init__(self, clock_hz):
        self.clock_hz = clock_hz

    def elaborate(self, platform):
        m = Module()
        m.submodules.pin = pin = io.Buffer("i", platform.request("clk25", dir="-"))
        m.submodules.clocks = Clocks(pin.i, 25_000_000, self.clock_hz)
        count, square = Signal(18), Signal(36)
        m.d.sync += [count.eq(count + 1), square.eq(count * count + square)]
        check(m, square != 3, "no hardware, and nothing that a router knows")
        m.d.comb += platform.request("led", 0).o.eq(square[-1])
        return m


def top(clock_hz=50_000_000):
    return Top(clock_hz)
'''


def command(*arguments, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run([sys.executable, "-m", "scoville_sim.fpga", *map(str, arguments)], cwd=folder,
                          env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(request):
    """In the repository: the tools see another /tmp than we do."""
    path = fpga.ROOT / "build" / "test_fpga" / request.node.name
    (path / "boards" / "counter").mkdir(parents=True, exist_ok=True)
    (path / "boards" / "counter" / "top.py").write_text(TOP)
    return path


def test_boards_have_what_a_board_needs():
    assert {"ulx3s", "ulx3s-bram"} <= set(fpga.boards())
    for name in fpga.boards():
        assert (fpga.ROOT / "constraints" / name / "README.md").exists()
        module = fpga.load(name)
        assert module.CONFIG and module.CLOCK_HZ and module.platform() and module.top


def test_unknown_board(folder):
    done = command("--board", "nexys", folder=folder)
    assert done.returncode == 2
    assert done.stderr == f"fpga: unknown board 'nexys'; there are: {', '.join(fpga.boards())}\n"


def test_report():
    step = {"delay": 2.25, "from": {"cell": "board.chip.lane.add_TRELLIS_FF_Q_3"},
            "to": {"cell": "board.chip.drain.sum_LUT4_Z"}}
    last = {"delay": 1.5, "from": {"cell": "board.chip.drain.sum_LUT4_Z"},
            "to": {"cell": "board.chip.drain.total_TRELLIS_FF_Q"}}
    found = fpga.report({
        "utilization": {kind: {"used": n, "available": 100 * n} for n, kind in enumerate(fpga.NAMES)},
        "fmax": {"$glbnet$clocks.clk": {"achieved": 81.234, "constraint": 75.0}},
        "critical_paths": [{"from": "a", "to": "a", "path": [step, last]}]})
    assert found["used"] == {"lut": [0, 0], "ff": [1, 100], "dsp": [2, 200], "bram": [3, 300]}
    assert found["clocks"] == {"clk": {"achieved": 81.23, "constraint": 75.0}}
    (path,) = found["paths"]
    assert path["ns"] == 3.75 and path["from"] == "board.chip.lane.add"
    assert path["blocks"] == ["board.chip.lane", "board.chip.drain"]


def test_bitstream_is_reproducible(folder):
    arguments = ("--board", "counter", "--constraints", folder / "boards")
    bitstreams = []
    for _ in range(2):
        done = command(*arguments, folder=folder)
        assert done.returncode == 0, done.stderr
        bitstreams.append((folder / "build" / "counter" / "counter.bit").read_bytes())
    assert bitstreams[0] == bitstreams[1] and b"\xff\xff\xbd\xb3" in bitstreams[0][:512]
    assert "$check" in (folder / "build" / "counter" / "top.il").read_text()
    assert "$check" not in (folder / "build" / "counter" / "top.json").read_text()  # an assertion is no hardware
    found = json.loads((folder / "build" / "counter" / "fpga.json").read_text())
    assert found["used"]["dsp"][0] >= 1
    assert all(clock["achieved"] >= clock["constraint"] >= 25 for clock in found["clocks"].values())
    assert "ignoring" not in (folder / "build" / "counter" / "top.tim").read_text()  # a constraint, say
    assert max(clock["constraint"] for clock in found["clocks"].values()) == 50
    # Read from nextpnr's delays, the worst path is as long as the period that nextpnr itself reports.
    assert 1000 / found["paths"][0]["ns"] == pytest.approx(found["clocks"]["clk"]["achieved"], rel=0.01)
    assert {path["to"] for path in found["paths"]} >= {"square"}


def test_missed_clock_fails(folder):
    done = command("--board", "counter", "--constraints", folder / "boards", "--clock-hz", 400_000_000, folder=folder)
    assert done.returncode == 2
    assert "timing missed" in done.stderr and done.stderr.count("\n") == 1
    assert "square" in done.stdout
    assert not (folder / "build" / "counter" / "counter.bit").exists()
