"""`make mutate` itself: a small sample of mutants dies, and a testbench that does not look is found out."""

import json
import re
import shutil

import cocotb
import harness
import mutants
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from scoville.slices import Skid
from scoville.verilog import emit_rtlil
from scoville_sim.mutation import mutate, netlist
from scoville_sim.mutation.equivalence import Pair, equivalent

SAMPLE = ("slices", "control/queue", "array/drain")

NEEDS_ABC = pytest.mark.skipif(shutil.which("berkeley-abc") is None, reason="berkeley-abc is not installed")


class Selects(wiring.Component):
    """One of two equal things, by a bit that nobody can see."""

    UNSEEN = 1
    i: In(2)
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        kept = Signal(2, reset_less=True)
        m.d.sync += kept.eq(self.i)
        m.d.comb += self.o.eq((kept[0] & kept[self.UNSEEN]) | (kept[0] & ~kept[self.UNSEEN]))
        return m


class Counts(wiring.Component):
    """Busy for eight cycles, counted in a register of which nobody sees more than that."""

    start: In(1)
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        count = Signal(range(9))
        with m.If(self.o):
            m.d.sync += count.eq(count + 1)
            with m.If(count == 7):
                m.d.sync += self.o.eq(0)
        with m.Elif(self.start):
            m.d.sync += [count.eq(0), self.o.eq(1)]
        return m


@cocotb.test()
async def looks(dut):
    await harness.pass_through(dut, 1, 0.4)


@cocotb.test()
async def only_counts(dut):
    """A weak testbench: as many items as were sent, whatever they are."""
    bench = harness.Bench(dut)
    source, sink = bench.source("i", 0.3), bench.sink("o", 0.3)
    await bench.reset()
    source.send(range(50))
    assert len(await sink.receive(50)) == 50


@cocotb.test()
async def always_fails(dut):
    raise AssertionError("no design passes")


@pytest.mark.parametrize("case", ["looks", "only_counts"])
def test_judge(sim, case):
    harness.run(Skid(8), __name__, sim=sim, testcase=case)


def test_failing_judge(sim):
    with pytest.raises(pytest.fail.Exception):
        harness.run(Skid(8), __name__, sim=sim, testcase="always_fails")


def judged(test, folder, count=20):
    return mutate.measure("slices", [f"tb/test_mutation.py::{test}"], count, folder=mutate.BUILD / folder)


@pytest.mark.heavy
def test_weak_testbench_is_found_out():
    """Lost or changed bits live under a testbench that only counts, and the score says so."""
    weak, strong = (mutate.score(judged(f"test_judge[verilator-{case}]", f"tests/{case}"))
                    for case in ("only_counts", "looks"))
    assert weak["score"] < mutate.BAR <= strong["score"], (weak, strong)


@pytest.mark.heavy
def test_broken_testbench_kills_nothing():
    """A testbench that fails without a mutant is an error, not a perfect score."""
    with pytest.raises(RuntimeError, match="do not pass on the design itself"):
        judged("test_failing_judge[verilator]", "tests/fails", 2)


def test_judges_that_are_no_smoke_tests():
    """No mutant would meet a test, and none would live."""
    with pytest.raises(RuntimeError, match="no testbench ran in .*test_broken_testbench"):
        judged("test_broken_testbench_kills_nothing", "tests/none")


def test_time_limit():
    """Whole ns, as the simulator has no fraction of its step: else every mutant would seem dead."""
    limit = mutants.time_limit(12521.000000000015)
    assert limit == 87563 and isinstance(limit, int)


def test_order_of_tests():
    """That of the line's killers, then of most kills in a time; the testbench's own where the design needs it."""
    order, tests = mutants.Order(), list(enumerate(["long", "short", "last"]))

    def ranked(line):
        return [name for _, name in sorted(tests, key=order.key(line))]

    assert ranked("a:1") == ["long", "short", "last"]
    order.times = [400, 100, 100]
    assert ranked("a:1") == ["short", "last", "long"]
    for _ in range(8):
        order.killed("a:1", 0)
    assert ranked("a:2") == ["long", "short", "last"]
    order.killed("a:2", 2)
    assert ranked("a:2") == ["last", "long", "short"]


