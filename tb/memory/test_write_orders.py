"""The writer at memories that take addresses and data in every order that AXI4 allows them."""

import cocotb
import harness
import pytest
from scoville.config import get_config
from scoville.memory.writer import StreamWriter
from subordinate import ORDERS, Subordinate
from writes import MEMORY, Writes


@cocotb.test()
@cocotb.parametrize(order=list(ORDERS), stalls=[0.0, 0.3])
async def orders(dut, order, stalls):
    """A memory may wait for the address before it takes data, for the data before it takes the address, or for both."""
    system = Writes(dut, 10 + list(ORDERS).index(order))
    commands, beats = system.tb.source("command", stalls), system.tb.source("data", stalls)
    memory = Subordinate(system.tb, "bus_", bytearray(system.wanted), bus_bytes=system.config.bus_bytes, order=order,
                         stalls=stalls)
    await system.tb.reset()
    for _ in range(20):
        command, packed = system.random_burst(0, MEMORY, 600)
        commands.send([command])
        beats.send(packed)
    await commands.drain()
    await beats.drain()
    await system.settle()
    assert memory.idle and memory.memory == system.wanted
    assert order == "any" or (memory.ahead > 0) == (order == "data")


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_write_orders(sim, config):
    harness.run(StreamWriter(get_config(config)), __name__, sim=sim, parameters={"config": config})
