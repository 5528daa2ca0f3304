"""rtl/scoville/array/lane.py: a schedule of items at the ages that `Latencies` gives, against the model."""

from collections import defaultdict
from dataclasses import replace
from functools import partial

import cocotb
import harness
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from scoville.array.dot_unit import DotUnit, factor_age, minimum_layout, scale_layout
from scoville.array.lane import ADD_LATENCY, Accumulate, Lane, Latencies
from scoville.config import ChipConfig, get_config
from scoville.numerics import block, fp32
from scoville.numerics.block import block_layout
from test_dot_unit import random_integers, random_items, row_fields, whole_codes

TIGHT = ChipConfig(name="tight", bus_bytes=16, rows=8, lanes=1, max_head_blocks=1)
ODD = ChipConfig(name="odd", bus_bytes=16, rows=2, lanes=1, dot_width=8, act_bits=12)
STAGED = replace(ODD, name="staged", product_stages=3)
HALVES = replace(ODD, name="halves", k_quants=True)
CONFIGS = {config.name: config for config in (get_config("nano"), get_config("kria"), TIGHT, ODD, STAGED, HALVES)}


def pack_array(shape, values):
    return sum(harness.pack(shape, value) << shape.size * index for index, value in enumerate(values))


@cocotb.test()
async def schedule(dut):
    config = CONFIGS[harness.parameters()]
    latency, lane = Latencies(config), Lane(config)
    tb = harness.Bench(dut, seed=1)
    await tb.reset()
    rng, cycles, rows, count = tb.rng, config.block_cycles, config.rows, 30 * config.interleave
    acc = np.zeros((lane.depth, rows), np.float32)
    drive, expected, used, inside = defaultdict(dict), {}, {}, set()
    cycle = 0
    for item in range(count):
        codes, scale, minimum, _, _, _ = random_items(tb.np_rng, rows, config.act_bits)
        _, _, _, q, e8, total = random_items(tb.np_rng, 1, config.act_bits)
        fresh = item < lane.depth
        address = item % lane.depth if fresh or rng.random() < 0.2 else (item - config.interleave) % lane.depth
        clear, shift = int(fresh or rng.random() < 0.2), rng.choice([0, 1, 7, 255])
        if not fresh and rng.random() < 0.5:  # the rescaled accumulator alone, at and about where it becomes zero
            scale[:] = minimum[:] = 0
            field = int(acc[address, rng.randrange(rows)].view(np.uint32)) >> 23 & 255
            shift = min(max(field - rng.choice([-64, -2, -1, 0, 1, 2, 3, *(1 << bit for bit in range(2, 8))]), 0), 255)
        # The shortest way round for an accumulator: forwarded, or written and then read ahead of its adder.
        cycle = max(cycle, used.get(address, -100) + ADD_LATENCY + latency.early + (latency.early > 0))
        used[address] = cycle
        for part in range(cycles):
            width = config.dot_width
            drive[cycle + part] |= {
                "slice": part,
                "block": harness.pack(block_layout(config.act_bits), {"q": q[0], "e8": e8[0], "sum": total[0]})}
            drive[cycle + part + factor_age(config)] |= {
                "codes": pack_array(lane.codes.shape().elem_shape, [list(map(int, row)) for row in
                                                                    codes[:, part * width:(part + 1) * width]])}
        last = cycle + cycles - 1
        integers, least = random_integers(tb.np_rng, rows)
        if not config.k_quants:
            integers[:], least[:] = 1, 1
        scales, minimums = zip(*map(partial(row_fields, config), scale, minimum, integers, least), strict=True)
        drive[last + latency.scale] |= {
            "scale": pack_array(scale_layout(config), scales), "minimum": pack_array(minimum_layout(config), minimums)}
        drive[last + latency.read] |= {"read": address}
        drive[last + latency.rescale] |= {"control": harness.pack(Accumulate, {"clear": clear, "shift": shift})}
        inside.update(range(cycle, last + latency.result))
        drive[last + latency.result] |= {"write_en": 1, "write": address}
        term = DotUnit.model(whole_codes(codes, integers), block.model.scale_fp16(scale),
                             block.model.scale_fp16(minimum) * least.astype(np.float32),
                             q.repeat(rows, 0), e8.repeat(rows), total.repeat(rows))
        old = np.zeros(rows, np.float32) if clear else fp32.model.scale2(acc[address], -shift)
        acc[address] = fp32.model.add(old, term)
        expected[last + latency.result] = address, acc[address].view(np.uint32).tolist()
        cycle += cycles + (rng.randint(0, 3) if item > count // 2 else 0)
    checked = 0
    for now in range(max(expected) + 1):
        enable = now in inside or rng.random() < 0.5  # where nothing is inside it does not matter
        for name, value in ({"write_en": 0, "enable": enable} | drive[now]).items():
            getattr(dut, name).value = int(value)
        await RisingEdge(dut.clk)
        if now in expected:
            values = harness.peek(dut.values)
            assert [values >> 32 * row & 0xFFFFFFFF for row in range(rows)] == expected[now][1], now
            checked += 1
    assert checked == count


@pytest.mark.parametrize("name", CONFIGS)
def test_lane(sim, name):
    harness.run(lambda: Lane(CONFIGS[name]), __name__, sim=sim, parameters=name)
