"""``make board-sim``: a board in simulation, from serial pins to memory, and the real host program at its port."""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from scoville.board.block_ram import BlockRam
from scoville.board.board import Board
from scoville.board.sdram import SdramController
from scoville.board.sdram_timing import part
from scoville.config import get_config

from .board import BoardTerminal, VerilatedBoard
from .build import SimError
from .sdram import sdram_defines

__all__ = ["BOARDS", "SIM_BAUD", "SimBoard", "simulated_board"]

# What the simulation is, about: so the host's time-outs, which count clocks and bits, fit the simulator's speed.
SIM_BAUD, DIVISOR = 38_400, 4


@dataclass(frozen=True, kw_only=True)
class SimBoard:
    """What a board is made of: a configuration, and bytes of block RAM or the name of an SDRAM part."""

    config: str
    block_ram: int = 0
    sdram: str = ""
    model_options: tuple = ()


BOARDS = {
    "ulx3s-bram": SimBoard(config="ulx3s_bram", block_ram=32 * 9216,
                           model_options=("--weights", "q4_0", "--context", "128")),
    "ulx3s": SimBoard(config="ulx3s", sdram="as4c16m16sa_7"),
}
SDRAM_HZ = 80_000_000  # of the clock on the board, which sets how many clocks the part's times are


def simulated_board(name):
    """The `Board` of that name; SimError, with the names there are, if there is none."""
    if name not in BOARDS:
        raise SimError(f"unknown board {name!r}; there are: {', '.join(BOARDS)}")
    board = BOARDS[name]
    config = get_config(board.config)
    memory = (SdramController(config, part(board.sdram, SDRAM_HZ)) if board.sdram else
              BlockRam(config, board.block_ram))
    return Board(config, memory, clock_hz=SIM_BAUD * DIVISOR, baud=SIM_BAUD, name=name)


def _host(port, arguments):
    """Run the command ``scoville generate`` at a port; its exit status."""
    command = [Path(sys.executable).parent / "scoville", "generate", "--backend", "board", "--port", port,
               "--baud", SIM_BAUD, *arguments]
    print("$", " ".join(map(str, command)), file=sys.stderr, flush=True)
    return subprocess.run(list(map(str, command)), check=False).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", required=True)
    options, arguments = parser.parse_known_args()
    start = time.monotonic()
    try:
        board = simulated_board(options.board)
        sdram = isinstance(board.memory, SdramController)
        with VerilatedBoard(board, sdram_defines(board.memory.timing) if sdram else ()) as verilated:
            built = time.monotonic()
            with BoardTerminal(verilated) as terminal:
                status = _host(terminal.port, [*BOARDS[options.board].model_options, *arguments])
            for error in verilated.errors:
                print(f"board-sim: {error}", file=sys.stderr)
                status = status or 1
            print(f"board-sim: {verilated.cycles:,} clocks in {time.monotonic() - built:.0f} s, "
                  f"built in {built - start:.0f} s", file=sys.stderr)
    except SimError as error:
        print(f"board-sim: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status)


if __name__ == "__main__":
    main()
