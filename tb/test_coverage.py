"""The coverage gate: what a run leaves is read back by Python line, and each kind of gap is a failure."""


import pytest
from cover import report, toggle

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
    points = [(4, "i___05Fpayload[1]:0->1", 5), (6, "busy:0->1", 2), (6, "busy:0->1", 1), (7, "__0241:0->1", 9),
              (11, "level:0->1", 9)]
    data = tmp_path / "coverage.dat"
    data.write_text("# SystemC::Coverage-3\n" + "".join(
        f"C '\x01f\x02{source}\x01l\x02{line}\x01page\x02v_toggle/top\x01o\x02{name}\x01h\x02top' {hits}\n"
        for line, name, hits in points))
    assert toggle.read(data) == {("memory/reader.py", 64, "i__payload", "[1]:0->1"): 5,
                                 ("memory/reader.py", 90, "busy", ":0->1"): 3}
