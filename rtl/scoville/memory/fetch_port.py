"""Small reads for the control blocks, and the mux through which they share the read channels with the stream reader."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_channel, check_fifo

from . import axi
from .reader import READER_ID

__all__ = ["FETCH_ID", "FetchPort", "ReadMux", "fetch_layout", "response_layout"]

FETCH_ID = 1
BEATS_BITS = 8
BURST_BEATS = 16  # longest burst; also the depth of the response FIFO


def fetch_layout(config):
    """A small read: 1 to 255 `beats` from `address`, a multiple of the bus width."""
    return data.StructLayout({"address": config.addr_bits, "beats": BEATS_BITS})


def response_layout(config):
    """A beat that came, whether it failed, and whether it did because `Window` refused it (`data` is then 0)."""
    return data.StructLayout({"data": config.bus_bits, "error": 1, "refused": 1})


class FetchPort(wiring.Component):
    """Serves the small reads of `clients` clients, one burst at a time, client 0 first.

    A request's beats come back in order on the stream of the same number before another request is served. A burst
    goes out only when the response FIFO is empty, so RREADY is always high. Throughput: one burst of up to 16 beats a
    memory latency. Bursts end at multiples of 16 beats, so none crosses 4 KB.

    Parameters
    ----------
    config : ChipConfig
    clients : number of request and response streams

    Members
    -------
    i : In(stream(fetch_layout)).array(clients)
    o : Out(stream(response_layout)).array(clients)
    bus : Out(axi.guarded_read_signature), always with ID `FETCH_ID`
    idle : Out(1), no request in progress
    """

    def __init__(self, config, *, clients):
        self.config = config
        self.clients = clients
        self.burst_beats = min(BURST_BEATS, axi.BOUNDARY // config.bus_bytes)
        super().__init__({
            "i": In(stream.Signature(fetch_layout(config))).array(clients),
            "o": Out(stream.Signature(response_layout(config))).array(clients),
            "bus": Out(axi.guarded_read_signature(config)),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        config = self.config
        bus = self.bus
        m = Module()
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=response_layout(config).size, depth=self.burst_beats)
        size = (config.bus_bytes - 1).bit_length()

        client = Signal(range(self.clients))
        address, remaining = Signal(config.addr_bits, reset_less=True), Signal(BEATS_BITS)
        end = Signal(config.addr_bits, reset_less=True)  # a run past the end met the window's limit before
        room, least = Signal(range(self.burst_beats + 1)), Signal(range(self.burst_beats + 1))
        beats = Signal(range(self.burst_beats + 1), reset_less=True)
        left = Signal(range(self.burst_beats + 1), reset_less=True)
        m.d.comb += [
            room.eq(self.burst_beats - address[size:size + (self.burst_beats - 1).bit_length()]),
            least.eq(Mux(remaining <= room, remaining, room)),
            bus.arid.eq(FETCH_ID),
            bus.araddr.eq(address),
            bus.arlen.eq(beats - 1),
            bus.arsize.eq(size),
            bus.arburst.eq(axi.Burst.INCR),
            bus.rready.eq(1),
        ]

        # Responses go to the client being served; it changes only when the FIFO is empty.
        response = Signal(response_layout(config))
        arrive = Signal()
        m.d.comb += [
            response.data.eq(bus.rdata), response.error.eq(bus.rresp[1]), response.refused.eq(bus.rrefused),
            queue.w_data.eq(response), queue.w_en.eq(arrive),
        ]
        request = Signal(fetch_layout(config))
        asked = Signal()
        for number, (i, o) in enumerate(zip(self.i, self.o, strict=True)):
            m.d.comb += o.payload.eq(queue.r_data)
            with m.If(client == number):
                m.d.comb += [request.eq(i.payload), asked.eq(i.valid), o.valid.eq(queue.r_rdy),
                             queue.r_en.eq(o.valid & o.ready)]

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                for number, i in reversed(list(enumerate(self.i))):
                    with m.If(i.valid):
                        m.d.sync += client.eq(number)
                        m.next = "ACCEPT"
            with m.State("ACCEPT"):
                for number, i in enumerate(self.i):
                    m.d.comb += i.ready.eq(client == number)
                m.d.sync += [address.eq(request.address), remaining.eq(request.beats)]
                m.next = "IDLE"  # a request may be withdrawn when the chip stops
                with m.If(asked):
                    m.next = "MEASURE"
            with m.State("MEASURE"):
                m.d.sync += [beats.eq(least), left.eq(least), end.eq((address + (least << size))[:config.addr_bits])]
                with m.If(queue.level == 0):
                    m.next = "ADDRESS"
                    with m.If(remaining == 0):
                        m.next = "IDLE"
            with m.State("ADDRESS"):
                m.d.comb += bus.arvalid.eq(1)
                with m.If(bus.arready):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += arrive.eq(bus.rvalid)
                with m.If(arrive & (left == 1)):
                    m.next = "MEASURE"
        with m.If(arrive):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 1):
                m.d.sync += [address.eq(end), remaining.eq(remaining - beats)]

        check_fifo(m, queue, "fetch port: beats")
        check(m, ~bus.rvalid | fsm.ongoing("DATA") & (bus.rid == FETCH_ID), "fetch port: a beat only when one is due")
        check(m, ~arrive | (bus.rlast == (left == 1)), "fetch port: RLAST with the last beat")
        check(m, ~(self.idle | fsm.ongoing("ACCEPT")) | (queue.level == 0), "fetch port: one client at a time")
        axi.check_addresses(m, bus, "ar", config, "fetch port")
        return m


class ReadMux(wiring.Component):
    """Joins the read channels of the stream reader and the fetch port: addresses fetch first, data by RID.

    The address channel has one register, so a grant never changes while ARVALID waits. Both managers keep RREADY high.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    reader, fetch : In(axi.guarded_read_signature), from `StreamReader.bus` and `FetchPort.bus`
    bus : Out(axi.guarded_read_signature)
    """

    def __init__(self, config):
        reads = axi.guarded_read_signature(config)
        super().__init__({"reader": In(reads), "fetch": In(reads), "bus": Out(reads)})

    def elaborate(self, platform):
        m = Module()
        reader, fetch, bus = self.reader, self.fetch, self.bus
        free = Signal()
        m.d.comb += [
            free.eq(~bus.arvalid | bus.arready),
            fetch.arready.eq(free),
            reader.arready.eq(free & ~fetch.arvalid),
        ]
        with m.If(free):
            m.d.sync += bus.arvalid.eq(fetch.arvalid | reader.arvalid)
            for field in ("arid", "araddr", "arlen", "arsize", "arburst"):
                m.d.sync += getattr(bus, field).eq(Mux(fetch.arvalid, getattr(fetch, field), getattr(reader, field)))

        for manager, number in ((reader, READER_ID), (fetch, FETCH_ID)):
            m.d.comb += [
                manager.rid.eq(bus.rid),
                manager.rdata.eq(bus.rdata),
                manager.rresp.eq(bus.rresp),
                manager.rlast.eq(bus.rlast),
                manager.rrefused.eq(bus.rrefused),
                manager.rvalid.eq(bus.rvalid & (bus.rid == number)),
            ]
        m.d.comb += bus.rready.eq(Mux(bus.rid == FETCH_ID, fetch.rready, reader.rready))
        check(m, ~bus.rvalid | (bus.rid == READER_ID) | (bus.rid == FETCH_ID), "read mux: a beat has a reader")
        check_channel(m, bus, "ar", "read mux")
        return m
