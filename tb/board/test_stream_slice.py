"""The register slice: order, an item a cycle after one cycle, and a ready that does not see the consumer's."""

import cocotb
import harness
from cocotb.triggers import ReadOnly, RisingEdge
from scoville.board.stream_slice import StreamSlice


@cocotb.test()
async def random_stalls(dut):
    source, sink = await harness.pass_through(dut, 1, 0.4)
    assert sink.received == StreamSlice.model(source.accepted)


@cocotb.test()
async def full_speed(dut):
    harness.assert_full_speed(*await harness.pass_through(dut, 2, 0.0), latency=1)


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
