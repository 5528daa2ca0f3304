"""The fault unit: which status and address each cause has, and which counts where several come together."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.control.faults import FaultUnit, report_layout
from scoville.kv.address import NUMBER_BITS
from scoville.memory.port import trouble_layout
from scoville.registers import Status

CONFIG = get_config("nano")
TROUBLES = ("stream", "write", "program", "prompt")
REPORTS = (Status.ILLEGAL_INSTRUCTION, Status.TOKEN, Status.PAGE_FAULT, Status.CONTEXT)


def event(rng, density):
    """Signals of a cycle, by name."""
    def often():
        return rng.random() < density

    def address():
        return rng.getrandbits(CONFIG.addr_bits)

    def number():
        return rng.getrandbits(NUMBER_BITS)

    signals = {name: {"error": often(), "refused": rng.getrandbits(1), "address": address()} for name in TROUBLES}
    return signals | {
        "front": {"status": rng.choice([*REPORTS, 1 << rng.randrange(8), rng.choice(REPORTS) ^ 1 << rng.randrange(8)])
                  if often() else Status.OK, "address": address()},
        "page": often(), "page_number": number(), "overrun": often(), "setting": often(), "setting_address": address()}


def drive(dut, signals):
    for name, value in signals.items():
        layout = {"front": report_layout(CONFIG)} | dict.fromkeys(TROUBLES, trouble_layout(CONFIG))
        getattr(dut, name).value = harness.pack(layout[name], value) if name in layout else int(value)


@cocotb.test()
async def causes(dut):
    tb = harness.Bench(dut, 1)
    quiet = event(tb.rng, 0)
    seen = set()
    for turn in range(600):
        drive(dut, quiet)
        await tb.reset()
        await tb.wait(2)  # what comes late is quiet
        assert not harness.peek(dut.fault)
        before, found = quiet, None
        while found is None:
            now = event(tb.rng, 0.3 if turn % 3 == 0 else 0.02)
            drive(dut, now)
            await RisingEdge(dut.clk)
            found, before = FaultUnit.model(now, before), now
        await RisingEdge(dut.clk)
        assert harness.peek(dut.fault)
        assert (harness.peek(dut.code), harness.peek(dut.address)) == found
        seen.add(found[0])
    assert seen == {status for status in Status if status not in (Status.OK, Status.WATCHDOG)}


@cocotb.test()
async def statuses(dut):
    """Of every status that the front end's report can have, alone."""
    tb = harness.Bench(dut, 3)
    for status in range(1 << 8):
        quiet = event(tb.rng, 0)
        drive(dut, quiet)
        await tb.reset()
        now = quiet | {"front": {"status": status, "address": tb.rng.getrandbits(CONFIG.addr_bits)}}
        drive(dut, now)
        await RisingEdge(dut.clk)
        drive(dut, quiet)
        await tb.wait(2)
        assert harness.peek(dut.fault) == (status in REPORTS)
        if status in REPORTS:
            assert (harness.peek(dut.code), harness.peek(dut.address)) == FaultUnit.model(now, quiet)


@cocotb.test()
async def silence(dut):
    """The watchdog counts cycles of a sequence without progress, which is told a cycle later."""
    tb = harness.Bench(dut, 2)
    drive(dut, event(tb.rng, 0))
    for limit in (5, 9):
        dut.limit.value, dut.run.value, dut.progress.value = limit, 1, 1
        await tb.reset()
        await tb.wait(3 * limit)
        assert not harness.peek(dut.fault)
        dut.progress.value = 0
        cycles = 0
        while not harness.peek(dut.fault):
            await RisingEdge(dut.clk)
            cycles += 1
        assert cycles == limit + 3 and harness.peek(dut.code) == Status.WATCHDOG


@pytest.mark.parametrize("config", ["nano"])
def test_faults(sim, config):
    harness.run(FaultUnit(CONFIG), __name__, sim=sim, parameters=config)
