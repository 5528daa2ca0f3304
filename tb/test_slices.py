"""The slices: order, an item a cycle, their latency, a ready that does not see the consumer's, and resets."""

import cocotb
import harness
import pytest
from cocotb.triggers import ReadOnly, RisingEdge
from scoville.slices import Skid, StreamSlice


@cocotb.test()
async def random_stalls(dut):
    source, sink = await harness.pass_through(dut, 1, 0.4)
    assert sink.received == Skid.model(source.accepted)


@cocotb.test()
async def full_speed(dut):
    harness.assert_full_speed(*await harness.pass_through(dut, 2, 0.0), latency=harness.parameters()["registers"])


@cocotb.test()
async def capacity(dut):
    """It holds an item in each of its registers and one more, and changes its mind only a cycle late."""
    room = harness.parameters()["registers"] + 1
    tb = harness.Bench(dut, 3)
    source = tb.source("i")
    await tb.reset()
    source.send(range(4))
    await tb.wait(10)
    assert source.accepted == list(range(room))
    dut.o__ready.value = 1
    await ReadOnly()
    assert not harness.peek(dut.i__ready)
    await RisingEdge(dut.clk)
    await ReadOnly()
    assert harness.peek(dut.i__ready)
    await tb.wait(10)
    assert source.accepted == [0, 1, 2, 3]


@cocotb.test()
async def reset_empties(dut):
    """What is inside at a reset is gone."""
    tb = harness.Bench(dut, 4)
    source = tb.source("i")
    await tb.reset()
    source.send(range(4))
    await tb.wait(10)
    assert harness.peek(dut.o__valid) and not harness.peek(dut.i__ready)
    await tb.reset()
    await ReadOnly()
    assert not harness.peek(dut.o__valid) and harness.peek(dut.i__ready)


@pytest.mark.parametrize("kind", [Skid, StreamSlice])
def test_slices(sim, kind):
    harness.run(kind(37), __name__, sim=sim, parameters={"registers": int(kind is StreamSlice)})
