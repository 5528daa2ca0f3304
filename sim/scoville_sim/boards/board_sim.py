"""``make board-sim``: a board in simulation, from serial pins to memory, and the real host program at its port."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from scoville.board.board import Board
from scoville.board.sdram import SdramController
from scoville.config import get_config
from scoville_host.streams import as_program

from ..chip.build import SimError
from .board import BoardTerminal, VerilatedBoard
from .fpga import FpgaError, load
from .sdram import sdram_defines

__all__ = ["SIM_BAUD", "simulated_board"]

# What the simulation is, about: so the host's time-outs, which count clocks and bits, fit the simulator's speed.
SIM_BAUD, DIVISOR = 38_400, 4


def simulated_board(name):
    """The `Board` of that name with the memory it has at its own clock; SimError if there is none such.

    The registers in I/O cells are not simulated, so the memory does not wait for them.
    """
    module = _module(name)
    config = get_config(module.CONFIG)
    memory = module.memory(config, io_latency=0)
    return Board(config, memory, clock_hz=SIM_BAUD * DIVISOR, baud=SIM_BAUD, name=name)


def _module(name):
    try:
        return load(name)
    except FpgaError as error:
        raise SimError(str(error)) from None


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
                status = _host(terminal.port, [*getattr(_module(options.board), "MODEL_OPTIONS", ()), *arguments])
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
    as_program(main, "board-sim")
