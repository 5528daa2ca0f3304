"""The doorbell: counts that differ from what is possible by any bit, one a cycle; the first overrun is the one told."""

import cocotb
import harness
from cocotb.triggers import RisingEdge
from rings import MODULUS
from scoville.schedule.doorbell import Doorbell


def ring(rng):
    """(origin, most, count); the count is as far ahead as it may be, but for a bit and those below it."""
    most, bit = rng.getrandbits(rng.randint(0, 32)), rng.randrange(33)
    ahead = most if bit == 32 else (most ^ 1 << bit) & -1 << bit | rng.getrandbits(bit)
    origin = rng.getrandbits(32)
    return origin, most, (origin + ahead) % MODULUS


async def run(dut, seed, stalls):
    tb = harness.Bench(dut, seed)
    rng, sink = tb.rng, tb.sink("overrun", stalls)
    await tb.reset()
    told, waits, heard = [], False, set()
    for _ in range(1500):
        origin, most, count = ring(rng)
        strobe = int(rng.random() < 0.7)
        dut.origin.value, dut.most.value, dut.count.value, dut.strobe.value = origin, most, count, strobe
        await RisingEdge(dut.clk)
        possible = Doorbell.model(origin, most, count)
        assert harness.peek(dut.rung) == int(strobe and possible)
        assert harness.peek(dut.overrun__valid) == int(waits)
        if strobe and not possible and not waits:
            told.append(count)
            waits = True
        elif waits and harness.peek(dut.overrun__ready):
            waits = False
        heard.add((strobe, possible))
    dut.strobe.value = 0
    await tb.wait(50)
    assert sink.received == told and len(told) > 100 and len(heard) == 4


@cocotb.test()
async def random_stalls(dut):
    await run(dut, 1, 0.5)


@cocotb.test()
async def full_speed(dut):
    """A count a cycle, and an overrun every second cycle."""
    await run(dut, 2, 0.0)


def test_doorbell(sim):
    harness.run(Doorbell(), __name__, sim=sim)
