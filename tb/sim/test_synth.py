"""What synthesis counts, against a part; and Verilator's lint on every chip."""

import pytest
from scoville.chip import Chip
from scoville.config import CONFIGS, get_config
from scoville.verilog import emit
from scoville_sim.timing.synth import XCK26, lint, occupied


def test_occupied():
    found = occupied({"LUT1": 1, "LUT6": 2, "SRL16E": 3, "RAM32M16": 4, "FDRE": 5, "FDSE": 1, "DSP48E2": 6,
                      "RAMB18E2": 3, "RAMB36E2": 2, "CARRY4": 9, "scoville.array": 1})
    assert {name: used for name, (used, _) in found.items()} == {
        "LUT": 1 + 2 + 3 + 4 * 8, "FF": 6, "DSP": 6, "BRAM36": 3.5, "URAM": 0}
    assert {name: available for name, (_, available) in found.items()} == XCK26


def test_lint_complains(tmp_path):
    (source := tmp_path / "scoville.sv").write_text("module scoville(output b); wire c; assign b = c; endmodule\n")
    assert "UNDRIVEN" in lint(source)


@pytest.mark.heavy
@pytest.mark.parametrize("name", CONFIGS)
def test_lint(name, tmp_path):
    (source := tmp_path / "scoville.sv").write_text(emit(Chip(get_config(name)), name="scoville", assertions=False))
    assert not lint(source)
