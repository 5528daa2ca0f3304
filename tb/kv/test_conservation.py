"""In every cycle every page is free, owned or shared exactly as often as its count says: a model follows each event."""

import cocotb
import harness
import pytest
from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped
from kv.conservation import Conservation, events
from kv.operations import USUAL
from kv.system import System, sizes_of
from scoville.kv.controller import KvController

from formal.opened import Opened


class Watched(wiring.Component):
    """The controller, and what happens in it."""

    def __init__(self, config):
        self.controller = KvController(config)
        self.seen = Opened(self.controller)
        self.events = {name: path for name, (path, _) in events(config).items()}
        super().__init__(dict(self.controller.signature.members)
                         | {f"seen_{name}": Out(len(Value.cast(self.seen[path])) or 1)
                            for name, path in self.events.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = self.seen
        for name, member in self.controller.signature.members.items():
            outside, inside = getattr(self, name), getattr(self.controller, name)
            if member.is_signature:
                connect(m, flipped(outside), inside)
            elif member.flow is Out:
                m.d.comb += outside.eq(inside)
            else:
                m.d.comb += inside.eq(outside)
        m.d.comb += [getattr(self, f"seen_{name}").eq(self.seen[path]) for name, path in self.events.items()]
        return m


class Seen:
    """The events of a cycle; what goes with one is read only where it happens, and unknown bits are an error then."""

    def __init__(self, dut):
        self.dut = dut

    def __getitem__(self, name):
        return harness.peek(getattr(self.dut, f"seen_{name}"))


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.4])
async def random_operations(dut, stalls):
    """To their end, or to a reset at a random cycle."""
    system = System(dut, int(10 * stalls), stalls)
    watch, seen = Conservation(system.config, system.pages), Seen(dut)
    system.tb.each_cycle(lambda: watch.cycle(seen))
    for _ in range(4):
        await system.start()
        watch.start()
        for _ in range(8):
            await system.random_burst(12)
        for _ in range(12):
            system.send("reserve", system.tb.rng.randrange(system.config.slots), system.tb.rng.randrange(256))
        await system.tb.wait(system.tb.rng.randrange(60))
        system.log.clear()
    await system.start()
    watch.start()
    for _ in range(8):
        await system.random_burst(12)
    await system.all_released()
    assert watch.all_free()
    assert watch.shared or system.config.slots == 1


@pytest.mark.parametrize("sizes", [USUAL, {"slots": 1, "groups": 1, "pool": 8},
                                   {"slots": 16, "groups": 1, "pool": 32}], ids=str)
def test_conservation(sim, sizes):
    harness.run(Watched(sizes_of(sizes)), __name__, sim=sim, parameters=sizes)
