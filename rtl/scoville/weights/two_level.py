"""Weights of more than 4 bits and scales of two levels: the headers that only they have."""

import numpy as np
from amaranth.hdl import Cat, Const, Mux
from amaranth.utils import exact_log2

from scoville.config import BLOCK, SUPER_BLOCKS, TILE_ROWS
from scoville.isa import ScaleFormat
from scoville.numerics.formats import high_values, six_bits
from scoville.weights.walk import Phase

__all__ = ["high_part", "scale_integers", "select", "two_levels"]


def select(word, index, width):
    """Part `index` (modulo the number of parts) of a word cut into parts of `width` bits."""
    parts = len(word) // width
    return word.word_select(index[:exact_log2(parts)], width) if parts > 1 else word


def scale_integers(take, minimum):
    """Integers of a super-block's scales, row by row in a block: (int8 [256, 2], int8 [256]), from its header."""
    count = TILE_ROWS * SUPER_BLOCKS
    if not minimum:
        return take(2 * count).view(np.int8).reshape(count, 2), np.ones(count, np.int8)
    scale, least = six_bits(take(3 * count // 2))
    return np.stack([scale, scale], -1), least


def high_part(take, n, high_bits):
    """What the high bits of the codes of n k-blocks add to them: int8 [n * 1024], or 0."""
    if not high_bits:
        return np.int8(0)
    return high_values(take(TILE_ROWS * n * BLOCK * high_bits // 8), high_bits)


def two_levels(config, number, fields, address, read):
    """What the decoder finds in the headers of integers and of high bits.

    Parameters
    ----------
    number : of the row group behind its headers
    fields : `WeightCommand` of the codes
    address : function (number, bits) -> the beat that has so many bits at that number
    read : function (`Phase`, beat) -> what its header has there

    Returns
    -------
    function of a row : the integers of its scale, of both halves of the block, and that of its minimum
    function of a code : its high bits
    """
    rows, bus = config.rows, config.bus_bits
    two_level = fields.scale_format == ScaleFormat.TWO_LEVEL
    # Integers: 2R bytes, signed, for both halves of the block; with minimums R bytes of low nibbles (scale, minimum),
    # and behind them all half as many of high bits.
    behind = TILE_ROWS * SUPER_BLOCKS * 8 // bus
    inner = read(Phase.INTEGERS, Mux(fields.minimum, address(number, 8 * rows), address(number, 16 * rows)))
    upper = read(Phase.INTEGERS, address(number, 4 * rows) + behind)
    signs, lows, tops = (select(inner, number, 16 * rows), select(inner, number, 8 * rows),
                         select(upper, number, 4 * rows))

    def integers(row):
        both = signs.word_select(row, 16)
        low, top = lows.word_select(row, 8), tops.word_select(row, 4)
        unsigned = Cat(low[:4], top[:2], Const(0, 2)).as_signed()
        halves = [Mux(two_level, Mux(fields.minimum, unsigned, both.word_select(half, 8).as_signed()), 1)
                  for half in range(2)]
        return halves, Mux(two_level, Cat(low[4:], top[2:], Const(0, 1)).as_signed(), 1)

    # High bits: a code's one or two, code by code, of the group
    inside = number[:exact_log2(config.interleave * config.group)]
    place = Mux(fields.high_bits[1], address(inside, 2 * BLOCK * rows), address(inside, BLOCK * rows))
    beat = read(Phase.HIGH, place)
    one, two = select(beat, inside, BLOCK * rows), select(beat, inside, 2 * BLOCK * rows)

    def above(code):
        return Mux(fields.high_bits[1], two.word_select(code, 2),
                   Mux(fields.high_bits[0], one.word_select(code, 1), 0))

    return integers, above
