"""rtl/scoville/array/drain.py: rows leave in order, room is never overbooked, and a row leaves every cycle."""

import cocotb
import harness
import pytest
from cocotb.triggers import ReadOnly, RisingEdge
from scoville.array.drain import Drain, drain_row, drain_write
from scoville.config import ChipConfig, get_config

ODD = ChipConfig(name="odd", bus_bytes=16, rows=8, lanes=1)
CONFIGS = {name: get_config(name) for name in ("nano", "duo", "kria", "slim")} | {"odd": ODD}
TILES = 12


async def run_tiles(dut, stalls, delay):
    """Reserve tiles as the array does, write each `delay` cycles later, and compare what leaves."""
    config = CONFIGS[harness.parameters()]
    tb = harness.Bench(dut, seed=int(10 * stalls) + delay)
    source, sink = tb.source("write", stalls=stalls), tb.sink("o", stalls=stalls)
    await tb.reset()
    spans = [sorted(tb.rng.choices(range(config.phases), k=2)) for _ in range(TILES)]  # first and last phase
    tiles = [[[[tb.rng.getrandbits(32) for _ in range(config.lanes)] for _ in range(32)]
              for _ in range(first, last + 1)] for first, last in spans]
    tags = [tb.rng.getrandbits(1) for _ in range(TILES)]

    async def send():
        for tile, (first, last), tag in zip(tiles, spans, tags, strict=True):
            while not harness.peek(dut.available):
                await RisingEdge(dut.clk)
            dut.reserve.value = 1
            await RisingEdge(dut.clk)
            dut.reserve.value = 0
            if delay:
                await tb.wait(delay)
            source.send([harness.pack(drain_write(config), {
                "tag": tag, "phase": phase, "last": phase == last,
                "values": tile[phase - first][row:row + config.rows]})
                for row in range(0, 32, config.rows) for phase in range(first, last + 1)])
            await RisingEdge(dut.clk)

    cocotb.start_soon(send())
    origin = [{"phase": phase, "tag": tag} for (first, last), tag in zip(spans, tags, strict=True)
              for phase in range(first, last + 1) for _ in range(32)]
    received = [harness.unpack(drain_row(config), packed) for packed in await sink.receive(len(origin))]
    expected = [{"row": row, "values": values} | where
                for (row, values), where in zip(Drain.model(tiles), origin, strict=True)]
    assert received == expected
    await RisingEdge(dut.clk)
    await ReadOnly()
    assert not harness.peek(dut.busy) and harness.peek(dut.available)
    return config, sink


@cocotb.test()
async def under_stalls(dut):
    await run_tiles(dut, 0.3, 3)


@cocotb.test()
async def full_throughput(dut):
    config, sink = await run_tiles(dut, 0.0, 0)
    if config.rows > config.phases:
        # From the second tile on a tile is always ready to be read behind the one that leaves.
        assert sink.cycles[-1] - sink.cycles[0] == len(sink.cycles) - 1


@pytest.mark.parametrize("name", CONFIGS)
def test_drain(sim, name):
    harness.run(lambda: Drain(CONFIGS[name]), __name__, sim=sim, parameters=name)
