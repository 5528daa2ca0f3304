"""The guard at the bus: nothing outside the window is ever addressed."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_channel
from scoville.memory import axi

__all__ = ["Window"]


class Window(wiring.Component):
    """Passes the bursts that lie in [base, limit) with every byte, and answers the others itself.

    ::

        i.ar, i.aw ─► verdict ─► registers ─► bus.ar, bus.aw
        i.r, i.b  ◄─ the bus's answers, or the guard's in the place of a refused burst

    A burst that crosses 4 KB is refused as well, so that the last byte's upper address bits are those of the first.
    An address is on the bus only from the registers behind the verdict, and stays there whatever `base` and `limit`
    become. Low bits of an address are not passed: bursts begin at a multiple of the bus width.

    A refused read delivers its beats, all zeros, and a refused write takes its data; both are answered with DECERR and
    `rrefused` or `brefused`. This happens in order: the guard lets the bursts before it end, and takes no further
    address of that direction until the answer is given.

    Throughput: an address and a beat a cycle in each direction. Latency: one cycle for addresses, none for the rest;
    data may come before its address, and then waits for it.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    base, limit : In(addr_bits)
        Bytes from `base` up to, not including, `limit`. If they are no multiples of the bus width, the beats wholly
        between them.
    i : In(axi.guarded_signature); one ID for all writes, and a manager that takes every answer at once
    bus : Out(axi.signature)
    """

    OPEN_BITS = 6  # of the bursts in each direction that are not answered yet

    def __init__(self, config):
        self.config = config
        super().__init__({
            "base": In(config.addr_bits),
            "limit": In(config.addr_bits, init=(1 << config.addr_bits) - 1),
            "i": In(axi.guarded_signature(config)),
            "bus": Out(axi.signature(config)),
        })

    def allows(self, address, length, *, base, limit):
        """Whether the burst of `length` + 1 beats from `address` lies in the window, and within 4 KB: a 1-bit value."""
        size, page = exact_log2(self.config.bus_bytes), exact_log2(axi.BOUNDARY)
        last = address[size:page] + length  # place of the last beat in its 4 KB
        place, limit_place = address[page:], limit[page:]
        below = (place < limit_place) | (place == limit_place) & (last[:page - size] < limit[size:page])
        return (Cat(Const(0, size), address[size:]) >= base) & below & ~last[page - size:].any()

    def model(self, address, beats, *, base, limit):
        """Whether a burst is allowed, of Python ints."""
        size = self.config.bus_bytes
        first = address // size * size
        last = first + beats * size - 1
        return first // axi.BOUNDARY == last // axi.BOUNDARY and base <= first and last < limit // size * size

    def elaborate(self, platform):
        m = Module()
        self._reads(m)
        self._writes(m)
        return m

    def _addresses(self, m, prefix, ended):
        """One address channel: (bursts on the bus and not answered, one has come to it in the cycle before, a burst of
        the manager is refused)."""
        i, bus = self.i, self.bus
        size = exact_log2(self.config.bus_bytes)

        def of(port, name):
            return getattr(port, prefix + name)

        count = Signal(self.OPEN_BITS, name=f"{prefix}_open")
        refusing = Signal(name=f"{prefix}_refusing")  # an answer to give
        free, taken, inside, begun = (Signal(name=f"{prefix}_{name}") for name in ("free", "taken", "inside", "begun"))
        m.d.comb += [
            free.eq(~of(bus, "valid") | of(bus, "ready")),
            of(i, "ready").eq(free & ~refusing & ~count[1:].all()),  # one may have begun that is not counted yet
            taken.eq(of(i, "valid") & of(i, "ready")),
            inside.eq(self.allows(of(i, "addr"), of(i, "len"), base=self.base, limit=self.limit)),
            of(bus, "size").eq(size),
            of(bus, "burst").eq(axi.Burst.INCR),
        ]
        with m.If(free):
            m.d.sync += of(bus, "valid").eq(taken & inside)
        with m.If(taken):
            m.d.sync += [
                of(bus, "id").eq(of(i, "id")), of(bus, "len").eq(of(i, "len")),
                of(bus, "addr").eq(Cat(Const(0, size), of(i, "addr")[size:])),
                refusing.eq(~inside),
            ]
        # A burst is counted in its first cycle on the bus, as no answer can come before the next.
        m.d.sync += [begun.eq(taken & inside), count.eq(count + begun - ended)]
        self._check(m, prefix, taken, refusing)
        check(m, ~ended | (count != 0), f"window: {prefix}: an answer only to a burst that is open")
        return count, begun, refusing

    def _check(self, m, prefix, taken, refusing):
        """Assert that what is on the bus lies in the window as it was when the burst was let through."""
        bus = self.bus
        base, limit = (Signal(self.config.addr_bits, name=f"{prefix}_{name}") for name in ("base", "limit"))
        with m.If(taken):
            m.d.sync += [base.eq(self.base), limit.eq(self.limit)]
        valid, address, length = (getattr(bus, prefix + name) for name in ("valid", "addr", "len"))
        end = address + ((length + 1) << exact_log2(self.config.bus_bytes))
        check(m, ~valid | ((address >= base) & (end <= limit)), f"window: {prefix}: nothing outside is addressed")
        check(m, ~(taken & refusing), f"window: {prefix}: nothing passes a refused burst")
        axi.check_addresses(m, bus, prefix, self.config, f"window: bus {prefix}")
        check_channel(m, self.i, prefix, "window: i")

    def _reads(self, m):
        i, bus = self.i, self.bus
        ended = Signal()
        waiting, _, refusing = self._addresses(m, "ar", ended)
        # The refused burst: while it waits, nothing else is taken, so its length and ID are those of the register.
        answering = Signal()
        left = Signal(8, reset_less=True)
        given = Signal()
        with m.If(refusing & ~answering):
            m.d.sync += [answering.eq(waiting == 0), left.eq(bus.arlen)]
        with m.If(given):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 0):
                m.d.sync += [answering.eq(0), refusing.eq(0)]
        m.d.comb += [
            ended.eq(bus.rvalid & bus.rready & bus.rlast),
            bus.rready.eq(i.rready & ~answering),
            given.eq(answering & i.rready),
            i.rvalid.eq(bus.rvalid | answering),
            i.rid.eq(Mux(answering, bus.arid, bus.rid)),
            i.rdata.eq(Mux(answering, 0, bus.rdata)),
            i.rresp.eq(Mux(answering, axi.Resp.DECERR, bus.rresp)),
            i.rlast.eq(Mux(answering, left == 0, bus.rlast)),
            i.rrefused.eq(answering),
        ]
        check(m, ~answering | refusing & (waiting == 0), "window: a refused read is answered alone")

    def _writes(self, m):
        i, bus = self.i, self.bus
        ended = Signal()
        waiting, begun, refusing = self._addresses(m, "aw", ended)
        # Data passes for bursts whose address has gone out; a refused one's is taken once nothing else is open.
        owed = Signal(self.OPEN_BITS)  # bursts that went out and whose data has not passed
        passes, finished = Signal(), Signal()
        swallowing, answering = Signal(), Signal()
        m.d.comb += [
            passes.eq(owed != 0),
            bus.wdata.eq(i.wdata),
            bus.wstrb.eq(i.wstrb),
            bus.wlast.eq(i.wlast),
            bus.wvalid.eq(i.wvalid & passes),
            i.wready.eq(bus.wready & passes | swallowing),
            finished.eq(bus.wvalid & bus.wready & bus.wlast),
            bus.bready.eq(i.bready & ~answering),
            ended.eq(bus.bvalid & bus.bready),
            i.bvalid.eq(bus.bvalid | answering),
            i.bid.eq(Mux(answering, bus.awid, bus.bid)),
            i.bresp.eq(Mux(answering, axi.Resp.DECERR, bus.bresp)),
            i.brefused.eq(answering),
        ]
        m.d.sync += owed.eq(owed + begun - finished)
        with m.If(swallowing), m.If(i.wvalid & i.wlast):
            m.d.sync += [swallowing.eq(0), answering.eq(1)]
        with m.Elif(answering), m.If(i.bready):
            m.d.sync += [answering.eq(0), refusing.eq(0)]
        with m.Elif(refusing):
            m.d.sync += swallowing.eq((waiting == 0) & ~passes)
        check_channel(m, bus, "w", "window: bus")
        check(m, owed <= waiting, "window: a write is answered after its data")
        check(m, ~(swallowing & answering), "window: data first, then the answer")
        check(m, ~(swallowing | answering) | refusing & (waiting == 0), "window: a refused write is answered alone")
