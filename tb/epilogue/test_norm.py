"""1/rms of the seats: against the model, against float64, and the seats that keep theirs."""

import cocotb
import harness
import numpy as np
import pytest
from cocotb.triggers import FallingEdge
from rows import assert_same, floats, to_floats
from scoville.config import get_config
from scoville.epilogue import norm
from scoville.epilogue.norm import RmsUnit, rms_layout


class System:
    """A unit, and what its seats must hold."""

    def __init__(self, dut, seed):
        self.dut, self.config = dut, get_config(harness.parameters())
        self.tb = harness.Bench(dut, seed)
        self.source = self.tb.source("i", stalls=0.3)
        self.shadow = np.zeros(self.config.seats, np.float32)

    def send(self, mask):
        """Any sums and constants; the next state of the seats."""
        tb, config = self.tb, self.config
        total = np.abs(floats(tb.np_rng, config.seats, spread=30))
        inv_n, epsilon = (np.float32(x * tb.np_rng.uniform(0.5, 1)) for x in (1 / tb.rng.randint(1, 1000), 1e-5))
        self.source.send([harness.pack(rms_layout(config), {
            "total": total.view(np.uint32), "mask": mask, "inv_n": int(inv_n.view(np.uint32)),
            "epsilon": int(epsilon.view(np.uint32))})])
        chosen = [bool(mask >> seat & 1) for seat in range(config.seats)]
        self.shadow = np.where(chosen, norm.model(total, inv_n, epsilon), self.shadow)

    def check(self):
        assert_same(to_floats([harness.peek(self.dut.scale)], self.config.seats)[0], self.shadow)

    async def idle(self):
        start = self.tb.cycle
        while harness.peek(self.dut.busy):
            await self.tb.wait(1)
        assert self.tb.cycle - start <= 15 + self.config.seats


@cocotb.test()
async def seats_and_masks(dut):
    system = System(dut, 1)
    tb, every = system.tb, (1 << system.config.seats) - 1
    await tb.reset()
    for turn in range(60):
        system.send(every if turn == 0 else tb.rng.randrange(every + 1))
        await system.source.drain()
        await tb.wait(1)
        assert harness.peek(dut.busy)
        await system.idle()
        system.check()
        await tb.wait(tb.rng.randrange(20))
        assert not harness.peek(dut.busy)
        system.check()


@cocotb.test()
async def one_after_the_other(dut):
    """What comes while the unit is busy waits; each result is there when the next is taken; a reset ends a job."""
    system = System(dut, 2)
    tb, every = system.tb, (1 << system.config.seats) - 1
    system.source.stalls = 0.0
    await tb.reset()
    system.send(every)
    await system.source.drain()
    for _ in range(12):
        before = system.shadow
        system.send(tb.rng.randrange(1, every + 1))
        await system.source.drain()
        after, system.shadow = system.shadow, before
        system.check()
        system.shadow = after
        assert system.source.cycles[-1] - system.source.cycles[-2] >= 14 + system.config.seats
    await tb.wait(1)
    await system.idle()
    system.check()
    for clocks in range(1, 14, 3):
        system.shadow = np.zeros_like(system.shadow)
        await tb.reset()
        system.send(every)
        await system.source.drain()
        await tb.wait(clocks)
        await FallingEdge(dut.clk)
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        await FallingEdge(dut.clk)
        assert harness.peek(dut.i__ready) and not harness.peek(dut.busy)
        await tb.wait(30)
        assert not harness.peek(dut.busy) and not harness.peek(dut.scale)


@pytest.mark.parametrize("config", ["slim", "kria"])
def test_norm(sim, config):
    harness.run(RmsUnit(get_config(config)), __name__, sim=sim, parameters=config)


def test_scale_is_close_to_float64():
    total = np.random.default_rng(3).uniform(1e-3, 1e6, 1000).astype(np.float32)
    exact = 1 / np.sqrt(total.astype(np.float64) / 576 + 1e-5)
    assert np.allclose(norm.model(total, np.float32(1 / 576), np.float32(1e-5)), exact, rtol=5e-7)
