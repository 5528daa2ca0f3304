"""What earlier instructions have promised to the operand buffer: the score board of the issuers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from scoville.array.operand import credit_bits
from scoville.checks import check
from scoville.isa import OPERATION, Opcode, width

__all__ = ["Promises"]

PLACE_BITS = width(Opcode.LINEAR, "dst")


class Promises(wiring.Component):
    """Counts the blocks that were promised, and knows where the last results lie.

    An instruction that reads what the last one before it writes need not wait for all of it: its tasks are guarded by
    the number of blocks that were promised before those, and the array takes each block as it comes.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    op : In(OPERATION), the instruction that promises or asks
    promise : In(1), it will write `blocks` operand blocks from its `dst` on; nobody can wait for an EMBED's singly
    guard : Out(1), it reads the last results; `need` : Out, the blocks promised before those
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "op": In(OPERATION),
            "promise": In(1),
            "blocks": In(PLACE_BITS),
            "guard": Out(1),
            "need": Out(credit_bits(config)),
        })

    class Model:
        """The same in numbers."""

        def __init__(self, config):
            self.modulus, self.promised = 1 << credit_bits(config), 0
            self.need, self.dst, self.blocks = 0, None, 0

        def promise(self, dst, blocks):
            """The next results are `blocks` blocks from `dst` on (None: nobody can wait for them singly)."""
            self.need, self.dst, self.blocks = self.promised, dst, blocks
            self.promised = (self.promised + blocks) % self.modulus

        def guard(self, fields):
            """What the first k-block of an instruction needs, if it is to wait block by block, or None."""
            if not fields["wait"] or self.dst != fields["src"] or fields.get("kblocks", 0) > self.blocks:
                return None
            return self.need

    def elaborate(self, platform):
        m = Module()
        opcode, linear = self.op.end.opcode, self.op.linear
        promised = Signal(credit_bits(self.config))
        results, result_blocks, countable = Signal(PLACE_BITS), Signal(PLACE_BITS), Signal()
        assert self.op.attend.dst.shape() == linear.dst.shape() and self.op.attend.src.shape() == linear.src.shape()
        with m.If(self.promise):
            m.d.sync += [self.need.eq(promised), promised.eq(promised + self.blocks), result_blocks.eq(self.blocks),
                         results.eq(linear.dst), countable.eq(opcode != Opcode.EMBED)]
        m.d.comb += self.guard.eq(countable & (linear.src == results) & (
            (opcode == Opcode.ATTEND) | (opcode == Opcode.LINEAR) & (linear.kblocks <= result_blocks)))
        # The checker has seen to it that what the units are told is within the build.
        fits = self.blocks <= self.config.operand_blocks
        check(m, ~self.promise | fits, "promises: results fit the operand buffer")
        return m
