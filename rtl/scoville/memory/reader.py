"""The stream reader: descriptors in, memory beats out in order, as far ahead of the consumer as its FIFO allows."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_fifo, check_stream
from scoville.slices import StreamSlice

from . import axi
from .axi import ErrorKind

__all__ = ["READER_ID", "StreamReader", "reader_sizes", "request_layout"]

READER_ID = 0
BEATS_BITS = 24
FLIGHT = 32  # bursts in flight


def request_layout(config):
    """A read request: `beats` bus beats from `address`, a multiple of the bus width."""
    return data.StructLayout({"address": config.addr_bits, "beats": BEATS_BITS})


def reader_sizes(config):
    """(beats of the longest burst, depth of the FIFO)."""
    burst = min(axi.MAX_BURST, axi.BOUNDARY // config.bus_bytes, max(config.stream_beats // 4, 4))
    return burst, config.stream_beats + burst


class StreamReader(wiring.Component):
    """Reads every requested beat in order, one a cycle, running ahead by the depth of its FIFO.

    ::

        i ─► split at burst boundaries ─► credit ─► AR
        o ◄─ FIFO (stream_beats + one burst) ◄─ R

    A burst goes out only when the FIFO has room for all of it, so RREADY is always high and no other reader of the bus
    waits for this one's consumer. Throughput: a beat a cycle while the memory's latency is at most
    ``stream_beats - 8`` cycles (the rest is this unit's own pipeline). Bursts end at multiples of `burst_beats` beats,
    so none crosses 4 KB. A failed read still delivers its beats (zeros if it was refused by `Window`), so that nothing
    downstream hangs.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream(request_layout))
        A request with 0 beats delivers nothing.
    o : Out(stream(bus_bits))
    bus : Out(axi.guarded_read_signature), always with ID `READER_ID`
    clear_error : In(1)
    error : Out(1)
        Sticky until `clear_error`. The next three describe the first failure.
    error_address : Out(addr_bits), of the burst that failed
    error_kind : Out(ErrorKind)
    error_resp : Out(2), RRESP of a RESPONSE error
    idle : Out(1), nothing requested, in flight or buffered
    """

    def __init__(self, config):
        self.config = config
        self.burst_beats, self.depth = reader_sizes(config)
        super().__init__({
            "i": In(stream.Signature(request_layout(config))),
            "o": Out(stream.Signature(config.bus_bits)),
            "bus": Out(axi.guarded_read_signature(config)),
            "clear_error": In(1),
            "error": Out(1),
            "error_address": Out(config.addr_bits),
            "error_kind": Out(ErrorKind),
            "error_resp": Out(2),
            "idle": Out(1),
        })

    def model(self, memory, requests):
        """Beats, as Python ints, of (byte address, beats) requests on a bytes-like memory."""
        size = self.config.bus_bytes
        return [int.from_bytes(bytes(memory[at:at + size]), "little")
                for address, beats in requests for at in range(address, address + beats * size, size)]

    def elaborate(self, platform):
        config = self.config
        m = Module()
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=config.bus_bits, depth=self.depth)
        m.submodules.flight = flight = fifo.SyncFIFOBuffered(width=config.addr_bits, depth=FLIGHT)
        size = (config.bus_bytes - 1).bit_length()

        m.submodules.requests = requests = StreamSlice(request_layout(config))
        wiring.connect(m, wiring.flipped(self.i), requests.i)
        request = requests.o

        # Split the request into bursts; the last burst of one request and the first of the next are neighbours.
        address, remaining = Signal(config.addr_bits, reset_less=True), Signal(BEATS_BITS)
        room = Signal(range(self.burst_beats + 1))
        beats = Signal(range(self.burst_beats + 1))
        offset = address[size:size + (self.burst_beats - 1).bit_length()]
        place_bits = size + len(offset)
        place = address[place_bits:]
        split_ready = Signal()
        last = Signal()
        m.d.comb += [
            room.eq(self.burst_beats - offset),
            last.eq(remaining <= room),
            beats.eq(Mux(last, remaining, room)),
            request.ready.eq((remaining == 0) | (last & split_ready)),
        ]
        with m.If(split_ready & (remaining != 0)):  # after the last burst the address does not matter
            m.d.sync += [address.eq(Cat(Const(0, place_bits), place + 1)),
                         remaining.eq(Mux(last, 0, remaining - room))]
        with m.If(request.valid & request.ready):
            m.d.sync += [address.eq(request.p.address), remaining.eq(request.p.beats)]

        # One burst waits here until it may go out.
        burst_valid = Signal()
        burst_address = Signal(config.addr_bits, reset_less=True)
        burst_beats = Signal(range(self.burst_beats + 1), reset_less=True)
        burst_go = Signal()
        m.d.comb += split_ready.eq(~burst_valid | burst_go)
        with m.If(split_ready):
            m.d.sync += [burst_valid.eq(remaining != 0), burst_address.eq(address), burst_beats.eq(beats)]

        # Credit: room in the FIFO that no burst has claimed.
        credit = Signal(range(self.depth + 1), init=self.depth)
        rest = Signal(signed((self.depth).bit_length() + 1))  # of the credit, if the burst goes out
        ar_free, waits = Signal(), Signal()
        bus = self.bus
        arrive, take = Signal(), Signal()
        m.d.comb += [
            rest.eq(credit - burst_beats),
            ar_free.eq(~waits),
            burst_go.eq(burst_valid & (rest >= 0) & ar_free & flight.w_rdy),
            arrive.eq(bus.rvalid & bus.rready),
            take.eq(self.o.valid & self.o.ready),
        ]
        m.d.sync += credit.eq(Mux(burst_go, rest, credit) + take)

        # The address channel. A second burst waits in front of it, so that bursts do not go out on ARREADY's word.
        spare_address, spare_beats = Signal.like(burst_address), Signal.like(burst_beats)
        m.d.comb += [
            bus.arid.eq(READER_ID),
            bus.arsize.eq(size),
            bus.arburst.eq(axi.Burst.INCR),
            flight.w_en.eq(burst_go),
            flight.w_data.eq(burst_address),
        ]
        with m.If(~bus.arvalid | bus.arready):
            m.d.sync += [bus.arvalid.eq(waits | burst_go), waits.eq(0),
                         bus.araddr.eq(Mux(waits, spare_address, burst_address)),
                         bus.arlen.eq(Mux(waits, spare_beats, burst_beats) - 1)]
        with m.Elif(burst_go):
            m.d.sync += [waits.eq(1), spare_address.eq(burst_address), spare_beats.eq(burst_beats)]

        # The data channel.
        m.d.comb += [
            bus.rready.eq(1),
            queue.w_en.eq(arrive),
            queue.w_data.eq(bus.rdata),
            flight.r_en.eq(arrive & bus.rlast),
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.valid & self.o.ready),
        ]

        # Errors: the first one stays.
        failed = Signal()
        m.d.comb += failed.eq(arrive & bus.rresp[1])
        with m.If(~self.error | self.clear_error):
            m.d.sync += [self.error.eq(0), self.error_kind.eq(ErrorKind.NONE), self.error_resp.eq(0)]
            with m.If(failed):
                m.d.sync += [self.error.eq(1), self.error_resp.eq(bus.rresp), self.error_address.eq(flight.r_data),
                             self.error_kind.eq(Mux(bus.rrefused, ErrorKind.WINDOW, ErrorKind.RESPONSE))]
        m.d.comb += self.idle.eq(~request.valid & (remaining == 0) & ~burst_valid & (credit == self.depth))

        check_fifo(m, queue, "reader: beats")
        check_fifo(m, flight, "reader: bursts in flight")
        check(m, (credit <= self.depth) & (~take | (credit != self.depth)), "reader: no more credit than room")
        check(m, credit + queue.level <= self.depth, "reader: credit is room that the FIFO has")
        check(m, ~arrive | flight.r_rdy & (bus.rid == READER_ID), "reader: a beat only of a burst in flight")
        check(m, ~self.idle | ~flight.r_rdy & ~bus.arvalid, "reader: idle is without bursts in flight")
        axi.check_addresses(m, bus, "ar", config, "reader")
        check_stream(m, self.o, "reader: o")
        return m
