"""``scoville verilog``: the chip's Verilog and what goes with it."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["run"]


def run(
    config: Annotated[str, typer.Option(help="A configuration (see `scoville configs`).")] = "nano",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder. Default: build/<config>.")] = None,
):
    """Write the chip in SystemVerilog and Verilog-2005, its ports and parameters (JSON), register map (Markdown, C).

    \b
    scoville verilog --config kria
    """
    from ..report.artefacts import write_artefacts
    from ..runtime.session import find_config

    for path in write_artefacts(find_config(config), output or Path("build") / config):
        print(path)
