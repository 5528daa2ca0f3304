"""The arbiter at a memory that takes data ahead of the addresses it holds up, as the SDRAM controller does, and the
chip's data ahead of its own address."""

import cocotb
import harness
from cocotb.triggers import RisingEdge
from scoville.board.arbiter import MemoryArbiter
from scoville.board.bus_access import LINK_ID
from scoville.config import get_config

BEATS, LINK = 4, 0x55  # the chip's burst; the link's address and data
BURSTS = 5  # of one beat; the memory holds up the last address until its data has come


@cocotb.test()
async def held_addresses(dut):
    """The last address follows its data; then the link has its turn."""
    tb = harness.Bench(dut)
    await tb.reset()
    dut.chip__wlast.value = dut.link__wlast.value = dut.memory__wready.value = 1
    dut.link__awaddr.value, dut.link__awid.value = 1 << 12, LINK_ID
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
            passed["aw"].append(harness.peek(dut.memory__awaddr))
        passed["w"] += int(dut.memory__wvalid.value & dut.memory__wready.value)
        assert tb.cycle < 200, f"stuck: {passed['w']} beats and the addresses {passed['aw']} have passed"
    assert passed["aw"] == [*range(BURSTS), 1 << 12] and given == {"aw": BURSTS, "w": BURSTS}


@cocotb.test()
async def data_ahead(dut):
    """Chip data whose address has not come stays out of the link's burst, at a memory that takes any data at once."""
    tb = harness.Bench(dut)
    await tb.reset()
    dut.memory__awready.value = dut.memory__wready.value = dut.link__wlast.value = 1
    dut.link__wdata.value, dut.link__awid.value, dut.link__awaddr.value = LINK, LINK_ID, LINK
    passed = {"aw": [], "w": []}
    for turn, ahead in enumerate((1, 2, 3), 1):  # beats ahead of the address; the slice has places for two
        given, done = {"aw": 0, "w": 0}, {"aw": 0, "w": 0}
        start = tb.cycle
        while (len(passed["aw"]), len(passed["w"])) != (2 * turn, (BEATS + 1) * turn):
            late = tb.cycle - start > 12
            dut.chip__wvalid.value = int(given["w"] < (BEATS if late else ahead))
            dut.chip__wdata.value, dut.chip__wlast.value = given["w"], int(given["w"] == BEATS - 1)
            dut.chip__awvalid.value = int(late and not given["aw"])
            for channel in done:
                getattr(dut, f"link__{channel}valid").value = int(tb.cycle - start > 4 and not done[channel])
            await RisingEdge(dut.clk)
            for counts, name in ((given, "chip"), (done, "link")):
                for channel in counts:
                    counts[channel] += int(getattr(dut, f"{name}__{channel}valid").value
                                           & getattr(dut, f"{name}__{channel}ready").value)
            for channel, field in (("aw", "awaddr"), ("w", "wdata")):
                if getattr(dut, f"memory__{channel}valid").value:
                    passed[channel].append(harness.peek(getattr(dut, f"memory__{field}")))
            assert tb.cycle - start < 100, (given, done, passed)
        for name in ("chip", "link"):
            for channel in ("aw", "w"):
                getattr(dut, f"{name}__{channel}valid").value = 0
        await tb.wait(5)
    assert passed["aw"] == 3 * [LINK, 0]
    assert passed["w"] == 3 * [LINK, *range(BEATS)]


@cocotb.test()
async def chip_never_pauses(dut):
    """Chip bursts without a gap at a memory that takes all: the link's write passes, and the chip's go on."""
    tb = harness.Bench(dut)
    await tb.reset()
    dut.memory__awready.value = dut.memory__wready.value = dut.chip__wlast.value = dut.link__wlast.value = 1
    dut.chip__awvalid.value = dut.chip__wvalid.value = 1
    dut.link__awid.value, dut.link__awaddr.value = LINK_ID, LINK
    for wait in range(8):
        await tb.wait(10 + wait)
        done, start = {"aw": 0, "w": 0}, tb.cycle
        while not all(done.values()):
            for channel in done:
                getattr(dut, f"link__{channel}valid").value = 1 - done[channel]
            await RisingEdge(dut.clk)
            for channel in done:
                done[channel] += int(getattr(dut, f"link__{channel}valid").value
                                     & getattr(dut, f"link__{channel}ready").value)
            assert tb.cycle - start < 12, "the link waits for the chip's pause"
        dut.link__awvalid.value = dut.link__wvalid.value = 0
        begun = 0
        for _ in range(12):
            await RisingEdge(dut.clk)
            begun += harness.peek(dut.chip__awready)
        assert begun >= 10, "the chip's bursts do not go on"


def test_held_addresses(sim):
    harness.run(MemoryArbiter(get_config("slim")), __name__, sim=sim)
