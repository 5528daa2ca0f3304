"""The writer's two users: neither starves, and a command's data is its owner's, all of it and no more."""

from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Cat, Const, Mux, Signal
from scoville.memory.write_arbiter import WriteArbiter

from formal.around import Around
from formal.axi import SMALL
from formal.fifos import keeps_in_order
from formal.planted import planted
from formal.proof import Proof
from formal.rules import Marked, assert_stream, assume_stream, turns

__all__ = ["PROOFS"]


class ArbiterIsFair(Around):
    free = ("pick",)

    def elaborate(self, platform):
        m, seen = self.begin()
        arbiter = self.unit
        users = (arbiter.command0, arbiter.command1)
        for source in (*users, arbiter.data0, arbiter.data1):
            assume_stream(m, source)
        m.d.comb += Assume(Cat(~user.valid | (user.p.beats != 0) for user in users).all())
        assert_stream(m, arbiter.command)
        assert_stream(m, arbiter.data)
        passed = turns(m, [user.valid for user in users], [user.valid & user.ready for user in users], most=1)

        # A run of data: who gave its beats, and how many there have been.
        owner, at = Signal(), Signal(16)
        passes, now = arbiter.data.valid & arbiter.data.ready, arbiter.data1.valid & arbiter.data1.ready
        same = Signal(init=1)
        ends = seen["r_en"]
        one = (at == 0) | (now == owner)
        with m.If(passes):
            m.d.sync += [at.eq(Mux(ends, 0, at + 1)), owner.eq(now), same.eq(ends | same & one)]
        command = arbiter.command
        begun = SimpleNamespace(valid=command.valid, ready=command.ready, payload=Cat(seen["owner"], command.p.beats))
        ended = SimpleNamespace(valid=ends, ready=Const(1), payload=Cat(now, (at + 1)[:16]))
        follower = Marked(m, self.pick, begun, ended, most=WriteArbiter.DEPTH)
        head = seen["tickets.r_data"]
        keeps_in_order(m, follower, seen, "tickets.", (seen["tickets.r_rdy"], head), WriteArbiter.DEPTH - 1)
        m.d.comb += [
            Assert(~passes | same & one),
            Assert(same), Assert(seen["beat"] == (at + 1)[:16]),
            Assert((at == 0) | (seen["tickets.r_rdy"] & (owner == head[0]) & (at < head[1:]))),
            Assert(~seen["tickets.r_rdy"] | (head[1:] != 0)),
            Assert(~follower.here | (follower.word[1:] != 0)),
            Assert(~follower.here | (follower.ahead != 0) | (at < follower.word[1:])),
            *(Assert((count == 0) | (seen["before"] != number) & ~(seen["waiting"] & (seen["held"] != number)))
              for number, count in enumerate(passed)),
            *(Assert(~waits | (word[1:] != 0)) for waits, word in self._kept(seen)),
            Assert(~(seen["waiting"] & seen["held"]) | arbiter.command1.valid),
            Assert(~(seen["waiting"] & ~seen["held"]) | arbiter.command0.valid),
        ]
        return m

    def _kept(self, seen):
        """Of every word of the tickets' memory, whether it is a ticket that waits, and what it is."""
        depth, consume = WriteArbiter.DEPTH - 1, seen["tickets.consume"]
        for place in range(depth):
            before = Mux(consume <= place, place - consume, place + depth - consume)
            yield before < seen["tickets.inner_level"], seen.word("tickets.storage", Const(place, range(depth)))


PROOFS = [
    Proof(name="memory.write_arbiter", quick=True, reach=16,
          says="no user waits for more than one command of the other; a command's data is all its owner's",
          claim=lambda: ArbiterIsFair(WriteArbiter(SMALL)), fault="command 0 always wins",
          broken=lambda: ArbiterIsFair(planted(WriteArbiter, "m.d.sync += before.eq(owner)",
                                               "m.d.sync += before.eq(1)")(SMALL))),
]
