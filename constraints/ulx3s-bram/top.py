"""ULX3S with an LFE5U-85F: the chip with models/tiny wholly in block RAM."""

from scoville.board.block_ram import BlockRam
from scoville.board.board import Board
from scoville.config import get_config
from scoville_sim.fpga import load

CONFIG = "ulx3s_bram"
ULX3S = load("ulx3s")
CLOCK_HZ = ULX3S.CLOCK_HZ
LOADER = ULX3S.LOADER
BLOCK_RAM = 20480  # words of the bus: 320 KiB, 160 of the 208 block RAMs
# The words are zero without being told so, and telling Yosys costs it minutes: it copies 2.6 million bits for each RAM.
OPTIONS = {"script_after_read": "delete top.board.memory/t:$meminit_v2"}

platform = ULX3S.platform


def top(clock_hz=CLOCK_HZ):
    config = get_config(CONFIG)
    memory = BlockRam(config, BLOCK_RAM * config.bus_bytes)
    return ULX3S.Top(Board(config, memory, clock_hz=clock_hz, name="ulx3s-bram"), clock_hz)
