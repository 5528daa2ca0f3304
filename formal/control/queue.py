"""The command queue keeps every command, and in order, and `empty` says so."""

from amaranth.hdl import Assert, Module
from amaranth.lib import stream
from amaranth.lib.wiring import In
from scoville.control.queue import Queue

from formal.fifos import keeps_in_order
from formal.opened import Opened
from formal.planted import planted
from formal.proof import Claim, Proof
from formal.rules import Marked, assert_stream, assume_stream

__all__ = ["PROOFS"]

WIDTH = 37


class QueueKeepsItems(Claim):
    def __init__(self, queue):
        super().__init__({"pick": In(1), "i": In(stream.Signature(WIDTH)), "ready": In(1)})
        self.queue = queue

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Opened(self.queue)
        i, o = self.queue.i, self.queue.o
        m.d.comb += [i.valid.eq(self.i.valid), i.payload.eq(self.i.payload), self.i.ready.eq(i.ready),
                     o.ready.eq(self.ready)]
        assume_stream(m, i)
        assert_stream(m, o)
        marked = Marked(m, self.pick, i, o, most=self.queue.depth)
        keeps_in_order(m, marked, queue, "fifo.", (o.valid, o.payload), self.queue.depth - 1)
        m.d.comb += Assert(self.queue.empty == (marked.inside == 0))
        return m


PROOFS = [
    Proof(name=f"control.queue-{depth}", says="every item comes out once, unchanged, in order; stream rules; `empty`",
          claim=lambda depth=depth: QueueKeepsItems(Queue(WIDTH, depth)), quick=depth == 4,
          fault="empty while the output register has an item",
          broken=lambda depth=depth: QueueKeepsItems(planted(
              Queue, "self.empty.eq(fifo.level == 0)", "self.empty.eq(fifo.level <= 1)")(WIDTH, depth)))
    for depth in (3, 4, 8)
]
