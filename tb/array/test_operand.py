"""rtl/scoville/array/operand.py: every bank keeps its own blocks, and reads follow writes by a cycle."""

import cocotb
import harness
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import RisingEdge
from scoville.array.operand import OperandBuffer, operand_depth, operand_place, operand_write
from scoville.config import ChipConfig, get_config
from scoville.numerics.block import block_layout

ODD = ChipConfig(name="odd", bus_bytes=16, rows=8, lanes=1, act_bits=11, operand_blocks=5, max_head_blocks=1)
CONFIGS = {config.name: config for config in (get_config("nano"), get_config("duo"), get_config("kria"), ODD)}


class Top(wiring.Component):
    """The buffer with an ordinary ready, which a Verilog top needs."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "write": In(stream.Signature(operand_write(config))),
            "address": In(operand_place(config)),
            "blocks": Out(data.ArrayLayout(block_layout(config.act_bits), config.lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = OperandBuffer(self.config)
        m.d.comb += [self.write.ready.eq(1), buffer.write.valid.eq(self.write.valid),
                     buffer.write.payload.eq(self.write.payload), buffer.address.eq(self.address),
                     self.blocks.eq(buffer.blocks)]
        return m


@cocotb.test()
async def reads_and_writes(dut):
    config = CONFIGS[harness.parameters()]
    tb = harness.Bench(dut, seed=1)
    await tb.reset()
    depth, layout = operand_depth(config), operand_write(config)
    bits = layout["block"].shape.size
    state, expected, checked = {}, {}, 0
    for _ in range(3 * depth * config.seats):
        write = {"bank": tb.rng.randrange(config.lanes), "address": tb.rng.randrange(depth),
                 "phase": tb.rng.randrange(config.phases)}
        write["block"] = tb.rng.getrandbits(bits)
        # Half the reads ask for what the same cycle writes: they must still see the old block.
        valid = tb.rng.random() < 0.7
        place = {"address": tb.rng.randrange(depth), "phase": tb.rng.randrange(config.phases)}
        if tb.rng.random() < 0.5:
            place = {name: write[name] for name in place}
        address = harness.pack(operand_place(config), place)
        dut.write__valid.value = int(valid)
        dut.write__payload.value = harness.pack(layout, write)
        dut.address.value = address
        await RisingEdge(dut.clk)
        assert harness.peek(dut.write__ready)
        blocks = harness.peek(dut.blocks)
        for lane, value in expected.items():
            assert blocks >> lane * bits & (1 << bits) - 1 == value
            checked += 1
        expected = {lane: state[lane, address] for lane in range(config.lanes) if (lane, address) in state}
        if valid:
            written = harness.pack(operand_place(config), {name: write[name] for name in place})
            state[write["bank"], written] = write["block"]
    assert checked > depth


@pytest.mark.parametrize("name", CONFIGS)
def test_operand(sim, name):
    harness.run(lambda: Top(CONFIGS[name]), __name__, sim=sim, parameters=name)
