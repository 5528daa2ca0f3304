"""The register slice: order, an item a cycle after one cycle, and a ready that does not see the consumer's."""

import cocotb
import harness
from cocotb.triggers import ReadOnly, RisingEdge
from scoville.board.stream_slice import StreamSlice


async def exercise(dut, seed, stalls, count=300):
    tb = harness.Bench(dut, seed)
    source, sink = tb.source("i", stalls), tb.sink("o", stalls)
    await tb.reset()
    items = [tb.rng.getrandbits(len(dut.i__payload)) for _ in range(count)]
    source.send(items)
    assert await sink.receive(count) == StreamSlice.model(items) == source.accepted
    return source, sink


@cocotb.test()
async def random_stalls(dut):
    await exercise(dut, 1, 0.4)


@cocotb.test()
async def full_speed(dut):
    source, sink = await exercise(dut, 2, 0.0)
    for cycles in (source.cycles, sink.cycles):
        assert cycles[-1] - cycles[0] == len(cycles) - 1
    assert sink.cycles[0] - source.cycles[0] == 1


@cocotb.test()
async def capacity(dut):
    """It holds two items, and changes its mind about a third only in the next cycle."""
    tb = harness.Bench(dut, 3)
    source = tb.source("i")
    await tb.reset()
    source.send(range(4))
    await tb.wait(10)
    assert source.accepted == [0, 1]
    dut.o__ready.value = 1
    await ReadOnly()
    assert not int(dut.i__ready.value)
    await RisingEdge(dut.clk)
    await ReadOnly()
    assert int(dut.i__ready.value)
    await tb.wait(10)
    assert source.accepted == [0, 1, 2, 3]


def test_stream_slice(sim):
    harness.run(StreamSlice(37), __name__, sim=sim)
