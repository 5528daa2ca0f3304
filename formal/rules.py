"""Rules of streams as assumptions and assertions, and the follower of one item, by which order and data are proved."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Signal, Value

__all__ = ["Marked", "assert_stream", "assume_stream", "goes_down", "holds_still", "turns"]


def holds_still(m, valid, ready, payload):
    """1 unless an item was offered in the cycle before and not taken, and is now gone or another."""
    payload = Value.cast(payload)
    waits, shown = Signal(), Signal(len(payload), reset_less=True)
    m.d.sync += [waits.eq(valid & ~ready), shown.eq(payload)]
    return ~waits | valid & (payload == shown)


def assume_stream(m, source):
    """The environment offers `source`, an In stream, by the rules."""
    m.d.comb += Assume(holds_still(m, source.valid, source.ready, source.payload))


def assert_stream(m, sink):
    """`sink`, an Out stream, is offered by the rules."""
    m.d.comb += Assert(holds_still(m, sink.valid, sink.ready, sink.payload))


class Marked:
    """Follows one item, any one, from where it goes in to where it comes out.

    Its number and its data are free: what holds for it holds for all. A component that loses, doubles, changes or
    swaps items lets some marked item come out wrong.

    Parameters
    ----------
    m : Module of the claim
    pick : free bit: the item that goes in now is the one, if none is
    i, o : streams into and out of the component
    most : items that it can hold
    fills : a cover asks for so many

    Members
    -------
    inside : items inside; here : the marked one is among them, behind `ahead` others, and is `word`
    """

    def __init__(self, m, pick, i, o, most, *, fills=True):
        into, out = Value.cast(i.payload), Value.cast(o.payload)
        self.inside, self.ahead = Signal(range(most + 2)), Signal(range(most + 2))
        self.here, self.word = Signal(), Signal(len(into), reset_less=True)
        done = Signal()
        come, go, now = Signal(), Signal(), Signal()
        m.d.comb += [come.eq(i.valid & i.ready), go.eq(o.valid & o.ready), now.eq(come & pick & ~self.here & ~done)]
        m.d.sync += self.inside.eq(self.inside + come - go)
        passes = Signal()  # in and out in one cycle
        leaves = Signal()
        m.d.comb += [passes.eq(now & (self.inside == 0) & go), leaves.eq(self.here & (self.ahead == 0) & go)]
        with m.If(now):
            m.d.sync += [self.here.eq(~passes), self.ahead.eq(self.inside - go), self.word.eq(into), done.eq(passes)]
        with m.If(self.here & go):
            m.d.sync += self.ahead.eq(self.ahead - 1)
        with m.If(leaves):
            m.d.sync += [self.here.eq(0), done.eq(1)]
        m.d.comb += [
            Assert(~leaves | (out == self.word)),
            Assert(~passes | (out == into)),
            Assert(~go | come | (self.inside != 0)),  # nothing comes out that did not go in
            Assert(self.inside <= most),
            Assert(~self.here | (self.ahead < self.inside)),
            Cover(leaves & (self.ahead == 0) & self.word.any()),
            Cover(self.inside == (most if fills else 2)),
        ]


def turns(m, wants, grants, *, most):
    """Nobody who wants a turn sees others get more than `most` of them.

    Parameters
    ----------
    wants, grants : bits a user; a want stays until its grant

    Returns
    -------
    list of Signal
        A user: turns of others since it wants one.
    """
    counts = []
    for number, (want, grant) in enumerate(zip(wants, grants, strict=True)):
        passed = Signal(range(most + 2), name=f"passed_{number}")
        others = Cat(other for place, other in enumerate(grants) if place != number).any()
        with m.If(~want | grant):
            m.d.sync += passed.eq(0)
        with m.Elif(others):
            m.d.sync += passed.eq(passed + 1)
        m.d.comb += [Assert(passed <= most), Cover((passed == most) & grant)]
        counts.append(passed)
    return counts


def goes_down(m, rank, waits, begins):
    """A machine ends what it begins, if nobody lets it wait for ever: no rank goes down without end, and every cycle
    takes it down, except one that waits, which leaves it, and one that begins something new.

    Parameters
    ----------
    rank : values, the most significant first
    waits, begins : 1-bit values, of a cycle
    """
    rank = Cat(*(Value.cast(part) for part in reversed(rank)))
    before, waited, free = Signal(len(rank)), Signal(), Signal(init=1)
    m.d.sync += [before.eq(rank), waited.eq(waits), free.eq(begins)]
    m.d.comb += Assert(free | (rank < before) | waited & (rank == before))
