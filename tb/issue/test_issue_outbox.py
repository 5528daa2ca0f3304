"""The outbox: each command is offered once, until its unit takes it, and the next instruction's when all are taken."""

import cocotb
import harness
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import RisingEdge
from scoville.issue.commands import Outbox

UNITS = [f"unit{number}" for number in range(5)]


class Sender(wiring.Component):
    """An outbox that `fill` fills with the commands of a mask, `needed`."""

    def __init__(self):
        super().__init__({"needed": In(len(UNITS)), "fill": In(1), "empty": Out(1)}
                         | dict.fromkeys(UNITS, Out(stream.Signature(1))))

    def elaborate(self, platform):
        m = Module()
        outbox = Outbox(m, {name: getattr(self, name) for name in UNITS})
        m.d.comb += self.empty.eq(outbox.empty)
        with m.If(self.fill):
            outbox.fill(**{name: self.needed[number] for number, name in enumerate(UNITS)})
        return m


@cocotb.test()
@cocotb.parametrize(rate=[0.1, 0.5, 1.0])
async def random_units(dut, rate):
    """What is due, in every cycle; a reset takes all commands back."""
    tb = harness.Bench(dut, round(10 * rate))
    rng, due = tb.rng, set()
    await tb.reset()
    for _ in range(1500):
        if rng.random() < 0.02:
            dut.fill.value = 0
            await tb.reset()
            due = set()
        ready = {name for name in UNITS if rng.random() < rate}
        needed = {name for name in UNITS if rng.getrandbits(1)}
        fill = not due and rng.random() < 0.7
        for name in UNITS:
            getattr(dut, f"{name}__ready").value = name in ready
        dut.fill.value, dut.needed.value = fill, sum(1 << UNITS.index(name) for name in needed)
        await RisingEdge(dut.clk)
        assert {name for name in UNITS if harness.peek(getattr(dut, f"{name}__valid"))} == due
        assert harness.peek(dut.empty) == (not due)
        due = needed if fill else due - ready


def test_issue_outbox(sim):
    harness.run(Sender, __name__, sim=sim)
