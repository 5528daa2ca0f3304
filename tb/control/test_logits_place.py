"""Where logits go: every row's place, and none."""

import cocotb
import harness
import pytest
from cocotb.triggers import FallingEdge
from scoville.config import get_config
from scoville.control.logits_place import LogitsPlace


@cocotb.test()
async def places(dut):
    """Row after row, nowhere, and an address that does not fit, which stays outside every window."""
    config = get_config("nano")
    bench = harness.Bench(dut, 2)
    place = LogitsPlace(config)
    top = (1 << config.addr_bits) - config.bus_bytes
    await bench.reset()
    for first, stride in ((0, 64), (4096, 0), (4096, 320), (bench.rng.randrange(1 << 30) << 4, (1 << 32) - 16),
                          (top - 640, 640), (top - 640, 656), (top - 1280, 640), (top, 16), (0, 16),
                          *((bench.rng.randrange(1, 1 << 39), bench.rng.getrandbits(32)) for _ in range(40)),
                          *((1 << bit, 0) for bit in range(4, config.addr_bits)),
                          *((16, 1 << bit) for bit in range(4, 32))):
        dut.first.value, dut.stride.value = first, stride
        dut.start.value = 1
        await bench.wait(1)
        dut.start.value, dut.first.value = 0, 1 << 20
        for token in range(6 if stride % 32 == 0 else 3):
            await FallingEdge(dut.clk)
            assert harness.peek(dut.address) == place.model(first, stride, token)
            await bench.wait(bench.rng.randrange(1, 3))
            await FallingEdge(dut.clk)
            assert harness.peek(dut.address) == place.model(first, stride, token)
            dut.next.value = 1
            await bench.wait(1)
            dut.next.value = 0
        await bench.reset()
        await FallingEdge(dut.clk)
        assert not harness.peek(dut.address)


@pytest.mark.parametrize("config", ["nano"])
def test_logits_place(sim, config):
    harness.run(LogitsPlace(get_config(config)), __name__, sim=sim)
