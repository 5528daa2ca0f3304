"""Two users of one writer."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from scoville.checks import check, check_fifo, check_stream
from scoville.memory.writer import WRITE_BEATS_BITS, write_command_layout, write_data_layout

__all__ = ["WriteArbiter"]


class WriteArbiter(wiring.Component):
    """Merges two pairs of write commands and data; the data of the commands leaves in the order of the commands.

    They take turns when both wait, so neither waits for more than one command of the other. An offered command is not
    withdrawn for a later one.

    Throughput: a command and a beat a cycle. Latency: none for commands; data passes without a register, from two
    cycles after its command.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    command0, command1 : In(stream), `write_command_layout`
    data0, data1 : In(stream), `write_data_layout`
    command, data : Out(stream), to a `StreamWriter`
    """

    DEPTH = 4  # commands whose data has not passed

    def __init__(self, config):
        command = stream.Signature(write_command_layout(config))
        beats = stream.Signature(write_data_layout(config))
        super().__init__({
            "command0": In(command), "data0": In(beats),
            "command1": In(command), "data1": In(beats),
            "command": Out(command), "data": Out(beats),
        })

    def elaborate(self, platform):
        m = Module()
        ticket = data.StructLayout({"owner": 1, "beats": WRITE_BEATS_BITS})
        m.submodules.tickets = tickets = fifo.SyncFIFOBuffered(width=ticket.size, depth=self.DEPTH)
        written = data.View(ticket, tickets.w_data)
        head = data.View(ticket, tickets.r_data)

        # The choice is held while its command waits, so that the payload is stable.
        waiting = Signal()
        held = Signal()
        owner = Signal()
        before = Signal(init=1)  # who went last
        m.d.comb += owner.eq(Mux(waiting, held, Mux(before, ~self.command0.valid, self.command1.valid)))
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += before.eq(owner)
        m.d.sync += [waiting.eq(self.command.valid & ~self.command.ready), held.eq(owner)]
        m.d.comb += [
            self.command.valid.eq(Mux(owner, self.command1.valid, self.command0.valid) & tickets.w_rdy),
            self.command.payload.eq(Mux(owner, self.command1.payload.as_value(), self.command0.payload.as_value())),
            self.command0.ready.eq(self.command.ready & tickets.w_rdy & ~owner),
            self.command1.ready.eq(self.command.ready & tickets.w_rdy & owner),
            written.owner.eq(owner),
            written.beats.eq(self.command.payload.beats),
            tickets.w_en.eq(self.command.valid & self.command.ready & (written.beats != 0)),
        ]

        beat = Signal(WRITE_BEATS_BITS, init=1)
        taken = Signal()
        last = Signal()
        m.d.comb += [
            self.data.valid.eq(Mux(head.owner, self.data1.valid, self.data0.valid) & tickets.r_rdy),
            self.data.payload.eq(Mux(head.owner, self.data1.payload.as_value(), self.data0.payload.as_value())),
            self.data0.ready.eq(self.data.ready & tickets.r_rdy & ~head.owner),
            self.data1.ready.eq(self.data.ready & tickets.r_rdy & head.owner),
            taken.eq(self.data.valid & self.data.ready),
            last.eq(beat == head.beats),
            tickets.r_en.eq(taken & last),
        ]
        with m.If(taken):
            m.d.sync += beat.eq(Mux(last, 1, beat + 1))

        check_fifo(m, tickets, "write arbiter: tickets")
        check(m, tickets.r_rdy | (beat == 1), "write arbiter: a command begins with its first beat")
        check_stream(m, self.command, "write arbiter: command")
        check_stream(m, self.data, "write arbiter: data")
        return m
