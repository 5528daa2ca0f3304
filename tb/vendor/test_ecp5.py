"""The PLL's parameters are within what the part allows."""

import pytest
from scoville.vendor.ecp5 import VCO_HZ, pll_parameters


@pytest.mark.parametrize("output_hz", [50_000_000, 75_000_000, 80_000_000, 100_000_000])
@pytest.mark.parametrize("phase", [0, 90, 270])
def test_pll(output_hz, phase):
    found = pll_parameters(25_000_000, output_hz, phase)
    assert 25_000_000 * found["p_CLKFB_DIV"] == output_hz * found["p_CLKI_DIV"]
    assert VCO_HZ[0] <= output_hz * found["p_CLKOP_DIV"] <= VCO_HZ[1]
    late = 8 * (found["p_CLKOS_CPHASE"] - found["p_CLKOP_CPHASE"]) + found["p_CLKOS_FPHASE"]
    assert late * 360 == phase * 8 * found["p_CLKOP_DIV"]
    assert max(found["p_CLKOS_CPHASE"], found["p_CLKFB_DIV"], found["p_CLKOP_DIV"]) <= 127


@pytest.mark.parametrize("output_hz", [1_000_000, 33_333_333, 900_000_000])
def test_no_setting(output_hz):
    with pytest.raises(ValueError, match="no exact PLL setting"):
        pll_parameters(25_000_000, output_hz, 0)
