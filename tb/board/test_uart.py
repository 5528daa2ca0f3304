"""The serial line, looped back and against a line of the bench's own: stalls, skew, glitches, broken bytes, speed."""

from itertools import combinations

import cocotb
import harness
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from scoville.board.uart import UartReceiver, UartTransmitter


class Loop(wiring.Component):
    """A transmitter whose line feeds a receiver, with an input to spoil it."""

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8)), "spoil": In(1), "line": In(1),
                          "error": Out(1), "tx": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        connect(m, flipped(self.i), transmitter.i)
        connect(m, receiver.o, flipped(self.o))
        # `line` is low when the bench pulls it down.
        m.d.comb += [receiver.rx.eq((transmitter.tx ^ self.spoil) & ~self.line), self.error.eq(receiver.error),
                     self.tx.eq(transmitter.tx)]
        return m


@cocotb.test()
async def loop(dut):
    """All bytes come, at the line's speed: ten bits each, none between them."""
    divisor = harness.parameters()["divisor"]
    tb = harness.Bench(dut, 1)
    source, sink = tb.source("i"), tb.sink("o")
    await tb.reset()
    values = [*range(256)]
    tb.rng.shuffle(values)
    source.send(values)
    assert await sink.receive(256) == values
    assert sink.cycles[-1] - sink.cycles[0] == 255 * 10 * divisor


@cocotb.test()
async def stalls(dut):
    """Pauses between bytes, and a receiver that is now and then slow to be emptied, lose nothing."""
    tb = harness.Bench(dut, 2)
    source, sink = tb.source("i", 0.9), tb.sink("o", 0.5)
    await tb.reset()
    values = [tb.rng.randrange(256) for _ in range(100)]
    source.send(values)
    assert await sink.receive(100) == values


@cocotb.test()
async def glitches(dut):
    """One clock of noise in a bit is outvoted, and one on an idle line is no byte."""
    divisor = harness.parameters()["divisor"]
    tb = harness.Bench(dut, 3)
    source, sink = tb.source("i"), tb.sink("o")
    await tb.reset()
    for _ in range(30):
        value = tb.rng.randrange(256)
        source.send([value])
        for _ in range(10):
            at = tb.rng.randrange(divisor // 4, divisor)  # not where the start is looked for
            await tb.wait(at)
            dut.spoil.value = 1
            await tb.wait(1)
            dut.spoil.value = 0
            await tb.wait(divisor - at - 1)
        await tb.wait(2 * divisor)
        assert sink.received[-1] == value
    assert len(sink.received) == 30


@cocotb.test()
async def broken(dut):
    """A line that is held down is one error and no byte; bytes after it come."""
    divisor = harness.parameters()["divisor"]
    tb = harness.Bench(dut, 4)
    source, sink = tb.source("i"), tb.sink("o")
    await tb.reset()
    errors = 0
    dut.line.value = 1
    for step in range(40 * divisor):
        if step == 30 * divisor:
            dut.line.value = 0
        await tb.wait(1)
        errors += harness.peek(dut.error)
    assert errors == 1 and not sink.received
    source.send([5])
    assert await sink.receive(1) == [5]


@cocotb.test()
async def votes(dut):
    """Two wrong samples of three are a wrong bit, or an error in the stop bit; two elsewhere are nothing."""
    divisor = harness.parameters()["divisor"]
    samples = [divisor // 2 + step * max(1, divisor // 8) for step in (-1, 0, 1)]
    about = sorted({sample + step for sample in samples for step in (-1, 0, 1)})
    tb = harness.Bench(dut, 5)
    source, sink = tb.source("i"), tb.sink("o")
    await tb.reset()
    errors = 0
    for bit in (4, 9):  # data, stop
        for pair in combinations(about, 2):
            value, before = tb.rng.randrange(256), (len(sink.received), errors)
            source.send([value])
            while harness.peek(dut.tx):
                await tb.wait(1)
            for clock in range(10 * divisor + 4):
                dut.spoil.value = int(clock + 1 - bit * divisor in pair)
                await tb.wait(1)
                errors += harness.peek(dut.error)
            wrong = set(pair) <= set(samples)
            got, failed = sink.received[before[0]:], errors - before[1]
            assert (got, failed) == (([], 1) if wrong and bit == 9 else ([value ^ wrong << bit - 1], 0)), (bit, pair)


@cocotb.test()
async def overrun(dut):
    """A byte that finds the one before still there is lost, with an error; one that finds it being taken is not."""
    divisor = harness.parameters()["divisor"]
    tb = harness.Bench(dut, 6)
    source, sink = tb.source("i"), tb.sink("o", 1.0)
    await tb.reset()
    errors = []

    async def watch():
        while True:
            await tb.wait(1)
            if harness.peek(dut.error):
                errors.append(tb.cycle)

    cocotb.start_soon(watch())
    source.send([1, 2, 3])
    await tb.wait(40 * divisor)
    sink.stalls = 0.0
    assert await sink.receive(1) == [1] and len(errors) == 2
    period = errors[1] - errors[0]
    assert period == 10 * divisor
    sink.stalls = 1.0
    source.send([4, 5, 6])
    start = tb.cycle
    while not harness.peek(dut.o__valid):
        await tb.wait(1)
    came = tb.cycle - start
    await tb.wait(start + came + period - 3 - tb.cycle)
    sink.stalls = 0.0
    assert await sink.receive(3) == [4, 5, 6] and len(errors) == 2
    assert sink.cycles[-1] - sink.cycles[-2] == period >= sink.cycles[-2] - sink.cycles[-3]


@pytest.mark.parametrize("divisor", [8, 87])
def test_uart(sim, divisor):
    harness.run(Loop(divisor), __name__, sim=sim, parameters={"divisor": divisor})


def test_divisor():
    with pytest.raises(ValueError, match="3 clocks a bit; it must be at least 4"):
        UartReceiver(3)
