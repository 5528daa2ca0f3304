"""Options that several commands share."""

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import RequestError

__all__ = ["BAUD", "Backend", "Baud", "Board", "Config", "Context", "Json", "Layers", "MaxNewTokens", "Memory", "Model",
           "PoolPages", "Port", "Position", "Quiet", "Seed", "Slots", "System", "Temperature", "Trace", "TraceTokens",
           "Weights", "as_text", "board_options", "check_seed"]

BAUD = 1_000_000


def as_text(value: str | None):
    """An argument as the text that was meant: UTF-8 in any locale, else the locale's own encoding."""
    if value is None:
        return None
    with contextlib.suppress(UnicodeError):
        return os.fsencode(value).decode("utf-8")
    if any("\ud800" <= char <= "\udfff" for char in value):  # bytes that no encoding gave a meaning
        raise RequestError("--prompt is not text: it is neither UTF-8 nor in the locale's encoding")
    return value


Model = Annotated[str, typer.Option(help="A name (see `scoville models`), a Hugging Face directory, or a .gguf file.")]
Config = Annotated[str | None, typer.Option(help="A configuration (see `scoville configs`). Default: nano if the "
                                                 "model fits, else kria.")]
Backend = Annotated[str, typer.Option(help="golden (the numpy model), rtl (the Verilated chip) or board (an FPGA).")]
Memory = Annotated[str | None, typer.Option(help="Timing of the simulated memory: ideal, ddr4, hbm, lpddr4, sdram, "
                                                 "sdram32, block_ram, random.")]
Weights = Annotated[str | None, typer.Option(help="Bring all weights to this format: mxint8, q8_0, q4_0, q4_1 or "
                                                  "mxfp4. Default: as stored; floats become mxint8.")]
Context = Annotated[int | None, typer.Option(help="Positions to make room for. Default: the model's own, at most 512.")]
Layers = Annotated[int | None, typer.Option(help="Only so many of the model's first layers. Default: all.")]
Position = Annotated[int, typer.Option(help="Positions before the prompt that are in the KV cache already.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the numbers of the run to this file.")]
Trace = Annotated[Path | None, typer.Option(help="Write a Chrome trace of the last tokens (rtl only).")]
TraceTokens = Annotated[int, typer.Option(help="Passes that make a token, in the trace, counted from the end.")]
Port = Annotated[str | None, typer.Option(help="Serial port of the board, such as /dev/ttyUSB0.")]
Baud = Annotated[int, typer.Option(help="Rate of the board's serial line.")]
Board = Annotated[str | None, typer.Option(help="Name of the board that has to answer. Default: any.")]
Slots = Annotated[int | None, typer.Option(help="Sequences that live in the chip at a time, a power of two. Default: "
                                                "the configuration's; if that is 1, all, at most 16.")]
PoolPages = Annotated[int | None, typer.Option(help="Pages of 32 tokens, for all slots. Default: enough.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
MaxNewTokens = Annotated[int, typer.Option(help="Most tokens to generate.")]
Temperature = Annotated[float, typer.Option(help="0: always the likeliest token.")]
Seed = Annotated[int, typer.Option(help="Of the sampler.")]
System = Annotated[str | None, typer.Option(callback=as_text, help="A system message in front of the conversation.")]


def check_seed(seed):
    """Refuse a seed that the chip's register cannot hold."""
    if not 0 <= seed < 1 << 64:
        raise RequestError(f"seed is {seed}; it must be 0 to 2^64 - 1")


def board_options(backend, port, baud, board, config, **options):
    """(name of the configuration, arguments of `BoardBackend` or None): a board says itself what it was built for."""
    if backend != "board":
        return config, None
    from ..runtime.board import board_config, open_board

    link = open_board(port, baud, board)
    return board_config(link, config), {"link": link} | options
