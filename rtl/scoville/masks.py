"""Numbers of bits in a mask."""

from amaranth.hdl import Mux

__all__ = ["first_of", "last_of"]


def first_of(mask):
    """The number of the lowest bit that is set, 0 where none is; combinational."""
    number = 0
    for bit in reversed(range(1, len(mask))):
        number = Mux(mask[bit], bit, number)
    return Mux(mask[0], 0, number)


def last_of(mask):
    """The number of the highest bit that is set, 0 where none is; combinational."""
    number = 0
    for bit in range(1, len(mask)):
        number = Mux(mask[bit], bit, number)
    return number
