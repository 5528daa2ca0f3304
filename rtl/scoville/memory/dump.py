"""Logits to memory: words packed into beats, beats gathered into bursts."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_fifo, check_stream
from scoville.memory.writer import write_command_layout, write_data_layout

__all__ = ["LogitsDump"]

BURST_BYTES = 256  # gathered before a write is asked for: a fair burst, and a writer that is never held up


class LogitsDump(wiring.Component):
    """Writes a run of 32-bit words to consecutive addresses.

    A write is asked for only when its data is there, so a slow source of words does not hold the writer.
    Bytes after the last word of the last beat are not written (strobes off).

    Throughput: a word a cycle.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    start : In(stream) of {address, words}: bus-aligned address, number of words (at least 1).
    i : In(stream(32)), the words
    command, data : Out(stream), to a `StreamWriter`
    busy : Out(1), from the start until the writer has taken the last beat.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "start": In(stream.Signature(data.StructLayout({"address": config.addr_bits, "words": 24}))),
            "i": In(stream.Signature(32)),
            "command": Out(stream.Signature(write_command_layout(config))),
            "data": Out(stream.Signature(write_data_layout(config))),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        beat_words = config.bus_bytes // 4
        burst = max(1, BURST_BYTES // config.bus_bytes)
        beat_layout = data.StructLayout({"words": data.ArrayLayout(32, beat_words), "present": beat_words})
        m.submodules.beats = beats = fifo.SyncFIFOBuffered(width=beat_layout.size, depth=2 * burst + 2)
        head = data.View(beat_layout, beats.r_data)
        room = Signal()  # for two beats at least, in the cycle before
        m.d.sync += room.eq(beats.level < 2 * burst)

        # Pack: the words before the current one are kept, the current one joins them.
        packing = Signal()  # words are still to come
        words = Signal(24, reset_less=True)
        final = Signal()  # one is
        slot = Signal(exact_log2(beat_words))
        kept = Signal(data.ArrayLayout(32, beat_words), reset_less=True)
        full = Signal(beat_layout)
        closes = Signal()
        taken = Signal()
        m.d.comb += [
            closes.eq((slot == beat_words - 1) | final),
            self.i.ready.eq(packing & room),
            taken.eq(self.i.valid & self.i.ready),
            full.words.eq(kept),
            full.present.eq((Const(2, beat_words + 1) << slot) - 1),
            full.words[slot].eq(self.i.payload),
            beats.w_data.eq(full),
            beats.w_en.eq(taken & closes),
        ]
        with m.If(taken):
            m.d.sync += [
                kept[slot].eq(self.i.payload),
                slot.eq(Mux(closes, 0, slot + 1)),
                words.eq(words - 1),
                final.eq(words == 2),
                packing.eq(~final),
            ]

        # Ask: when a burst's worth is gathered, or the rest at the end.
        address = Signal(config.addr_bits, reset_less=True)
        gathered = Signal(range(2 * burst + 2))  # beats packed and not yet asked for
        asked = Signal(range(2 * burst + 2))  # beats asked for and not yet taken
        ask = Signal()
        amount = Signal(range(burst + 1))
        next_address = Signal(config.addr_bits)
        given = Signal()
        m.d.comb += [
            self.command.payload.address.eq(address),
            self.command.payload.beats.eq(amount),
            next_address.eq((address + (amount << exact_log2(config.bus_bytes)))[:config.addr_bits]),
            ask.eq(self.command.valid & self.command.ready),
            self.data.payload.data.eq(head.words),
            self.data.valid.eq(beats.r_rdy & (asked != 0)),
            given.eq(self.data.valid & self.data.ready),
            beats.r_en.eq(given),
        ]
        for word in range(beat_words):
            m.d.comb += self.data.payload.strobe[4 * word:4 * word + 4].eq(head.present[word].replicate(4))
        m.d.sync += [
            gathered.eq(gathered + beats.w_en - Mux(ask, amount, 0)),
            asked.eq(asked - given + Mux(ask, amount, 0)),
        ]

        # The amount is registered, so that an offered command does not change while more beats come.
        offered = Signal()
        m.d.comb += self.command.valid.eq(offered)
        with m.If(~offered & (asked == 0)):
            with m.If(gathered >= burst):
                m.d.sync += [offered.eq(1), amount.eq(burst)]
            with m.Elif(~packing & (gathered != 0)):
                m.d.sync += [offered.eq(1), amount.eq(gathered)]
        with m.If(ask):
            m.d.sync += [offered.eq(0), address.eq(next_address)]

        m.d.comb += [
            self.busy.eq(packing | (gathered != 0) | (asked != 0)),
            self.start.ready.eq(~self.busy),
        ]
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += [
                packing.eq(self.start.payload.words != 0),
                words.eq(self.start.payload.words),
                final.eq(self.start.payload.words == 1),
                address.eq(self.start.payload.address),
            ]

        check_fifo(m, beats, "dump: beats")
        check(m, gathered + asked == beats.level, "dump: every beat is asked for once")
        check(m, ~ask | (amount != 0) & (amount <= gathered), "dump: asks for what is there")
        check(m, ~given | (asked != 0), "dump: gives what it asked for")
        check(m, ~final | ~packing | (words == 1), "dump: the last word is the last")
        check_stream(m, self.command, "dump: command")
        check_stream(m, self.data, "dump: data")
        return m
