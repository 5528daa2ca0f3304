"""The coverage gate: what a run leaves is read back by Python line, and each kind of gap is a failure."""

import json
import random

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cover import of_control, of_issue, report, toggle
from cover.constants import constants, file_of
from cover.observe import blocks, counts
from scoville.isa import FIELDS, Opcode
from scoville.verilog import emit_rtlil

BINS = {"memory.reader.length": {"one": 3, "few": 1}}
TOGGLES = {("memory/reader.py", 10, "beats", f"[{bit}]:0->1"): bit != 0 for bit in range(10)}


def excluded(tmp_path, text=""):
    path = tmp_path / "excluded.toml"
    path.write_text(text)
    return report.Exclusions(path)


def failures(tmp_path, bins=BINS, toggles=TOGGLES, text=""):
    exclusions = excluded(tmp_path, text)
    return report.failures(report.judge(bins, toggles, exclusions), exclusions)


def test_enough(tmp_path):
    assert failures(tmp_path) == []


def test_a_bin_that_was_never_hit(tmp_path):
    missed = {"memory.reader.length": {"one": 3, "few": 0}}
    assert failures(tmp_path, missed) == ["memory: never seen: memory.reader.length few"]
    entry = '[[point]]\nname = "memory.reader.length"\nbin = "few"\nreason = "the bus is narrow"\n'
    assert failures(tmp_path, missed, text=entry) == []


def test_bits_that_do_not_toggle(tmp_path):
    quiet = {key: hits and key[3] != "[1]:0->1" for key, hits in TOGGLES.items()}
    assert failures(tmp_path, toggles=quiet) == ["memory: 80.0 % of the bits toggle, 90 % must"]
    entry = '[[toggle]]\nfile = "memory/reader.py"\nsignal = "beats"\nbit = ".[01]..*"\nreason = "even"\n'
    assert failures(tmp_path, toggles=quiet, text=entry) == []


def test_exclusions_need_a_reason_and_a_use(tmp_path):
    with pytest.raises(ValueError, match="has no reason"):
        excluded(tmp_path, '[[toggle]]\nfile = "memory/reader.py"\n')
    wrong = failures(tmp_path, text='[[point]]\nname = "memory.reader.length"\nbin = "one"\nreason = "hit"\n')
    assert len(wrong) == 1 and wrong[0].startswith("an exclusion leaves nothing out")


def test_toggles_are_charged_to_python_lines(tmp_path):
    """Of a file below rtl/scoville; a library's module, and names that Yosys gives, are left out."""
    source = tmp_path / "design.sv"
    source.write_text('(* src = "/home/me/rtl/scoville/memory/reader.py:64" *)\nmodule top(clk);\n'
                      '  (* src = "/lib/amaranth/stream.py:48" *)\n  input [1:0] i__payload;\n'
                      '  (* src = "/home/me/rtl/scoville/memory/reader.py:90" *)\n  reg busy = 1\'h0;\n'
                      '  wire \\$1 ;\nendmodule\n'
                      '(* src = "/lib/amaranth/fifo.py:9" *)\nmodule fifo(clk);\n  wire level;\nendmodule\n')
    points = [(4, "i___05Fpayload[1]:0->1", 5), (4, "i___05Fpayload[0]:0->1", 0), (6, "busy:0->1", 2),
              (6, "busy:0->1", 1), (6, "busy:1->0", 0), (7, "__0241:0->1", 9), (11, "level:0->1", 9)]
    data = tmp_path / "coverage.dat"
    data.write_text("# SystemC::Coverage-3\n" + "".join(
        f"C '\x01f\x02{source}\x01l\x02{line}\x01page\x02v_toggle/top\x01o\x02{name}\x01h\x02top' {hits}\n"
        for line, name, hits in points))
    payload, busy = ("memory/reader.py", 64, "i__payload"), ("memory/reader.py", 90, "busy")
    hits = {(*payload, "[1]:0->1"): 5, (*payload, "[0]:0->1"): 0, (*busy, ":0->1"): 3, (*busy, ":1->0"): 0}
    assert toggle.read(data) == (hits, set())
    file_of(source).write_text('{"i__payload": [0, 1], "other.busy": [0]}')
    toggle._constants.cache_clear()
    kept = {key: count for key, count in hits.items() if count or key[2] == "busy"}
    assert toggle.read(data) == (kept, {(*payload, "[0]:0->1")})  # what toggles is not constant, whatever is said


