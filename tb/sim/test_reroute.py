"""Nets of slow paths lose their wires, and no others."""

import json

from scoville_sim.boards.reroute import main


def sdf():
    """Registers r and s, each through LUTs to register t: 0.5 + 2 + 0.2 + 3 + 0.1 and 0.5 + 1 + 0.2 + 3 + 0.1 ns."""
    cells = {name: ["(IOPATH CLK Q (500:500:500) (500:500:500))"] for name in "rs"}
    cells |= {"l": [f"(IOPATH {pin} F (200:200:200) (200:200:200))" for pin in "AB"]}
    cells |= {"t": ["(SETUPHOLD (posedge DI) (posedge CLK) (100:100:100) (0:0:0))"]}
    lines = [line for name, body in cells.items() for line in (f"(INSTANCE {name})", *body)]
    wires = {("r/Q", "l/A"): 2000, ("s/Q", "l/B"): 1000, ("l/F", "t/DI"): 3000}
    lines += [f"(INTERCONNECT {source} {target} ({delay}:{delay}:{delay}) ({delay}:{delay}:{delay}))"
              for (source, target), delay in wires.items()]
    return "\n".join(lines)


def design():
    nets = {"r": 1, "s": 2, "l": 3, "clk": 4}
    netnames = {name: {"bits": [bit], "attributes": {"ROUTING": "X1/Y1/A;;1"}} for name, bit in nets.items()}
    netnames["clk"]["attributes"]["ECP5_IS_GLOBAL"] = "1"
    cells = {"\\r": {"connections": {"Q": [1]}}, "s": {"connections": {"Q": [2]}}, "l": {"connections": {"F": [3]}}}
    return {"modules": {"top": {"settings": {"router": "router2"}, "cells": cells, "netnames": netnames}}}


def test_slow_nets_lose_their_wires(tmp_path):
    routed, delays, out = tmp_path / "routed.json", tmp_path / "top.sdf", tmp_path / "again.json"
    routed.write_text(json.dumps(design()))
    delays.write_text(sdf())
    for most, wanted in ((5.9, set()), (5.7, {"r", "l"}), (4.7, {"r", "s", "l"})):
        assert main([str(routed), str(delays), str(out), "--most-ns", str(most)]) == 0
        top = json.loads(out.read_text())["modules"]["top"]
        assert {name for name, net in top["netnames"].items() if net["attributes"]["ROUTING"] == " "} == wanted
        assert top["settings"]["router"] == "router1"


def test_a_missing_file_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none.json"), str(tmp_path / "none.sdf"), str(tmp_path / "out.json")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1 and not (tmp_path / "out.json").exists()
