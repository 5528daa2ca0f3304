"""The sum of squares of a norm: over each tile of 32 rows in a fixed order, then over the tiles by a fixed tree."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check
from scoville.config import TILE_ROWS
from scoville.naming import unnamed
from scoville.numerics import fp32
from scoville.numerics.pipe import Pipe

__all__ = ["FOLD", "MERGE", "SumOfSquares", "model", "squares_layout"]

FOLD, MERGE = 16, 5  # cycles from a tile's last row to `done`, and more for each subtree that it completes
PARTIALS = 4  # of a tile: row r belongs to partial sum r mod 4, so that the adder takes a row a cycle


def squares_layout(config):
    """A row: its squares in the lanes, its number, its phase, whether it is its phase's last and the command's last."""
    return data.StructLayout({"squares": data.ArrayLayout(32, config.lanes), "row": range(max(2, config.max_hidden)),
                              "phase": range(config.phases), "last": 1, "final": 1})


class SumOfSquares(wiring.Component):
    """total[seat] = the sum of the seat's squares; each addition is `fp32.add`.

    A tile: four partial sums, of the rows r with r mod 4 = 0, 1, 2, 3, each in order from 0; (p0 + p1) + (p2 + p3).
    The tiles: pairwise, as if zeros followed up to a power of two; so the order depends on a tile's number alone. What
    is left of earlier tiles waits in a memory, a level of the tree each, like the ones of a binary counter.

    Throughput: a row a cycle within a tile. Behind a tile's last row of a phase none may come before `done`, `FOLD` +
    `MERGE` · n cycles later if it completes n subtrees; over a command n is less than 1 a tile.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(squares_layout), i_valid : In(1); rows in the order of the chain: 32 of each phase, then the next 32
    done : Out(1), for one cycle: the tile has been added
    complete : Out(1), beside `done`: it was the command's last
    total : Out(FP32[phases][T]), from `complete` to the end of the next command's first tile
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(squares_layout(config)), "i_valid": In(1), "done": Out(1), "complete": Out(1),
            "total": Out(data.ArrayLayout(data.ArrayLayout(32, config.lanes), config.phases)),
        })

    def elaborate(self, platform):
        m = Module()
        config, lanes, row = self.config, range(self.config.lanes), self.i.row
        values = data.ArrayLayout(32, config.lanes)
        pipe = Pipe(m, 1, occupied=Signal(name="occupied"))
        levels = max(1, (config.max_hidden // TILE_ROWS - 1).bit_length())

        # What is added next: a row to its partial sum, or two sums
        fold, left, right = Signal(), Signal(values), Signal(values)
        slot = Signal(2)  # where the sum goes
        results = [fp32.add(pipe, pipe.input(left[lane]), pipe.input(right[lane])) for lane in lanes]
        at = results[0].at
        valids = pipe.occupy(self.i_valid | fold, at)
        arriving, arrives = pipe.delay(pipe.input(slot), at), valids[-1]
        kept, = unnamed(Signal(data.ArrayLayout(values, PARTIALS), reset_less=True))
        with m.If(arrives):
            for lane in lanes:
                m.d.sync += kept[arriving][lane].eq(results[lane].value)

        # Sums of whole subtrees, a level each
        m.submodules.levels = memory = Memory(shape=values, depth=config.phases << (levels - 1).bit_length(), init=[])
        read, write = memory.read_port(), memory.write_port()
        address = len(read.addr) - exact_log2(config.phases)

        phase = Signal(range(config.phases), reset_less=True)
        last, final = Signal(reset_less=True), Signal(reset_less=True)
        merges, free = Signal(levels, reset_less=True), Signal(levels + 1, reset_less=True)  # a bit a level
        wait = Signal(range(at + 1))
        tile = row[5:]
        above = (tile + 1)[:levels + 1]

        def number(bits):
            """Of the lowest bit that is set."""
            found = Signal(range(max(2, levels + 1)))
            for level in reversed(range(len(bits))):
                with m.If(bits[level]):
                    m.d.comb += found.eq(level)
            return found

        step = Signal(2)
        folding = Signal()
        lowest = number(merges)
        m.d.comb += [
            read.addr.eq(Cat(lowest[:address], phase)),
            write.addr.eq(Cat(number(free)[:address], phase)),
            write.data.eq(kept[0]),
        ]
        # Operands are chosen by what is a register here, not by whether a row comes.
        with m.If(folding):
            m.d.comb += slot.eq(Mux(step == 1, 2, 0))
            with m.Switch(step):
                with m.Case(0):
                    m.d.comb += [left.eq(kept[0]), right.eq(kept[1])]
                with m.Case(1):
                    m.d.comb += [left.eq(kept[2]), right.eq(kept[3])]
                with m.Case(2):
                    m.d.comb += [left.eq(kept[0]), right.eq(kept[2])]
                with m.Default():
                    m.d.comb += [left.eq(kept[0]), right.eq(read.data)]
        with m.Else():
            m.d.comb += slot.eq(row[:2])
            for lane in lanes:
                before = Mux(arrives & (arriving == row[:2]), results[lane].value, kept[row[:2]][lane])
                m.d.comb += [left[lane].eq(self.i.squares[lane]), right[lane].eq(Mux(row[2:5].any(), before, 0))]

        with m.If(self.i_valid & row[:5].all()):
            # Behind the last tile every subtree is added; else those that this one makes twice as large.
            m.d.sync += [folding.eq(1), step.eq(0), wait.eq(at), phase.eq(self.i.phase),
                         last.eq(self.i.last), final.eq(self.i.final),
                         merges.eq(Mux(self.i.last, tile, tile & ~above)), free.eq(~tile & above)]
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.Elif(folding):
            with m.If(step != 3):
                m.d.comb += fold.eq(1)
                m.d.sync += [step.eq(step + 1), wait.eq(Mux(step == 0, 0, at))]
            with m.Elif(merges.any()):
                m.d.comb += fold.eq(1)
                m.d.sync += [merges.eq(merges & (merges - 1)), wait.eq(at)]
            with m.Else():
                m.d.comb += [write.en.eq(~last), self.done.eq(1)]
                m.d.sync += folding.eq(0)
                with m.If(last):
                    m.d.sync += self.total[phase].eq(kept[0])
        m.d.comb += self.complete.eq(self.done & final)
        check(m, ~(self.i_valid & folding), "squares: no row comes while a tile is folded")
        return m


def model(v):
    """Sums of squares of v[rows, T] along the rows, rows a multiple of 32: float32[T]."""
    f = fp32.model
    squares = f.mul(v, v).reshape(-1, TILE_ROWS // PARTIALS, PARTIALS, v.shape[1])
    sums = np.zeros_like(squares[:, 0])
    for place in range(squares.shape[1]):
        sums = f.add(sums, squares[:, place])
    sums = f.add(f.add(sums[:, 0], sums[:, 1]), f.add(sums[:, 2], sums[:, 3]))
    while len(sums) > 1:
        sums = np.concatenate([sums, np.zeros_like(sums[:len(sums) % 2])])
        sums = f.add(sums[0::2], sums[1::2])
    return sums[0]