def test_what_a_helper_makes_is_charged_to_its_unit(tmp_path):
    """A pipeline's registers of one name, in two units and in two pipelines of their own."""
    source, points, keys = tmp_path / "design.sv", [], []
    modules = {"add": "numerics/pipe.py", "mul": "numerics/pipe.py", "noise": "sampler/noise.py"}
    for number, (unit, file) in enumerate(modules.items()):
        with source.open("a") as text:
            text.write(f'(* src = "/me/rtl/scoville/{file}:{number}" *)\nmodule \\top.{unit} (clk);\n'
                       '  (* src = "/me/rtl/scoville/numerics/pipe.py:65" *)\n  reg delay_1;\nendmodule\n')
        points.append(f"C '\x01f\x02{source}\x01l\x02{5 * number + 4}\x01page\x02v_toggle/top.{unit}"
                      f"\x01o\x02delay_1:0->1\x01h\x02top.{unit}' {number}\n")
        keys.append((file, number, "delay_1" if unit == "noise" else f"{unit}.delay_1", ":0->1"))
    (tmp_path / "coverage.dat").write_text("".join(points))
    assert toggle.read(tmp_path / "coverage.dat") == (dict(zip(keys, range(3), strict=True)), set())


class Constants(wiring.Component):
    """Bits that are constant: as they are given, behind a register, and behind a unit's port; and bits that are not."""

    i: In(2)
    o: Out(8)
    still: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Inner()
        kept = Signal(2, init=2)
        m.d.sync += kept.eq(Cat(kept[0], self.i[0]))
        m.d.comb += [inner.i.eq(Cat(self.i, 1)), self.o.eq(Cat(inner.o, kept)), self.still.eq(5)]
        return m


class Inner(wiring.Component):
    i: In(3)
    o: Out(3)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i & 6)
        return m


@pytest.mark.heavy
def test_constant_bits_are_found():
    found = constants(emit_rtlil(Constants(), emit_src=True))
    # Register o[2] starts at 0 and becomes 1.
    assert {name: bits for name, bits in found.items() if "$" not in name} == {
        "still": [0, 1, 2, 3], "kept": [0], "o": [0, 3, 5, 6, 7], "inner.i": [2], "inner.o": [0]}


def test_instructions_can_be_sampled():
    """Any of a legal opcode, and what is none."""
    blocks()
    rng = random.Random(1)
    for opcode in range(16):
        for _ in range(400):
            word = rng.getrandbits(256) >> 4 << 4 | opcode
            for name, values in (("load_dest", 3), ("mode", 3), ("dest", 6)):
                if opcode in list(Opcode) and name in FIELDS[Opcode(opcode)]:
                    lsb, width = FIELDS[Opcode(opcode)][name]
                    word = word & ~((1 << width) - 1 << lsb) | rng.randrange(values) << lsb
            of_issue.instructions({"": word})
            of_control.front_end({"word": word, "address": 0})
    sampled = {name: hits for name, hits in counts().items() if name.startswith(("issue.issue", "control.front"))}
    del sampled["control.front_end.page_fault"]
    assert all(all(hits.values()) for hits in sampled.values()), sampled


@pytest.mark.parametrize("planted", ["", "bin", "toggle", "exclusion"])
def test_a_planted_miss_fails_in_one_line(tmp_path, capsys, planted):
    """The exit status of the report, which is that of `make coverage`."""
    blocks()
    points = {name: dict.fromkeys(hits, 1) for name, hits in counts().items()}
    if planted == "bin":
        points["memory.reader.length"]["few"] = 0
    (tmp_path / "cover.json").write_text(json.dumps({"streams": {}, "points": points}))
    source = tmp_path / "design.sv"
    source.write_text('(* src = "/home/me/rtl/scoville/memory/reader.py:64" *)\nmodule top(clk);\n  input [9:0] i;\n')
    (tmp_path / "coverage.dat").write_text("".join(
        f"C '\x01f\x02{source}\x01l\x023\x01page\x02v_toggle/top\x01o\x02i[{bit}]:0->1\x01h\x02top' "
        f"{int(planted != 'toggle' or bit > 1)}\n" for bit in range(10)))
    excluded = tmp_path / "excluded.toml"
    excluded.write_text('[[point]]\nname = "x"\nreason = "was once there"\n' if planted == "exclusion" else "")
    assert report.main([str(tmp_path), "--excluded", str(excluded)]) == bool(planted)
    reasons = {"": "", "bin": "coverage: 1 of its bars missed: memory: never seen: memory.reader.length few\n",
               "toggle": "coverage: 1 of its bars missed: memory: 80.0 % of the bits toggle, 90 % must\n",
               "exclusion": "coverage: 1 of its bars missed: an exclusion leaves nothing out: "
                            "{'name': 'x', 'reason': 'was once there'}\n"}
    assert capsys.readouterr().err == reasons[planted]
