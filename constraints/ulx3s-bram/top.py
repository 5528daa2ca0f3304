"""ULX3S with an LFE5U-85F: the chip with models/tiny wholly in block RAM."""

from scoville.board.block_ram import BlockRam
from scoville.board.board import Board
from scoville.config import get_config
from scoville_sim.boards.fpga import load

CONFIG = "ulx3s_bram"
ULX3S = load("ulx3s")
CLOCK_HZ = 75_000_000
LOADER = ULX3S.LOADER
ROUTER, ROUNDS = "router2", 4  # router1 alone comes to no end: the memory's blocks take the room of the chip's
BLOCK_RAM = 18432  # words of the bus: 288 KiB, 144 of the 208 block RAMs

MODEL_OPTIONS = ("--weights", "mxfp4", "--context", "96")  # with which models/tiny fits

platform = ULX3S.platform


def memory(config, clock_hz=CLOCK_HZ, io_latency=0):
    return BlockRam(config, BLOCK_RAM * config.bus_bytes)


def top(clock_hz=CLOCK_HZ):
    config = get_config(CONFIG)
    return ULX3S.Top(Board(config, memory(config), clock_hz=clock_hz, name="ulx3s-bram"), clock_hz)
