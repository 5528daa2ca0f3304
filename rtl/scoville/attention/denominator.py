"""The denominator of softmax: page sums into 1/l, one seat after the other through one pipeline."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_fifo
from scoville.config import VALUES_BEHIND
from scoville.numerics import fp32, table
from scoville.numerics.pipe import Pipe

__all__ = ["FRACTION_BITS", "SUM_BITS", "Denominator", "page_sum_layout"]

FRACTION_BITS = 30  # of a truncated probability
SUM_BITS = FRACTION_BITS + 1 + 6  # 32 values of at most 2.0


def page_sum_layout(config):
    """A page's exact sums of truncated probabilities, the steps of its maxima, and its place in the command."""
    return data.StructLayout({
        "sums": data.ArrayLayout(SUM_BITS, config.seats), "shifts": data.ArrayLayout(8, config.seats),
        "first": 1, "last": 1})


class Denominator(wiring.Component):
    """``l = add(scale2(l, -shift), f32(sum) * 2^-30)`` a page, from 0 at the first page, and ``1 / l`` after the last.

    A page comes every 32 cycles at most, so the seats take turns in one adder and one reciprocal.

    Throughput: a page in ``seats + 9`` cycles. Latency: `seats` plus that of the adder and the reciprocal.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream), `page_sum_layout`
    factor : Out(stream of seats x FP32), 1/l of every seat, once a command; at most `PENDING` wait to be taken.
    busy : Out(1)
    """

    # A factor is taken when the quantiser comes to its output, behind the probabilities of the pages that are ahead of
    # its values: with fewer, those would wait for a factor to be taken, and the factor for them.
    PENDING = VALUES_BEHIND + 1

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(page_sum_layout(config))),
            "factor": Out(stream.Signature(data.ArrayLayout(32, config.seats))),
            "busy": Out(1),
        })

    @staticmethod
    def model(sums, shifts):
        """1/l of one command: float32 ``[...]`` from int64 ``[pages, ...]``; the first page's shifts do not matter."""
        total = np.zeros(np.shape(sums)[1:], np.float32)
        for term, shift in zip(fp32.model.from_int(sums, -FRACTION_BITS), np.asarray(shifts), strict=True):
            total = fp32.model.add(fp32.model.scale2(total, -shift), term)
        return table.model.recip(total)

    def elaborate(self, platform):
        m = Module()
        seats = self.config.seats
        pending = Signal(range(self.PENDING))  # factors under way or in the FIFO
        pending_next = Signal.like(pending)
        running, running_next = Signal(), Signal()
        taken, done = Signal(), Signal()  # a page's sums; its last seat is in `new`
        gives = Signal()  # a factor leaves the FIFO
        page = self.i.payload
        # `ready` is a register: the whole of softmax moves on it.
        ready = Signal()
        m.d.sync += [running.eq(running_next), pending.eq(pending_next),
                     ready.eq(~running_next & (pending_next != self.PENDING - 1))]
        m.d.comb += [
            self.i.ready.eq(ready),
            taken.eq(self.i.valid & ready),
            running_next.eq(taken | running & ~done),
            pending_next.eq(pending + (taken & page.last) - gives),
            self.busy.eq(running | (pending != 0) | self.factor.valid),
        ]

        # Seat 0 is fed, then the others move down; the new l enter at the top, so they end in their places.
        sums = Signal(data.ArrayLayout(SUM_BITS, seats), reset_less=True)
        shifts = Signal(data.ArrayLayout(8, seats), reset_less=True)
        old = Signal(data.ArrayLayout(32, seats), reset_less=True)
        new = Signal(data.ArrayLayout(32, seats), reset_less=True)
        last = Signal(reset_less=True)
        to_feed = Signal(range(seats + 1))
        to_come = Signal(range(seats + 1))
        feed = Signal()
        m.d.comb += feed.eq(to_feed != 0)
        with m.If(feed):
            m.d.sync += [register.eq(register.as_value() >> width)
                         for register, width in ((sums, SUM_BITS), (shifts, 8), (old, 32))]
            m.d.sync += to_feed.eq(to_feed - 1)
        with m.If(taken):
            m.d.sync += [
                sums.eq(page.sums), shifts.eq(page.shifts), old.eq(Mux(page.first, 0, new.as_value())),
                last.eq(page.last), to_feed.eq(seats), to_come.eq(seats),
            ]

        pipe = Pipe(m, occupied=Signal(name="occupied"))
        term = fp32.from_int(pipe, pipe.input(sums[0]), -FRACTION_BITS)
        total = fp32.add(pipe, fp32.scale2(pipe, pipe.input(old[0]), pipe.input(-shifts[0])), term)
        inverse = table.recip(pipe, total)
        fed = pipe.occupy(feed, inverse.at)[total.at - 1]
        m.d.comb += done.eq(fed & (to_come == 1))
        with m.If(fed):
            m.d.sync += [new.eq(Cat(new.as_value()[32:], total.value)), to_come.eq(to_come - 1)]
        final = pipe.valid(fed & last, inverse.at - total.at)
        whole = pipe.valid(done & last, inverse.at - total.at)

        inverses = Signal(data.ArrayLayout(32, seats), reset_less=True)
        m.submodules.factors = factors = fifo.SyncFIFO(width=32 * seats, depth=self.PENDING - 1)
        gathered = Cat(inverses.as_value()[32:], inverse.value)
        with m.If(final):
            m.d.sync += inverses.eq(gathered)
        m.d.comb += [
            factors.w_data.eq(gathered),
            factors.w_en.eq(whole),
            gives.eq(factors.r_rdy & ~self.factor.valid),
            factors.r_en.eq(gives),
        ]
        # One a command, so a register that is emptied before it is filled again will do; the FIFO and `ready` do not
        # move on the receiver's word.
        with m.If(gives):
            m.d.sync += [self.factor.payload.eq(factors.r_data), self.factor.valid.eq(1)]
        with m.Elif(self.factor.ready):
            m.d.sync += self.factor.valid.eq(0)
        check_fifo(m, factors, "denominator: factors")
        check(m, ~taken | (to_feed == 0) & (to_come == 0), "denominator: a page begins when the one before is done")
        check(m, ~fed | (to_come != 0), "denominator: a seat that comes has been fed")
        check(m, pending < self.PENDING, "denominator: factors under way have room")
        return m
