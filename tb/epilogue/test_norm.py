"""1/rms of the seats: against the model, against float64, and the seats that keep theirs."""

import cocotb
import harness
import numpy as np
import pytest
from rows import assert_same, floats, to_floats
from scoville.config import get_config
from scoville.epilogue import norm
from scoville.epilogue.norm import RmsUnit, rms_layout
from scoville.numerics import fp32


@cocotb.test()
async def seats_and_masks(dut):
    config = get_config(harness.parameters())
    tb = harness.Bench(dut, 1)
    source = tb.source("i", stalls=0.3)
    await tb.reset()
    shadow = np.zeros(config.seats, np.float32)
    for turn in range(60):
        total = np.abs(floats(tb.np_rng, config.seats, spread=30))
        inv_n, epsilon = np.float32(1 / tb.rng.randint(32, 1000)), np.float32(1e-5)
        mask = (1 << config.seats) - 1 if turn == 0 else tb.rng.randrange(1 << config.seats)
        source.send([harness.pack(rms_layout(config), {
            "total": total.view(np.uint32), "mask": mask, "inv_n": int(inv_n.view(np.uint32)),
            "epsilon": int(epsilon.view(np.uint32))})])
        await source.drain()
        start = tb.cycle
        await tb.wait(1)
        assert int(dut.busy.value)
        while int(dut.busy.value):
            await tb.wait(1)
        assert tb.cycle - start <= 15 + config.seats
        chosen = [bool(mask >> seat & 1) for seat in range(config.seats)]
        shadow = np.where(chosen, norm.model(total, inv_n, epsilon), shadow)
        assert_same(to_floats([int(dut.scale.value)], config.seats)[0], shadow)


@pytest.mark.parametrize("config", ["slim", "kria"])
def test_norm(sim, config):
    harness.run(RmsUnit(get_config(config)), __name__, sim=sim, parameters=config)


def test_sum_of_squares_is_sequential():
    rng = np.random.default_rng(2)
    for spread in (3, 70):  # the second makes squares that are flushed, and sums that saturate
        v = floats(rng, (300, 5), spread)
        total = np.zeros(5, np.float32)
        for row in v:
            total = fp32.model.add(total, fp32.model.mul(row, row))
        assert_same(norm.sum_of_squares(v), total)


def test_scale_is_close_to_float64():
    total = np.random.default_rng(3).uniform(1e-3, 1e6, 1000).astype(np.float32)
    exact = 1 / np.sqrt(total.astype(np.float64) / 576 + 1e-5)
    assert np.allclose(norm.model(total, np.float32(1 / 576), np.float32(1e-5)), exact, rtol=5e-7)
