"""The denominator against its model: commands of any length under stalls, corners, factors nobody takes, speed."""

import cocotb
import harness
import numpy as np
import pytest
from scoville.attention.denominator import FRACTION_BITS, SUM_BITS, Denominator, page_sum_layout
from scoville.config import get_config

LATENCY = 17  # from a command's last page to its factor, beside a cycle a seat


class Command:
    """The sums and shifts of one command's pages, int64 ``[pages, seats]``."""

    def __init__(self, config, sums, shifts):
        self.config, self.seats = config, config.seats
        self.sums, self.shifts = (np.broadcast_to(np.asarray(x, np.int64), np.shape(sums)) for x in (sums, shifts))

    @classmethod
    def random(cls, config, rng, pages):
        """Sums of any magnitude (none in a page that a seat does not see), and mostly small steps of the maximum."""
        shape = pages, config.seats
        sums = rng.integers(1 << SUM_BITS, size=shape) >> rng.integers(SUM_BITS, size=shape)
        shifts = np.where(rng.random(shape) < 0.1, rng.integers(256, size=shape), rng.geometric(0.5, shape) - 1)
        return cls(config, sums * (rng.random(shape) < 0.9), shifts)

    def pages(self):
        final = len(self.sums) - 1
        return [harness.pack(page_sum_layout(self.config), {
            "sums": sums, "shifts": shifts, "first": page == 0, "last": page == final})
            for page, (sums, shifts) in enumerate(zip(self.sums, self.shifts, strict=True))]

    def check(self, factor):
        got = np.array([factor >> 32 * seat & 0xFFFFFFFF for seat in range(self.seats)], np.uint32)
        wanted = Denominator.model(self.sums, self.shifts).view(np.uint32)
        assert (got == wanted).all(), f"{got}, not {wanted}: sums {self.sums.tolist()}, shifts {self.shifts.tolist()}"


def corners(config):
    """Nothing at all, the largest sums, sums that round up to a power of two, and steps that leave nothing of l."""
    full, one, seat = (1 << SUM_BITS) - 1, 1 << FRACTION_BITS, np.arange(config.seats)
    for sums in (0, 1, full, (1 << 25) - 1, (1 << 24) + 1, (1 << 24) + 3, one, one + 1, one - 1, 1 << seat):
        yield Command(config, np.broadcast_to(sums, (1, config.seats)), 255)
    for shift in (0, 1, 23, 24, 25, 31, 126, 127, 128, 254, 255):
        yield Command(config, [full - seat, 0 * seat], [0 * seat, 0 * seat + shift])
        yield Command(config, [full - seat, one >> seat % 31, seat], [0 * seat, 0 * seat + shift, 255 - seat])
    yield Command(config, [full - seat] * 20, 0)


async def play(dut, seed, make, stalls):
    """Runs the commands that `make(config, bench)` gives and checks every factor. Returns (source, sink)."""
    config, tb = get_config(harness.parameters()["config"]), harness.Bench(dut, seed)
    source, sink = tb.source("i", stalls), tb.sink("factor", stalls)
    await tb.reset()
    commands = list(make(config, tb))
    for command in commands:
        source.send(command.pages())
    for command, factor in zip(commands, await sink.receive(len(commands)), strict=True):
        command.check(factor)
    await tb.wait(50)
    assert len(sink.received) == len(commands) and not harness.peek(dut.busy)
    return source, sink


def random_commands(config, tb):
    return [Command.random(config, tb.np_rng, int(pages)) for pages in tb.np_rng.choice([1, 1, 2, 3, 9], 60)]


@cocotb.test()
async def random_stalls(dut):
    await play(dut, 1, random_commands, 0.4)


@cocotb.test()
async def slow_receiver(dut):
    await play(dut, 2, lambda config, tb: random_commands(config, tb)[:30], 0.9)


@cocotb.test()
async def corner_sums(dut):
    await play(dut, 3, lambda config, tb: corners(config), 0.1)


@cocotb.test()
async def full_speed(dut):
    """A page in seats + 9 cycles, within commands and between them, and the latency of every factor."""
    commands = []

    def make(config, tb):
        commands.extend(random_commands(config, tb))
        return commands

    source, sink = await play(dut, 4, make, 0.0)
    seats = commands[0].seats
    assert set(np.diff(source.cycles)) == {seats + 9}
    ends = np.cumsum([len(command.sums) for command in commands]) - 1
    assert set(np.array(sink.cycles) - np.array(source.cycles)[ends]) == {seats + LATENCY}


@cocotb.test()
async def factors_that_wait(dut):
    """`PENDING` of them, and no page is taken meanwhile."""
    config, tb = get_config(harness.parameters()["config"]), harness.Bench(dut, 5)
    source, sink = tb.source("i"), tb.sink("factor", 1.0)
    await tb.reset()
    commands = [Command.random(config, tb.np_rng, 2) for _ in range(Denominator.PENDING + 1)]
    for command in commands:
        source.send(command.pages())
    await tb.wait(2 * len(commands) * (config.seats + 9) + 50)
    assert len(source.accepted) == 2 * Denominator.PENDING
    assert harness.peek(dut.factor__valid) and harness.peek(dut.busy)
    sink.stalls = 0.0
    for command, factor in zip(commands, await sink.receive(len(commands)), strict=True):
        command.check(factor)


@cocotb.test()
async def busy_and_reset(dut):
    """Busy from a page to its factor, and no longer; a reset forgets what is under way."""
    config, tb = get_config(harness.parameters()["config"]), harness.Bench(dut, 6)
    source, sink = tb.source("i"), tb.sink("factor")
    command = Command.random(config, tb.np_rng, 1)
    for stop in range(4, config.seats + LATENCY + 4, 3):
        await tb.reset()
        assert not harness.peek(dut.busy) and not harness.peek(dut.factor__valid)
        source.send(command.pages())
        await tb.wait(stop)
    await tb.reset()
    source.send(command.pages())
    busy = 0
    for _ in range(config.seats + 50):
        await tb.wait(1)
        busy += harness.peek(dut.busy)
    [factor] = sink.received
    command.check(factor)
    assert busy == sink.cycles[0] - source.cycles[0]


@pytest.mark.parametrize("config", ["duo", "slim", "kria"])
def test_denominator(sim, config):
    harness.run(Denominator(get_config(config)), __name__, sim=sim, parameters={"config": config})


def test_model_is_a_sum():
    """The model against float64: three roundings a page, and the reciprocal's error."""
    rng = np.random.default_rng(6)
    sums, shifts = rng.integers(1 << FRACTION_BITS, 1 << SUM_BITS, (5, 200)), rng.integers(0, 6, (5, 200))
    exact = np.zeros(200)
    for term, shift in zip(sums * 2.0**-FRACTION_BITS, shifts, strict=True):
        exact = exact * 2.0**-shift + term
    assert np.abs(Denominator.model(sums, shifts) * exact - 1).max() < 2.0**-21
