"""The arbiter at a memory that takes data ahead of the addresses it holds up, as the SDRAM controller does."""

import cocotb
import harness
from cocotb.triggers import RisingEdge
from scoville.board.arbiter import MemoryArbiter
from scoville.config import get_config

BURSTS = 5  # of one beat; the memory holds up the last address until its data has come


@cocotb.test()
async def held_addresses(dut):
    """The last address follows its data; then the link has its turn."""
    tb = harness.Bench(dut)
    await tb.reset()
    dut.chip__wlast.value = dut.link__wlast.value = dut.memory__wready.value = 1
    dut.link__awaddr.value = 1 << 12
    given = {"aw": 0, "w": 0}
    passed = {"aw": [], "w": 0}
    while len(passed["aw"]) < BURSTS + 1:
        # The chip's data follows its address into the arbiter.
        dut.chip__awvalid.value = int(given["aw"] < BURSTS)
        dut.chip__awaddr.value = given["aw"]
        dut.chip__wvalid.value = int(given["w"] < given["aw"])
        dut.link__awvalid.value = dut.link__wvalid.value = int(len(passed["aw"]) == BURSTS)
        dut.memory__awready.value = int(len(passed["aw"]) < BURSTS - 1 or passed["w"] == BURSTS)
        await RisingEdge(dut.clk)
        for channel in given:
            given[channel] += int(getattr(dut, f"chip__{channel}valid").value
                                  & getattr(dut, f"chip__{channel}ready").value)
        if dut.memory__awvalid.value and dut.memory__awready.value:
            passed["aw"].append(int(dut.memory__awaddr.value))
        passed["w"] += int(dut.memory__wvalid.value & dut.memory__wready.value)
        assert tb.cycle < 200, f"stuck: {passed['w']} beats and the addresses {passed['aw']} have passed"
    assert passed["aw"] == [*range(BURSTS), 1 << 12] and given == {"aw": BURSTS, "w": BURSTS}


def test_held_addresses(sim):
    harness.run(MemoryArbiter(get_config("slim")), __name__, sim=sim)
