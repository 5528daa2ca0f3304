"""The operand buffer: activation blocks, one bank a lane, written by the quantiser and read by the dot array."""

from amaranth.hdl import Cat, Module
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check
from scoville.config import VALUES_BEHIND
from scoville.numerics.block import block_layout

__all__ = ["OperandBuffer", "credit_bits", "operand_depth", "operand_place", "operand_write"]


def operand_depth(config):
    """Blocks in a bank, of one phase: the compiler's, then the probability blocks of the pages on their way."""
    return config.operand_blocks + (VALUES_BEHIND + 1) * config.max_head_blocks


def credit_bits(config):
    """Bits that count operand blocks, modulo: results are promised in the order in which they are written, and between
    those promised and those that a waiting task needs there are never more than two instructions' blocks."""
    return config.operand_blocks.bit_length() + 2


def operand_place(config):
    """Where a block is in a bank: `address` counts in the space of its phase."""
    return data.StructLayout({"address": range(operand_depth(config)), "phase": range(config.phases)})


def operand_write(config):
    """Layout of a write: which lane's bank, which phase and address, and the block."""
    return data.StructLayout({
        "bank": range(max(2, config.lanes)),
        "address": range(operand_depth(config)),
        "phase": range(config.phases),
        "block": block_layout(config.act_bits),
    })


class OperandBuffer(wiring.Component):
    """T banks of activation blocks, read in lock step at one address.

    A block written in cycle n can be read by an address given in cycle n + 1. Throughput: one write and one read of
    all banks a cycle. Latency of a read: one cycle.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    write : In(stream(operand_write)), always ready
    address : In(operand_place), the same for every bank
    blocks : Out, the banks' blocks at the address of the cycle before
    """

    def __init__(self, config):
        self.config = config
        layout = block_layout(config.act_bits)
        super().__init__({
            "write": In(stream.Signature(operand_write(config), always_ready=True)),
            "address": In(operand_place(config)),
            "blocks": Out(data.ArrayLayout(layout, config.lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        # The spaces of the phases begin at powers of two, so that places need no adder.
        address_bits = operand_place(self.config)["phase"].offset
        depth = (self.config.phases - 1 << address_bits) + operand_depth(self.config)
        for lane in range(self.config.lanes):
            bank = memory.Memory(shape=block_layout(self.config.act_bits), depth=depth, init=[])
            m.submodules[f"bank{lane}"] = bank
            write, read = bank.write_port(), bank.read_port()
            m.d.comb += [
                write.addr.eq(Cat(self.write.p.address, self.write.p.phase)),
                write.data.eq(self.write.p.block),
                write.en.eq(self.write.valid & (self.write.p.bank == lane)),
                read.addr.eq(self.address.as_value()),
                self.blocks[lane].eq(read.data),
            ]
        with m.If(self.write.valid):
            check(m, self.write.p.bank < self.config.lanes, "operand buffer: the bank is there")
            check(m, self.write.p.address < operand_depth(self.config), "operand buffer: the address is in the bank")
        return m
