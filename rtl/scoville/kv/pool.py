"""The pool: which pages are free, in which order they are given out, and how many have each of them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_fifo
from scoville.kv.layouts import page_count, page_shape

__all__ = ["Pool", "change_layout"]


def change_layout(config):
    """A page gets an owner more (`share`) or less."""
    return data.StructLayout({"page": page_shape(config), "share": 1})


class Pool(wiring.Component):
    """Gives out free pages, counts their owners, and takes back those that have none any more.

    ::

        taken ◄─┬─ fresh: pages that nobody ever had, in ascending order
                └─ returned: those that were given back, first come first served ◄─┐
        change ──► owners besides the first: + 1, − 1 ── there are none ───────────┘

    A page that is taken has one owner. A cycle after a reset every page is fresh: nothing has to be written, as a count
    is written when its page is taken. With one slot no page is shared, and there are no counts.

    Throughput: a page a cycle out, a change a cycle in; a change waits while pages are taken.
    Latency: `free` counts a page two cycles after the change that frees it, `taken` has it four cycles after.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    pages : In, pages in memory, at most `pool_pages`; looked at until the first page is taken or `hold` is high
    hold : In(1), somebody counts on `free`
    taken : Out(stream(page)), the next free page
    change : In(stream(`change_layout`)), of a page that is taken, but not in this cycle; not twice of one, unless a
        cycle lies between in which no page is taken
    free : Out, pages that nobody has
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "pages": In(page_count(config)),
            "hold": In(1),
            "taken": Out(stream.Signature(page_shape(config))),
            "change": In(stream.Signature(change_layout(config))),
            "free": Out(page_count(config)),
        })

    def elaborate(self, platform):
        m = Module()
        # One deeper than pages, so that its memory has a power of two of words, behind an output register.
        m.submodules.returned = returned = SyncFIFOBuffered(width=page_shape(self.config),
                                                            depth=self.config.pool_pages + 1)
        fresh, limit = Signal(page_count(self.config)), Signal(page_count(self.config))
        any_fresh, take = Signal(), Signal()
        m.d.comb += [
            any_fresh.eq(fresh != limit),
            self.taken.valid.eq(any_fresh | returned.r_rdy),
            self.taken.payload.eq(Mux(any_fresh, fresh, returned.r_data)),
            take.eq(self.taken.valid & self.taken.ready),
            returned.r_en.eq(take & ~any_fresh),
            self.free.eq(limit - fresh + returned.level + returned.w_en),
        ]
        m.d.sync += fresh.eq(fresh + (take & any_fresh))
        with m.If((fresh == 0) & ~take & ~self.hold):
            m.d.sync += limit.eq(Mux(self.pages[-1], self.config.pool_pages, self.pages))
        if self.config.slots == 1:
            m.d.comb += self.change.ready.eq(1)
            self._give_back(m, returned, self.change.valid, self.change.payload.page)
            check(m, ~self.change.valid | ~self.change.payload.share, "pool: one slot shares no page")
        else:
            self._count(m, take, returned)
        check(m, fresh <= limit, "pool: no page that is not there")
        check(m, ~returned.w_en | returned.w_rdy, "pool: there is room for every page")
        check_fifo(m, returned, "pool: returned")
        return m

    def _give_back(self, m, returned, last, page):
        """In the next cycle: a count is late in its own."""
        m.d.sync += [returned.w_en.eq(last), returned.w_data.eq(page)]

    def _count(self, m, take, returned):
        """Owners besides the first: a count is read in the cycle of the change and written in the next, unless a page
        is taken then, whose count goes before."""
        m.submodules.others = others = Memory(shape=exact_log2(self.config.slots), depth=self.config.pool_pages,
                                              init=[])
        read, write = others.read_port(), others.write_port()
        changing = Signal()
        change = Signal(change_layout(self.config), reset_less=True)
        last, come = Signal(), Signal()
        m.d.comb += [
            self.change.ready.eq(~(changing & take)),
            come.eq(self.change.valid & self.change.ready),
            read.addr.eq(self.change.payload.page),
            read.en.eq(come),
            last.eq(read.data == 0),
            write.addr.eq(Mux(take, self.taken.payload, change.page)),
            write.data.eq(Mux(take, 0, Mux(change.share, read.data + 1, read.data - 1))),
            write.en.eq(take | changing & (change.share | ~last)),
        ]
        self._give_back(m, returned, changing & ~take & ~change.share & last, change.page)
        with m.If(self.change.ready):
            m.d.sync += changing.eq(self.change.valid)
        with m.If(come):
            m.d.sync += change.eq(self.change.payload)
        check(m, ~come | ~write.en | (write.addr != read.addr), "pool: a count is written before it is read")
        check(m, ~(changing & change.share) | ~read.data.all(), "pool: no more owners than slots")
