"""What an SoC engineer takes away: the Verilog, what is in it, and the register map."""

import hashlib
import warnings
from dataclasses import asdict
from pathlib import Path

from ..errors import RequestError
from ..files import check_outputs, write_json, write_text

__all__ = ["ports", "write_artefacts"]


def ports(component):
    """The ports of a component in the Verilog: list of dicts with name, direction and width; clk and rst come first."""
    from amaranth.lib.wiring import Flow

    found = [{"name": name, "direction": "input", "width": 1} for name in ("clk", "rst")]
    for path, member, value in component.signature.flatten(component):
        direction = "input" if member.flow is Flow.In else "output"
        found.append({"name": "__".join(map(str, path)), "direction": direction, "width": len(value.as_value())
                      if hasattr(value, "as_value") else len(value)})
    return found


def write_artefacts(config, folder):
    """Write ``scoville.sv``, ``scoville.v`` (the same in Verilog-2005) and what goes with them for a configuration; of
    one with several slots the rings' structs, too.

    Returns
    -------
    list of paths
    """
    import amaranth
    from scoville import __version__, registers, verilog
    from scoville.chip import Chip
    from scoville.naming import NamingError
    from scoville.schedule import records

    folder = Path(folder)
    tables = {"registers.md": registers.markdown, "scoville_regs.h": registers.c_header}
    if config.slots > 1:
        tables["scoville_records.h"] = records.c_header
    names = ("scoville.sv", "scoville.v", *tables, "scoville.json")
    check_outputs({f"output {name}": folder / name for name in names})
    top = Chip(config)
    try:
        rtlil = verilog.emit_rtlil(top, "scoville", assertions=False)
    except NamingError as error:
        warnings.simplefilter("ignore", amaranth.UnusedElaboratable)  # what was made until then
        raise RequestError(str(error)) from None
    texts = {"scoville.sv": verilog.from_rtlil(rtlil),
             "scoville.v": verilog.from_rtlil(rtlil, system_verilog=False)}
    texts |= {name: table() for name, table in tables.items()}
    for name, content in texts.items():
        write_text(folder / name, content)
    write_json(folder / "scoville.json", {
        "name": "scoville", "version": __version__, "amaranth": amaranth.__version__, "parameters": asdict(config),
        "ports": ports(top),
        "sha256": {name: hashlib.sha256(content.encode()).hexdigest() for name, content in texts.items()},
    })
    return [folder / name for name in names]
