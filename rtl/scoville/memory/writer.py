"""AXI4 write manager: long writes in, legal bursts out."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_channel, check_fifo
from scoville.memory import axi
from scoville.slices import StreamSlice

__all__ = ["WRITE_BEATS_BITS", "StreamWriter", "write_command_layout", "write_data_layout"]

WRITE_BEATS_BITS = 16  # of a command


def write_command_layout(config):
    """A write: `beats` consecutive beats from the bus-aligned `address`."""
    return data.StructLayout({"address": config.addr_bits, "beats": WRITE_BEATS_BITS})


def write_data_layout(config):
    """One beat with its byte strobes."""
    return data.StructLayout({"data": config.bus_bits, "strobe": config.bus_bytes})


class StreamWriter(wiring.Component):
    """Writes runs of beats to memory as INCR bursts of at most 256 beats that do not cross 4 KB.

    Bursts are issued as soon as `OUTSTANDING` allows, before their data is there. From then on address and data are
    offered side by side, and neither waits for the other to be taken, as the memory may take them in any order.
    All bursts have ID 0, so responses come in order.

    Throughput: a beat a cycle, an address in two cycles. Latency: three cycles from `command` to its address;
    data passes in one, from two cycles after its burst's address was offered.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command : In(stream), `write_command_layout`; ``beats`` is at least 1.
    data : In(stream), `write_data_layout`; the beats of all commands in order.
    clear : In(1), forgets a recorded error.
    idle : Out(1), no command is in progress and every burst has its response.
    error : Out(1), a response other than OKAY has come since `clear`.
    error_address, error_kind, error_resp : Out, start of the first such burst, `axi.ErrorKind` and the response.
    bus : Out(axi.guarded_write_signature)
    """

    OUTSTANDING = 8

    def __init__(self, config):
        self.config = config
        super().__init__({
            "command": In(stream.Signature(write_command_layout(config))),
            "data": In(stream.Signature(write_data_layout(config))),
            "clear": In(1),
            "idle": Out(1),
            "error": Out(1),
            "error_address": Out(config.addr_bits),
            "error_kind": Out(axi.ErrorKind),
            "error_resp": Out(2),
            "bus": Out(axi.guarded_write_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        beat_bits = exact_log2(self.config.bus_bytes)
        boundary_beats = axi.BOUNDARY // self.config.bus_bytes

        m.submodules.lengths = lengths = fifo.SyncFIFOBuffered(width=8, depth=self.OUTSTANDING)
        m.submodules.addresses = addresses = fifo.SyncFIFOBuffered(width=self.config.addr_bits, depth=self.OUTSTANDING)
        outstanding = Signal(range(self.OUTSTANDING + 1))

        m.submodules.commands = commands = StreamSlice(write_command_layout(self.config))
        wiring.connect(m, wiring.flipped(self.command), commands.i)
        command = commands.o

        # Addresses: cut the command at boundaries. A burst is measured in one cycle and goes out in the next.
        active, measured = Signal(), Signal()
        address = Signal(self.config.addr_bits, reset_less=True)
        remaining = Signal(WRITE_BEATS_BITS, reset_less=True)
        to_boundary = Signal(range(boundary_beats + 1))
        allowed = Signal(range(axi.MAX_BURST + 1))
        length = Signal(range(axi.MAX_BURST + 1), reset_less=True)
        rest = Signal(WRITE_BEATS_BITS)
        announce, announced = Signal(), Signal()  # its data may come; in the first cycle of its address, and after it
        burst_taken = Signal()
        last_burst = Signal(reset_less=True)
        next_address = Signal(self.config.addr_bits)  # a run past the end met the window's limit before
        m.d.comb += [
            to_boundary.eq(boundary_beats - address[beat_bits:exact_log2(axi.BOUNDARY)]),
            allowed.eq(Mux(to_boundary > axi.MAX_BURST, axi.MAX_BURST, to_boundary)),
            rest.eq(remaining - length),
            next_address.eq((address + (length << beat_bits))[:self.config.addr_bits]),
            bus.awaddr.eq(address),
            bus.awlen.eq((length - 1)[:8]),
            bus.awsize.eq(beat_bits),
            bus.awburst.eq(axi.Burst.INCR),
            announce.eq(measured & ~announced & (outstanding != self.OUTSTANDING) & lengths.w_rdy & addresses.w_rdy),
            bus.awvalid.eq(announce | announced),
            burst_taken.eq(bus.awvalid & bus.awready),
            lengths.w_data.eq(bus.awlen),
            lengths.w_en.eq(announce),
            addresses.w_data.eq(address),
            addresses.w_en.eq(announce),
            command.ready.eq(~active | burst_taken & last_burst),
        ]
        m.d.sync += announced.eq(bus.awvalid & ~bus.awready)
        with m.If(~measured):
            m.d.sync += [measured.eq(active), length.eq(Mux(remaining > allowed, allowed, remaining)),
                         last_burst.eq(remaining <= allowed)]
        with m.If(burst_taken):
            m.d.sync += [measured.eq(0), active.eq(~last_burst), address.eq(next_address), remaining.eq(rest)]
        with m.If(command.valid & command.ready):
            m.d.sync += [active.eq(command.p.beats != 0), address.eq(command.p.address), remaining.eq(command.p.beats)]

        # Data: count the beats of each burst.
        m.submodules.beats = beats = StreamSlice(write_data_layout(self.config))
        wiring.connect(m, wiring.flipped(self.data), beats.i)
        beat = Signal(8)
        beat_taken = Signal()
        m.d.comb += [
            bus.wdata.eq(beats.o.p.data),
            bus.wstrb.eq(beats.o.p.strobe),
            bus.wlast.eq(beat == lengths.r_data),
            bus.wvalid.eq(beats.o.valid & lengths.r_rdy),
            beats.o.ready.eq(bus.wready & lengths.r_rdy),
            beat_taken.eq(bus.wvalid & bus.wready),
            lengths.r_en.eq(beat_taken & bus.wlast),
        ]
        with m.If(beat_taken):
            m.d.sync += beat.eq(Mux(bus.wlast, 0, beat + 1))

        # Responses.
        response = Signal()
        m.d.comb += [
            bus.bready.eq(1),
            response.eq(bus.bvalid & bus.bready),
            addresses.r_en.eq(response),
            self.idle.eq(~command.valid & ~active & (outstanding == 0)),
        ]
        m.d.sync += outstanding.eq(outstanding + announce - response)
        with m.If(response & (bus.bresp != axi.Resp.OKAY.value) & ~self.error):
            m.d.sync += [self.error.eq(1), self.error_address.eq(addresses.r_data), self.error_resp.eq(bus.bresp),
                         self.error_kind.eq(Mux(bus.brefused, axi.ErrorKind.WINDOW, axi.ErrorKind.RESPONSE))]
        with m.If(self.clear):
            m.d.sync += self.error.eq(0)

        check_fifo(m, lengths, "writer: lengths")
        check_fifo(m, addresses, "writer: addresses")
        check(m, ~announce | (outstanding != self.OUTSTANDING), "writer: no more bursts than it counts")
        check(m, ~response | (outstanding != 0), "writer: an answer only to a burst that is open")
        check(m, ~measured | active & (length != 0), "writer: a burst has beats")
        check(m, ~beat_taken | (beat <= lengths.r_data), "writer: no beat beyond the burst's")
        check(m, (outstanding != 0) | ~lengths.r_rdy & ~addresses.r_rdy & ~announced, "writer: idle is without bursts")
        axi.check_addresses(m, bus, "aw", self.config, "writer")
        check_channel(m, bus, "w", "writer")
        return m
