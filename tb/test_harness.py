"""The harness itself: a FIFO keeps order at full throughput and under stalls, and broken streams are caught."""

import re
import time
from pathlib import Path

import cocotb
import harness
import pytest
import simulators
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


class Hung(wiring.Component):
    """Takes five items, gives four, and does nothing any more."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    done: Out(1)

    def elaborate(self, platform):
        m = Module()
        taken, given = Signal(3), Signal(3)
        m.d.comb += [self.i.ready.eq(taken != 5), self.o.valid.eq(given != 4), self.o.payload.eq(given)]
        m.d.sync += [taken.eq(taken + (self.i.valid & self.i.ready)), given.eq(given + (self.o.valid & self.o.ready))]
        return m


class Counted(wiring.Component):
    """Its assertion fails at the sixth transfer."""

    def __init__(self, message):
        self.message = message
        super().__init__({"o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.valid.eq(1)
        with m.If(self.o.ready):
            m.d.sync += self.o.payload.eq(self.o.payload + 1)
        m.d.sync += Assert(self.o.payload < 5, self.message)
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
async def ends_before_it_fails(dut):
    """The fourth item comes when the payload is 3: the assertion would fail two transfers later."""
    tb = harness.Bench(dut)
    sink = tb.sink("o")
    await tb.reset()
    assert await sink.receive(3) == list(range(3))


@cocotb.test()
async def looks_away(dut):
    """Nobody looks at the values, and the test goes on for long after the assertion."""
    tb = harness.Bench(dut)
    tb.sink("o")
    await tb.reset()
    await tb.wait(1000)


@cocotb.test()
async def waits_for_an_item(dut):
    tb = harness.Bench(dut)
    tb.source("i")
    sink = tb.sink("o", stalls=0.3)
    await tb.reset()
    sink.timeout = 1000
    await sink.receive(5)


@cocotb.test()
async def waits_to_be_taken(dut):
    tb = harness.Bench(dut)
    source, _ = tb.source("i"), tb.sink("o")
    await tb.reset()
    source.timeout = 1000
    source.send(range(9))
    await source.drain()


@cocotb.test()
async def waits_for_a_signal(dut):
    tb = harness.Bench(dut)
    await tb.reset()
    await tb.until(dut.done, timeout=1000)


@cocotb.test()
async def waits_in_its_own_way(dut):
    tb = harness.Bench(dut, cpu_limit=2)
    tb.sink("o")
    await tb.reset()
    while not harness.peek(dut.done):
        await tb.wait(1)


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


@pytest.mark.parametrize("message", ["counted: at most 100 % of (five) \"items\"", ""])
def test_failed_assertion_is_caught(sim, message):
    """In the middle of a run that would pass, with a message and without one."""
    with pytest.raises(pytest.fail.Exception, match="(?is)" + re.escape(message) + ".*assertion failed"):
        harness.run(Counted(message), __name__, sim=sim, testcase="looks_away")


def test_assertion_that_holds(sim):
    harness.run(Counted(""), __name__, sim=sim, testcase="ends_before_it_fails")


def test_hung_component(sim):
    """It fails its tests within a minute, whatever they wait for, and the state of every stream is shown."""
    start = time.monotonic()
    with pytest.raises(pytest.fail.Exception) as failure:
        harness.run(Hung, __name__, sim=sim, testcase=["waits_for_an_item", "waits_to_be_taken", "waits_for_a_signal",
                                                       "waits_in_its_own_way"])
    assert time.monotonic() - start < 60
    log = Path(re.search("log (.*)", str(failure.value))[1]).read_text()
    assert "PASS=0 FAIL=4" in log
    for text in (r"4 of 5 payloads came, then none for 1000 cycles.*\n.* i: valid=0 ready=1, 0 taken.*\n.* o: valid=0",
                 r"i: none of 4 payloads taken.*\n.* i: valid=1 ready=0, 5 taken.*; 4 more to send.*\n.* o: .*, 4 came",
                 r"no output changed for 1000 cycles .* done.*\n.* i: valid=0 ready=1.*\n.* o: valid=1 ready=0",
                 r"not done after 2 seconds of processor time.*\n.* i: .*\n.* o: valid=0 ready=1, 4 came"):
        assert re.search(text, log), text


@cocotb.test()
async def unlucky(dut):
    """Fails where the seed makes it: for some of the seeds."""
    tb = harness.Bench(dut)
    await tb.reset()
    assert tb.rng.random() < 0.7


def test_seeds(sim, monkeypatch):
    """One build, a run for each seed, Icarus two at the most; the seeds that fail are named, and each fails alone."""
    monkeypatch.setenv("SEED", "3")
    monkeypatch.setenv("SEEDS", "4")
    harness.run(Doubler, __name__, sim=sim, testcase="doubles")
    folders = [path.name for path in (simulators.BUILD / "runs").glob(f"test_harness.py_test_seeds_{sim}*")]
    assert {name.rpartition("-")[2] for name in folders} >= ({"3", "4"} if sim == "icarus" else set("3456"))
    with pytest.raises(pytest.fail.Exception, match=r"^\d+ of \d+ seeds failed: ") as failure:
        for first in range(3, 103, 4):
            monkeypatch.setenv("SEED", str(first))
            harness.run(Queue, __name__, sim=sim, testcase="unlucky")
    (bad, *_) = re.search("failed: (.*)", str(failure.value))[1].split(", ")
    monkeypatch.setenv("SEEDS", "1")
    monkeypatch.setenv("SEED", bad)
    with pytest.raises(pytest.fail.Exception, match=f"SEED={bad},"):
        harness.run(Queue, __name__, sim=sim, testcase="unlucky")


def test_pack():
    layout = data.StructLayout({"a": 3, "b": data.ArrayLayout(signed := Signal(range(-8, 8)).shape(), 4)})
    value = {"a": 5, "b": [-1, 2, -8, 7]}
    assert signed.signed
    assert harness.unpack(layout, harness.pack(layout, value)) == value
    assert harness.pack(layout, value) == layout.const(value).as_value().value
