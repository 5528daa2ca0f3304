"""The harness itself: a FIFO keeps order at full throughput and under stalls, and broken streams are caught."""

import cocotb
import harness
import pytest
from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

WIDTH = 200


class Queue(wiring.Component):
    """A FIFO with stream ports."""

    def __init__(self):
        super().__init__({"i": In(stream.Signature(WIDTH)), "o": Out(stream.Signature(WIDTH))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=WIDTH, depth=8)
        wiring.connect(m, wiring.flipped(self.i), queue.w_stream)
        wiring.connect(m, queue.r_stream, wiring.flipped(self.o))
        return m


class Restless(wiring.Component):
    """Breaks the rules: its payload counts on while it waits for ready."""

    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.payload.eq(self.o.payload + 1)
        m.d.comb += self.o.valid.eq(1)
        return m


class Counted(wiring.Component):
    """Its assertion fails at the fifth transfer."""

    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.valid.eq(1)
        with m.If(self.o.ready):
            m.d.sync += self.o.payload.eq(self.o.payload + 1)
        m.d.sync += Assert(self.o.payload < 5)
        return m


class Doubler(wiring.Component):
    """Combinational: no clock at all."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(9))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.payload.eq(self.i.payload << 1), self.o.valid.eq(self.i.valid),
                     self.i.ready.eq(self.o.ready)]
        return m


@cocotb.test()
async def order_under_stalls(dut):
    tb = harness.Bench(dut, seed=1)
    source, sink = tb.source("i", stalls=0.4), tb.sink("o", stalls=0.4)
    await tb.reset()
    sent = [tb.rng.getrandbits(WIDTH) for _ in range(300)]
    source.send(sent)
    assert await sink.receive(100) == sent[:100]
    assert await sink.receive(200) == sent[100:]
    assert source.accepted == sent


@cocotb.test()
async def full_throughput(dut):
    tb = harness.Bench(dut, seed=2)
    source, sink = tb.source("i"), tb.sink("o")
    await tb.reset()
    source.send(range(1, 501))
    assert await sink.receive(500) == list(range(1, 501))
    assert sink.cycles[-1] - sink.cycles[0] == 499
    await tb.reset()
    source.send([7, 8])
    assert await sink.receive(2) == [7, 8]


@cocotb.test()
async def doubles(dut):
    tb = harness.Bench(dut)
    source, sink = tb.source("i", stalls=0.3), tb.sink("o", stalls=0.3)
    await tb.reset()
    source.send(range(100))
    assert await sink.receive(100) == [2 * n for n in range(100)]


@cocotb.test()
async def counts(dut):
    tb = harness.Bench(dut)
    sink = tb.sink("o")
    await tb.reset()
    assert await sink.receive(10) == list(range(10))


@cocotb.test()
async def restless(dut):
    tb = harness.Bench(dut)
    sink = tb.sink("o", stalls=0.5)
    await tb.reset()
    await sink.receive(100)


def test_queue(sim):
    harness.run(Queue, __name__, sim=sim, testcase=["order_under_stalls", "full_throughput"])


def test_combinational(sim):
    harness.run(Doubler, __name__, sim=sim, testcase="doubles")


def test_broken_stream_is_caught(sim):
    with pytest.raises(pytest.fail.Exception, match="payload changed"):
        harness.run(Restless, __name__, sim=sim, testcase="restless")


def test_failed_assertion_is_caught(sim):
    with pytest.raises(pytest.fail.Exception, match="(?i)assertion failed"):
        harness.run(Counted, __name__, sim=sim, testcase="counts")


def test_pack():
    layout = data.StructLayout({"a": 3, "b": data.ArrayLayout(signed := Signal(range(-8, 8)).shape(), 4)})
    value = {"a": 5, "b": [-1, 2, -8, 7]}
    assert signed.signed
    assert harness.unpack(layout, harness.pack(layout, value)) == value
    assert harness.pack(layout, value) == layout.const(value).as_value().value
