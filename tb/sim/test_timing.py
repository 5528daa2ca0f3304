"""`make timing`: what is measured, how names are read back, and the flow itself on a small unit."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.lib import wiring
from scoville import chip, core
from scoville.config import get_config
from scoville.memory import port
from scoville.schedule import alone, batch
from scoville.verilog import emit_rtlil
from scoville_sim.timing import flows as timing_flows
from scoville_sim.timing import timing
from scoville_sim.timing.units import UNITS, Registered


def test_every_unit_of_the_chip_is_measured():
    made = {type(make(get_config("nano"))).__name__ for make in UNITS.values()} | {
        "Core", "MemoryPort", "Alone", "BatchController"}  # their parts
    for module in (chip, core, port, alone, batch):
        tree = ast.parse(Path(module.__file__).read_text())
        used = {name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}
        components = {name for name in used if isinstance(getattr(module, name, None), type)
                      and issubclass(getattr(module, name), wiring.Component)}
        assert components and components <= made


@pytest.mark.parametrize("unit", ["queue", "fp32_add", "register_file"])
def test_registers_on_every_port(unit):
    text = emit_rtlil(Registered(UNITS[unit](get_config("nano"))), "top")
    assert "\\to_" in text and "\\from_" in text and "\\scan" in text


def test_names():
    assert timing_flows.signal_of("unit.lane0.row1.add_5_TRELLIS_FF_Q_3") == "lane0.row1.add_5"
    assert timing_flows.signal_of("\\unit.count [12]") == "count"
    netlist = r"""
  DFFHQNx1_ASAP7_75t_R _12_ (
    .CLK(clk),
    .D(_3_),
    .QN(_4_)
  );
  INVx1_ASAP7_75t_R _13_ (
    .A(_4_),
    .Y(\unit.chain.ready )
  );
  DFFHQx4_ASAP7_75t_R \keep.me  (
    .CLK(clk),
    .D(_3_),
    .Q(\unit.total [2])
  );
"""
    assert timing_flows.register_signal(netlist, "_12_") == "chain.ready"
    assert timing_flows.register_signal(netlist, "\\keep.me") == "total"
    assert timing_flows.register_signal(netlist, "absent") == "absent"


def test_large_memories_become_macros():
    parameters = {"SIZE": "100000", "WIDTH": "1000000", "RD_PORTS": "1", "WR_PORTS": "1", "RD_CLK_ENABLE": "1"}
    wires = {"RD_EN": [2], "RD_ADDR": [3, 4], "WR_EN": [5], "WR_ADDR": [6, 7], "WR_DATA": [8], "RD_DATA": [9],
             "WR_CLK": [1]}
    small = parameters | {"SIZE": "10"}
    cells = {name: {"type": "$mem_v2", "parameters": values, "connections": dict(wires)}
             for name, values in {"big": parameters, "small": small, "rom": parameters | {"WR_PORTS": "0"}}.items()}
    netlist = {"modules": {"top": {"cells": cells}}}
    library, bits = timing_flows.sram_macros(netlist)
    assert bits == 2048
    assert [cells[name]["type"] == "$mem_v2" for name in cells] == [False, True, True]
    assert library.count("timing_type : setup_rising") == 7 and library.count("rising_edge") == 1


@pytest.mark.heavy
def test_flow(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    folder = tmp_path / "timing"
    folder.mkdir()
    first = timing.measure(get_config("slim"), "fault_latch", folder, ["ecp5"], [])
    entry = first["ecp5"]
    assert entry["mhz"] > 50 and entry["ff"] > 40 and entry["lut"] > 0 and len(entry["path"]) == 2
    assert timing.measure(get_config("slim"), "fault_latch", folder, ["ecp5"], []) == first
    assert capsys.readouterr().err.count("MHz") == 1  # the second result was kept


def test_stored_summary_knows_its_units(tmp_path):
    path = tmp_path / "timing.json"
    timing.store(path, "nano", {"queue": {"ecp5": {"mhz": 1.0}}})
    timing.store(path, "nano", {"queue": {"asap7": {"ghz": 1.0}}})
    assert json.loads(path.read_text()) == {"nano": {"queue": {"ecp5": {"mhz": 1.0}, "asap7": {"ghz": 1.0}}}}


def test_unknown_unit():
    done = subprocess.run([sys.executable, "-m", "scoville_sim.timing.timing", "--unit", "nothing", "--flow", "ecp5"],
                          capture_output=True, text=True, check=False,
                          env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "fp32_add" in done.stderr