@pytest.mark.heavy
@pytest.mark.parametrize("unit", SAMPLE)
def test_sample(unit):
    """Five mutants of a unit: at most one lives."""
    counts = mutate.score(mutate.measure(unit, mutate.units()[unit], 5, folder=mutate.BUILD / "tests" / unit))
    assert counts["mutants"] == 5 and counts["survived"] + counts["excused"] <= 1, counts


@pytest.mark.heavy
@NEEDS_ABC
def test_equivalence():
    """A bit that makes no difference is proved to make none; one that does is not, nor is a clock."""
    folder = mutate.BUILD / "tests" / "equivalence"
    netlist.elaborate(emit_rtlil(Selects(), emit_src=True), folder)
    planted, _ = netlist.mutate(folder, netlist.candidates(folder, "tb/test_mutation.py"), 1000, 1)
    verdicts = equivalent(folder, planted)
    assert {mutant.port for mutant in planted} >= {"CLK", "D", "Q"}
    for mutant in planted:
        if mutant.port in ("D", "Q"):
            assert verdicts[mutant.number] == ("equivalent" if mutant.bit == Selects.UNSEEN else "different"), mutant
        elif mutant.port == "CLK":
            assert verdicts[mutant.number] == "unknown", mutant
    # Latches are paired by name: those that mutants are at have one, too.
    graph = (folder / "miter.aag").read_text(encoding="utf-8")
    latches = int(graph.split(maxsplit=4)[3])
    assert latches == len(re.findall(r"^l\d+ (?:gold|gate)\.\S", graph, re.MULTILINE)) == 2 * 2


@pytest.mark.heavy
@NEEDS_ABC
def test_another_order_is_equivalent():
    """Eight steps in another order are as many; with bit 0 inverted they are four. The top bit is never 1."""
    folder = mutate.BUILD / "tests" / "order"
    netlist.elaborate(emit_rtlil(Counts(), emit_src=True), folder)
    planted, _ = netlist.mutate(folder, netlist.candidates(folder, "tb/test_mutation.py"), 1000, 1)
    (cell,) = {mutant.cell for mutant in planted if (mutant.port, mutant.bit) == ("Q", 3)}
    wanted = {("inv", 0): "different", ("inv", 1): "equivalent", ("inv", 2): "equivalent", ("const0", 3): "equivalent"}
    chosen = [mutant for mutant in planted if (mutant.cell, mutant.port) == (cell, "Q")
              and (mutant.kind, mutant.bit) in wanted]
    verdicts = equivalent(folder, chosen, 5)
    found = {(mutant.kind, mutant.bit): verdicts[mutant.number] for mutant in chosen}
    assert found == wanted
    # Each latch has its like in the other copy, also one that is a port, as `o` is.
    pair = Pair((folder / "miter.aag").read_text(encoding="utf-8"))
    assert 2 * len(pair.pairs) == len(pair.latches)


def test_constant_held_at_its_value(tmp_path, monkeypatch):
    """That is no fault; the other value, or another cell's bit, may be one. A large memory is not tried."""
    connections = {"x": {"connections": {"A": ["0", 7, "1"]}}}
    (tmp_path / "cells.json").write_text(json.dumps({"modules": {"top": {"cells": connections, "ports": {}}}}))
    (tmp_path / "mutants.il").write_text("  memory width 16 size 9000 \\words\n")
    planted = [netlist.Mutant(number, kind, "x", "$mux", "A", bit, "f.py:1") for number, (kind, bit) in enumerate(
        [("const0", 0), ("const1", 2), ("const1", 0), ("const0", 1), ("inv", 0)], 1)]
    wanted = ["equivalent"] * 2 + ["unknown"] * 3
    assert list(equivalent(tmp_path, planted).values()) == wanted
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert list(equivalent(tmp_path, planted).values()) == wanted


def test_excuses_match():
    """Every excuse names a line that is still there and units that exist."""
    assert {excuse["unit"] for excuse in mutate.excuses()} <= set(mutate.units())
