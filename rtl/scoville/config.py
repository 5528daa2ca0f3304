"""Configurations: every size of the chip in one frozen record, and the named ones people build."""

from dataclasses import dataclass

from amaranth.utils import exact_log2

__all__ = ["BLOCK", "CONFIGS", "PAGE_TOKENS", "SUPER_BLOCKS", "TILE_ROWS", "VALUES_BEHIND", "ChipConfig", "get_config"]

BLOCK = 32  # values in an activation or weight block
SUPER_BLOCKS = 8  # weight blocks that share an FP16 scale, where scales have two levels
TILE_ROWS = 32  # output rows that the array accumulates together: rows * interleave
PAGE_TOKENS = 32  # tokens in a KV page
VALUES_BEHIND = 3  # pages by which V follows K in the stream: in their shadow the softmax unit works


@dataclass(frozen=True, kw_only=True)
class ChipConfig:
    """Sizes of one build. No field changes a result bit except `act_bits` (numerics contract, rule 1).

    Parameters
    ----------
    bus_bytes : memory data bus, bytes a beat; a power of two, 8 to 256.
    rows, lanes : dot units a lane, and lanes; powers of two. `32 // rows` must cover the accumulate latency (4).
    phases : tokens that a lane serves in turn; a power of two. A weight is used for `phases` tokens a lane before the
        next one is taken, so that a prompt keeps multipliers busy that the bus alone could not feed.
    dot_width : multipliers a dot unit, a power of two up to 32; a block takes ``32 // dot_width`` cycles.
    product_stages : registers of the dot units' multipliers: 1, behind a register in front of them all, or 3, for parts
        whose multiplier blocks have so many.
    act_bits : bits of an activation code, 8 to 12. 10 diverges from FP32 a sixth as much as 8 (README, quantisation); 8
        is for parts that lack room.
    max_hidden : depth of the residual buffer and of the norm-weight buffer, values.
    max_rows : depth of the bias buffer, values.
    operand_blocks : depth of the operand buffer, blocks a lane.
    max_head_blocks : largest head dimension in blocks of 32.
    stream_beats : depth of the stream FIFO, beats: how far the reader runs ahead.
    addr_bits : width of a memory address.
    slots : sequences that live in the chip at a time; a power of two.
    cache_groups : groups of layers that keep the same tokens, each with a page table a slot; a power of two.
    pool_pages : pages of the KV cache that the chip can keep account of; a power of two.
    slot_pages : entries of a slot's page table a group, so a slot holds up to 32 * slot_pages tokens; a power of two.
    k_quants : whether weights may have codes of 5 and 6 bits and scales of two levels (docs/design.md).
    """

    name: str
    bus_bytes: int
    rows: int
    lanes: int
    phases: int = 1
    dot_width: int = 32
    product_stages: int = 1
    act_bits: int = 10
    max_hidden: int = 1024
    max_rows: int = 4096
    operand_blocks: int = 128
    max_head_blocks: int = 4
    stream_beats: int = 256
    addr_bits: int = 40
    slots: int = 1
    cache_groups: int = 1
    pool_pages: int = 128
    slot_pages: int = 128
    k_quants: bool = False

    def __post_init__(self):
        for field in ("bus_bytes", "rows", "lanes", "phases", "dot_width", "max_head_blocks", "stream_beats", "slots",
                      "cache_groups", "pool_pages", "slot_pages"):
            value = getattr(self, field)
            if value < 1 or value & (value - 1):
                raise ValueError(f"{field} is {value}; it must be a power of two")
        if not 8 <= self.bus_bytes <= 256:
            raise ValueError(f"bus_bytes is {self.bus_bytes}; it must be 8 to 256")
        if self.phases > 1 and self.max_hidden & (self.max_hidden - 1):
            raise ValueError(f"max_hidden is {self.max_hidden}; with phases it must be a power of two")
        if self.rows > 8:
            raise ValueError(f"rows is {self.rows}; at most 8, so that 32 / rows covers the accumulate latency")
        if self.dot_width > BLOCK:
            raise ValueError(f"dot_width is {self.dot_width}; at most {BLOCK}")
        if self.product_stages not in (1, 3):
            raise ValueError(f"product_stages is {self.product_stages}; it must be 1 or 3")
        if self.k_quants and self.bus_bytes < 8 * self.rows:
            raise ValueError(f"bus_bytes is {self.bus_bytes}; with k_quants it must hold a row group's high bits, "
                             f"{8 * self.rows} bytes")
        if not 8 <= self.act_bits <= 12:
            raise ValueError(f"act_bits is {self.act_bits}; it must be 8 to 12")

    @property
    def bus_bits(self):
        return 8 * self.bus_bytes

    @property
    def seats(self):
        """Tokens a pass: seat s is lane s mod T in phase s div T."""
        return self.lanes * self.phases

    @property
    def lane_bits(self):
        """Bits of a seat's number that are its lane; those above are its phase."""
        return exact_log2(self.lanes)

    @property
    def interleave(self):
        """Row groups of a tile that take turns in a dot unit."""
        return TILE_ROWS // self.rows

    @property
    def group(self):
        """k-blocks that share one header in the weight stream, so that a header fills whole beats."""
        return max(1, self.bus_bytes // BLOCK)

    @property
    def block_cycles(self):
        """Cycles a dot unit spends on one block."""
        return BLOCK // self.dot_width

    @property
    def multipliers(self):
        return self.rows * self.lanes * self.dot_width


CONFIGS = {
    config.name: config
    for config in (
        ChipConfig(name="nano", bus_bytes=16, rows=2, lanes=2, dot_width=16, k_quants=True),
        ChipConfig(name="duo", bus_bytes=16, rows=2, lanes=2, phases=2, dot_width=16),
        ChipConfig(name="slim", bus_bytes=8, rows=1, lanes=1, dot_width=8, act_bits=8, max_hidden=256,
                   max_rows=1024, operand_blocks=64, stream_beats=64, k_quants=True),
        ChipConfig(name="wide", bus_bytes=32, rows=8, lanes=4, dot_width=32, max_hidden=1024, operand_blocks=128),
        ChipConfig(name="kria", bus_bytes=64, rows=4, lanes=4, phases=2, dot_width=32, max_hidden=1024,
                   operand_blocks=128, pool_pages=256, slot_pages=256, k_quants=True),
        # kria for 16 sequences
        ChipConfig(name="kria16", bus_bytes=64, rows=4, lanes=4, phases=2, dot_width=32, max_hidden=1024,
                   operand_blocks=128, slots=16, pool_pages=1024, slot_pages=256, k_quants=True),
        # One a board (constraints/): SDRAM of 16 bits, block RAM, and the least that still runs models/tiny.
        ChipConfig(name="ulx3s", bus_bytes=8, rows=1, lanes=1, phases=2, dot_width=8, act_bits=8,
                   max_hidden=1024, operand_blocks=128, stream_beats=64),
        ChipConfig(name="ulx3s_bram", bus_bytes=16, rows=1, lanes=1, dot_width=32, act_bits=8, max_hidden=256,
                   max_rows=1024, operand_blocks=64, max_head_blocks=2, stream_beats=32),
        ChipConfig(name="tangnano20k", bus_bytes=8, rows=1, lanes=1, dot_width=4, act_bits=8, max_hidden=256,
                   max_rows=1024, operand_blocks=64, max_head_blocks=1, stream_beats=16),
    )
}


def get_config(name):
    """The named configuration.

    Raises
    ------
    ValueError
        If there is no such name; the message lists those there are.
    """
    try:
        return CONFIGS[name]
    except KeyError:
        raise ValueError(f"unknown configuration {name!r}; there are: {', '.join(CONFIGS)}") from None
