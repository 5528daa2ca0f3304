"""Every FIFO of every named configuration keeps what it is given, and in order."""


from amaranth.hdl import Assert, Module, Mux
from amaranth.lib import stream
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In
from scoville.board.block_ram import BlockRam
from scoville.board.sdram_bursts import SdramBursts
from scoville.board.sdram_timing import part
from scoville.chip import Chip
from scoville.config import CONFIGS, get_config

from formal.opened import Opened
from formal.planted import planted
from formal.proof import Claim, Proof
from formal.rules import Marked, assert_stream

__all__ = ["FifoKeepsItems", "proofs"]


def keeps_in_order(m, marked, opened, path, output, depth):
    """The invariants: FIFO `path` of `opened` has what went in and has not come out, the marked item in its place.

    Parameters
    ----------
    output : the register behind the memory, with its `r_rdy`; None for a FIFO that is read from its memory
    depth : words of the memory
    """
    produce, consume = opened[path + "produce"], opened[path + "consume"]
    level = opened[path + ("level" if output is None else "inner_level")]
    before = 0 if output is None else output[0]
    place = consume + marked.ahead - before
    wrapped = Mux(place >= depth, place - depth, place)
    kept = opened.word(path + "storage", wrapped)
    if output is not None:
        kept = Mux(before & (marked.ahead == 0), output[1], kept)
    full, empty = level == depth, level == 0
    m.d.comb += [
        Assert(produce < depth), Assert(consume < depth), Assert(level <= depth),
        Assert(Mux(full | empty, produce == consume,
                   level == Mux(produce > consume, produce - consume, depth + produce - consume))),
        Assert(marked.inside == level + before),
        Assert(~marked.here | (kept == marked.word)),
    ]


class FifoKeepsItems(Claim):
    """For `SyncFIFO` and `SyncFIFOBuffered`, used as a stream."""

    def __init__(self, fifo):
        super().__init__({"pick": In(1), "i": In(stream.Signature(fifo.width)), "ready": In(1)})
        self.fifo = fifo

    def elaborate(self, platform):
        m = Module()
        fifo = self.fifo
        m.submodules.fifo = opened = Opened(fifo)
        o = stream.Signature(fifo.width).create()
        m.d.comb += [
            fifo.w_en.eq(self.i.valid), fifo.w_data.eq(self.i.payload), self.i.ready.eq(fifo.w_rdy),
            o.valid.eq(fifo.r_rdy), o.payload.eq(fifo.r_data), fifo.r_en.eq(self.ready), o.ready.eq(self.ready),
        ]
        assert_stream(m, o)
        marked = Marked(m, self.pick, self.i, o, most=fifo.depth, fills=fifo.depth <= DEEP)
        buffered = type(fifo).__name__ == "SyncFIFOBuffered"
        keeps_in_order(m, marked, opened, "", (fifo.r_rdy, fifo.r_data) if buffered else None,
                       fifo.depth - buffered)
        m.d.comb += Assert(fifo.level == marked.inside)
        return m


FAULTS = {
    SyncFIFO: ("an empty one is read", "self.r_rdy.eq(self.level != 0)", "self.r_rdy.eq(1)"),
    SyncFIFOBuffered: ("the output register is overwritten", "inner_r_rdy & (~self.r_rdy | self.r_en)", "inner_r_rdy"),
}
DEEP = 64  # words; to fill a deeper one takes the solver too long
WIDTH = 8  # a FIFO does not look at its words
QUICK = [(SyncFIFO, 4), (SyncFIFOBuffered, 4)]


def used():
    """(class, depth) of every FIFO in any named configuration, and in the boards' memories."""
    designs = [Chip(config) for config in CONFIGS.values()]
    for config in (get_config("ulx3s"), get_config("nano")):
        designs += [BlockRam(config, 1 << 16), SdramBursts(config, part("as4c16m16sa_7", 75_000_000))]
    return {(type(piece), piece.depth) for design in designs for piece in Opened(design).parts
            if isinstance(piece, SyncFIFO | SyncFIFOBuffered)}


def _proof(kind, depth):
    fault, right, wrong = FAULTS[kind]
    return Proof(name=f"fifos.{kind.__name__}-{depth}", says="every word comes out once, unchanged, in order",
                 claim=lambda: FifoKeepsItems(kind(width=WIDTH, depth=depth)), fault=fault,
                 broken=lambda: FifoKeepsItems(planted(kind, right, wrong)(width=WIDTH, depth=depth)),
                 reach=min(depth, DEEP) + 6, quick=(kind, depth) in QUICK)


def proofs(pattern="", quick=False):
    """One for every FIFO there is; a few where the quick ones, or those of another name, are asked for."""
    few = quick or (pattern and not pattern.startswith("fifos"))
    return [_proof(*found) for found in (QUICK if few else sorted(used(), key=lambda it: (it[0].__name__, it[1])))]
