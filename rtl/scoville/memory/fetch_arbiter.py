"""Several users of one client's place at the fetch port."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_stream
from scoville.masks import first_of
from scoville.memory.fetch_port import BEATS_BITS, fetch_layout, response_layout

__all__ = ["FetchArbiter"]


class FetchArbiter(wiring.Component):
    """One short read at a time: a request goes on, and all of its beats come back, before the next one goes.

    Client 0 first. A request that is offered is not withdrawn for another.

    Throughput: a beat a cycle; no cycle is lost between reads. Latency: none.

    Parameters
    ----------
    config : ChipConfig
    clients : number of request and response streams

    Members
    -------
    i : In(stream(fetch_layout)).array(clients)
    o : Out(stream(response_layout)).array(clients)
    request, response : Out(stream), In(stream), of the fetch port
    """

    def __init__(self, config, *, clients):
        self.clients = clients
        super().__init__({
            "i": In(stream.Signature(fetch_layout(config))).array(clients),
            "o": Out(stream.Signature(response_layout(config))).array(clients),
            "request": Out(stream.Signature(fetch_layout(config))),
            "response": In(stream.Signature(response_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        request, response = self.request, self.response
        held, owner = (Signal(range(self.clients), name=name) for name in ("held", "owner"))
        waiting, reading = Signal(), Signal()
        left = Signal(BEATS_BITS)
        m.d.comb += owner.eq(Mux(waiting | reading, held, first_of(Cat(i.valid for i in self.i))))
        for number, (i, o) in enumerate(zip(self.i, self.o, strict=True)):
            m.d.comb += o.payload.eq(response.payload)
            with m.If(owner == number):
                m.d.comb += [
                    request.valid.eq(i.valid & ~reading), request.payload.eq(i.payload),
                    i.ready.eq(request.ready & ~reading),
                    o.valid.eq(response.valid & reading), response.ready.eq(o.ready & reading),
                ]
        m.d.sync += [waiting.eq(request.valid & ~request.ready), held.eq(owner)]
        with m.If(request.valid & request.ready):
            m.d.sync += [reading.eq(1), left.eq(request.p.beats)]
        with m.If(response.valid & response.ready):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 1):
                m.d.sync += reading.eq(0)
        check(m, ~response.valid | reading, "fetch arbiter: a beat only when one is due")
        check_stream(m, request, "fetch arbiter: request")
        return m
