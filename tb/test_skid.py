"""The skid: order, no latency, a payload a cycle, and readiness that does not depend on the receiver."""

import cocotb
import harness
from scoville.skid import Skid


@cocotb.test()
async def random_stalls(dut):
    await harness.pass_through(dut, 1, 0.4)


@cocotb.test()
async def full_speed(dut):
    harness.assert_full_speed(*await harness.pass_through(dut, 2, 0.0), latency=0)


@cocotb.test()
async def one_waits(dut):
    """With nobody at the output it takes one payload and says so, whatever the receiver does in that cycle."""
    tb = harness.Bench(dut, 3)
    source = tb.source("i")
    await tb.reset()
    assert int(dut.i__ready.value) and not int(dut.full.value)
    source.send(range(3))
    await tb.wait(5)
    assert source.accepted == [0]
    assert int(dut.full.value) and int(dut.o__valid.value) and int(dut.o__payload.value) == 0
    dut.o__ready.value = 1
    await tb.wait(5)
    assert source.accepted == [0, 1, 2]
    assert not int(dut.full.value) and not int(dut.o__valid.value)


def test_skid(sim):
    harness.run(Skid(37), __name__, sim=sim)
