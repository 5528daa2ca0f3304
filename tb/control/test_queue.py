"""The command queue: order, depth, `empty`, and one payload a cycle."""

import cocotb
import harness
import pytest
from amaranth.lib import data
from scoville.control.queue import Queue

SHAPES = {"word": 37, "struct": data.StructLayout({"a": 5, "b": data.ArrayLayout(9, 3)})}


async def exercise(dut, seed, stalls):
    """Items through the queue, which is empty before and after."""
    agents = await harness.pass_through(dut, seed, stalls)
    await agents[0].bench.wait(2)
    assert harness.peek(dut.empty)
    return agents


@cocotb.test()
async def random_stalls(dut):
    await exercise(dut, 1, 0.4)


@cocotb.test()
async def full_speed(dut):
    harness.assert_full_speed(*await exercise(dut, 2, 0.0), latency=2)


@cocotb.test()
async def capacity(dut):
    """With nobody at the output it takes exactly `depth` payloads, and is not empty while one is inside."""
    depth = harness.parameters()["depth"]
    tb = harness.Bench(dut, 3)
    source = tb.source("i")
    await tb.reset()
    assert harness.peek(dut.empty)
    source.send(range(depth + 3))
    await tb.wait(depth + 10)
    assert source.accepted == list(range(depth))
    assert not harness.peek(dut.empty)
    dut.o__ready.value = 1
    await tb.wait(depth + 10)
    assert source.accepted == list(range(depth + 3))
    assert harness.peek(dut.empty) and not harness.peek(dut.o__valid)


@pytest.mark.parametrize(("shape", "depth"), [("word", 4), ("struct", 3), ("word", 8)])
def test_queue(sim, shape, depth):
    harness.run(Queue(SHAPES[shape], depth), __name__, sim=sim, parameters={"depth": depth})
