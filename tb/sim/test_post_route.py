"""A unit of the epilogue and a lane of the array, placed and routed for ECP5, against their RTL, cycle by cycle."""

from pathlib import Path

import pytest
from scoville.config import get_config
from scoville_sim.boards.post_route import compare

CYCLES = 1500


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["quantiser", "lane"])
def test_routed_netlist_equals_rtl(unit):
    # Not in pytest's own folder: YoWASP's tools have a /tmp of their own.
    folder = Path(__file__).resolve().parents[2] / "build" / "post_route" / f"test-{unit}"
    compared, differ = compare(unit, get_config("tangnano20k"), folder, CYCLES)
    assert differ == 0
    assert compared > CYCLES // 2  # until the memories are written, the RTL's are X
