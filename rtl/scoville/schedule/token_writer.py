"""Writes sampled tokens into their sequences' buffers, and knows when they are there."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.memory.writer import write_command_layout, write_data_layout

__all__ = ["TokenWriter", "token_write_layout"]


def token_write_layout(config):
    """A token and its address, a multiple of 4."""
    return data.StructLayout({"address": config.addr_bits, "token": 32})


class TokenWriter(wiring.Component):
    """A write of one beat, of which a word counts, for each token.

    Throughput: a token in 3 cycles, if the writer takes its beat at once.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    i : In(stream(token_write_layout))
    write_command, write_data : Out(stream), to the writer; written : In(1), every write has its response
    settled : Out(1), every token that was taken is in memory; low from the cycle behind the one in which one is taken
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(token_write_layout(config))),
            "write_command": Out(stream.Signature(write_command_layout(config))),
            "write_data": Out(stream.Signature(write_data_layout(config))),
            "written": In(1), "settled": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        bus_bytes = self.config.bus_bytes
        beat_bits = exact_log2(bus_bytes)
        it = Signal(token_write_layout(self.config), reset_less=True)
        word = it.address[2:beat_bits]
        m.d.comb += [
            self.write_command.p.address[beat_bits:].eq(it.address[beat_bits:]), self.write_command.p.beats.eq(1),
            self.write_data.p.data.eq(it.token.replicate(bus_bytes // 4)),
            self.write_data.p.strobe.eq(Const(0xF, bus_bytes) << (word << 2)),
        ]
        with m.If(self.i.ready):
            m.d.sync += it.eq(self.i.payload)
        with m.FSM(init="settled"):
            with m.State("settled"):
                m.d.comb += [self.i.ready.eq(1), self.settled.eq(1)]
                with m.If(self.i.valid):
                    m.next = "command"
            with m.State("command"):
                m.d.comb += self.write_command.valid.eq(1)
                with m.If(self.write_command.ready):
                    m.next = "data"
            with m.State("data"):
                m.d.comb += self.write_data.valid.eq(1)
                with m.If(self.write_data.ready):
                    m.next = "written"
            with m.State("written"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.next = "command"
                with m.Elif(self.written):
                    m.next = "settled"
        check(m, ~self.i.valid | (self.i.p.address[:2] == 0), "token writer: words are aligned")
        for name in ("write_command", "write_data"):
            check_stream(m, getattr(self, name), f"token writer: {name}")
        return m
