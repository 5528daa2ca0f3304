"""A memory whose words leave through a register, which a platform may make of its own block RAM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check

__all__ = ["Bank"]


class Bank(wiring.Component):
    """Words, cleared by configuration, behind a port to write and one to read.

    A platform with a method ``bank(width, depth)`` gives its own subclass. For others it is this one, of which
    synthesis tools infer block RAM, with the register outside.

    Throughput: a word a cycle each way. Latency: two cycles from `at` to `word`. A word that is read in the cycle in
    which it is written may be anything.

    Parameters
    ----------
    width : bits of a word, a multiple of 8
    depth : words

    Members
    -------
    at : In, the word to read
    word : Out(width), what was read
    to, data, enables : In, the word to write, its new value, and which of its bytes change
    """

    def __init__(self, width, depth):
        if width % 8:
            raise ValueError(f"a word of {width} bits; it must be whole bytes")
        self.width, self.depth = width, depth
        super().__init__({"at": In(range(depth)), "word": Out(width),
                          "to": In(range(depth)), "data": In(width), "enables": In(width // 8)})

    @staticmethod
    def model(words, at, to, data, enables):
        """A cycle: the word (integer) read at `at`; then the enabled bytes of `data` are written to ``words[to]``."""
        word = words[at]
        mask = sum(0xFF << 8 * byte for byte in range(enables.bit_length()) if enables >> byte & 1)
        words[to] = words[to] & ~mask | data & mask
        return word

    def elaborate(self, platform):
        m = Module()
        check(m, ~self.enables.any() | (self.to < self.depth), "bank: what is written is inside")
        if hasattr(platform, "bank"):
            m.submodules.block = block = platform.bank(self.width, self.depth)
            m.d.comb += [block.at.eq(self.at), self.word.eq(block.word),
                         block.to.eq(self.to), block.data.eq(self.data), block.enables.eq(self.enables)]
        else:
            self.store(m)
        return m

    def store(self, m):
        """The portable form."""
        m.submodules.words = words = memory.Memory(shape=self.width, depth=self.depth, init=[])
        read, write = words.read_port(), words.write_port(granularity=8)
        m.d.comb += [read.addr.eq(self.at), write.addr.eq(self.to), write.data.eq(self.data),
                     write.en.eq(self.enables)]
        word = Signal(self.width, reset_less=True)
        m.d.sync += word.eq(read.data)
        m.d.comb += self.word.eq(word)
