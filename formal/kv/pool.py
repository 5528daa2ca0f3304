"""The pool: a page is given out only while nobody has it, none is lost, none is given back twice."""

from dataclasses import replace

from amaranth.hdl import Array, Assert, Assume, Cover, Mux, Signal
from scoville.config import get_config
from scoville.kv.pool import Pool

from formal.around import Around
from formal.planted import planted
from formal.proof import PDR, Proof
from formal.rules import assume_stream, holds_still

__all__ = ["PROOFS", "small"]


def small(*, slots, pages=4, entries=2, groups=1):
    """A configuration with few pages."""
    return replace(get_config("nano"), slots=slots, pool_pages=pages, slot_pages=entries, cache_groups=groups)


class PoolKeepsPages(Around):
    """Beside counts of owners, of what goes over. The number of pages, `pages`, is free in every cycle."""

    def elaborate(self, platform):
        m, seen = self.begin()
        pool = self.unit
        pages, slots = pool.config.pool_pages, pool.config.slots
        owners = Array(Signal(range(slots + 1), name=f"owners_{page}") for page in range(pages))
        change, taken = pool.change.payload, pool.taken.payload
        take, changes = pool.taken.valid & pool.taken.ready, pool.change.valid & pool.change.ready
        changed, last = Signal(), Signal(len(change.page))
        m.d.sync += changed.eq(changes | changed & take)
        with m.If(changes):
            m.d.sync += last.eq(change.page)
            m.d.sync += owners[change.page].eq(Mux(change.share, owners[change.page] + 1, owners[change.page] - 1))
        with m.If(take):
            m.d.sync += owners[taken].eq(1)

        assume_stream(m, pool.change)
        valid = pool.change.valid
        m.d.comb += [
            Assume(~valid | (owners[change.page] != 0)),
            Assume(~(valid & change.share) | (owners[change.page] != slots)),
            Assume(~(valid & changed) | (last != change.page)), Assume(~(valid & take) | (taken != change.page)),
        ]
        nobodys = sum(((count == 0) & (page < seen["limit"]) for page, count in enumerate(owners)), start=0)
        on_its_way = seen["changing"] & ~seen["change"][-1] & seen["last"] if slots > 1 else 0
        late = Signal(3)
        m.d.sync += late.eq(Mux((pool.free != 0) & ~pool.taken.valid, late + 1, 0))
        again = Signal()  # a page that came back has been given out again
        with m.If(take & (seen["fresh"] == seen["limit"])):
            m.d.sync += again.eq(1)
        m.d.comb += [
            Assert(~take | (owners[taken] == 0)), Assert(~take | (taken < seen["limit"])),
            Assert(nobodys == pool.free + on_its_way),
            Assert(late <= 2),
            # What is offered stays; only the first page may go, as long as the number of pages is looked at.
            Assert((seen["fresh"] == 0) | holds_still(m, pool.taken.valid, pool.taken.ready, taken)),
            Cover(again & (pool.free == 0) & (seen["limit"] == pages)),
        ]
        if slots > 1:
            m.d.comb += Cover((owners[0] == slots) & changed)
        return m


FAULTS = (
    ("a page goes back while another slot has it", "changing & ~take & ~change.share & last",
     "changing & ~take & ~change.share"),
    ("a count is not written while a page is taken", "self.change.ready.eq(~(changing & take))",
     "self.change.ready.eq(1)"),
)
PROOFS = [
    Proof(name="kv.pool-2", says="a page is given out only while nobody has it; none is lost; `free` is right",
          engine=PDR, claim=lambda: PoolKeepsPages(Pool(small(slots=2))), reach=20, fails=16, fault=FAULTS[0][0],
          broken=lambda: PoolKeepsPages(planted(Pool, *FAULTS[0][1:])(small(slots=2))),
          others=((FAULTS[1][0], lambda: PoolKeepsPages(planted(Pool, *FAULTS[1][1:])(small(slots=2)))),)),
    Proof(name="kv.pool-1", says="the same with one slot",
          engine=PDR, claim=lambda: PoolKeepsPages(Pool(small(slots=1))), reach=20, fails=16,
          fault="a page that is taken is given out again",
          broken=lambda: PoolKeepsPages(planted(Pool, "fresh.eq(fresh + (take & any_fresh))",
                                                "fresh.eq(fresh + (take & any_fresh & ~self.change.valid))")(
                                                    small(slots=1)))),
]
