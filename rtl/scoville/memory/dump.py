"""Logits to memory: words packed into beats, beats gathered into bursts."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_fifo, check_stream
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.seats import Sampling

__all__ = ["ROW_BITS", "LogitsDump", "copy_layout", "dump_members"]

ROW_BITS = 24  # of a row of logits

BURST_BYTES = 256  # gathered before a write is asked for: a fair burst, and a writer that is never held up


def copy_layout(config):
    """A logit for the memory: `last` of its run. With more slots than one `last` of 32 rows of a phase, or of as many
    as there are; and whose it is, and whether it is to be written."""
    several = {"seat": range(config.seats), "row": ROW_BITS, "kept": 1} if config.slots > 1 else {}
    return data.StructLayout({"word": 32, "last": 1} | several)


def dump_members(config):
    """What `LogitsDump` and `TileDump` have: where logits go, their copies, a `StreamWriter`'s streams, `busy`."""
    return {
        "sampling": In(Sampling(config)),
        "i": In(stream.Signature(copy_layout(config))),
        "command": Out(stream.Signature(write_command_layout(config))),
        "data": Out(stream.Signature(write_data_layout(config))),
        "busy": Out(1),
    }


class LogitsDump(wiring.Component):
    """Writes runs of 32-bit words to consecutive addresses; for one slot.

    A write is asked for only when its data is there, so a slow source of words does not hold the writer.
    Bytes after the last word of the last beat are not written (strobes off).

    Throughput: a word a cycle; the first of a run when the writer has taken the last beat of the one before.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    sampling : In(Sampling), where a run goes, bus-aligned; looked at when its first word is taken
    i : In(stream(copy_layout)), the words
    command, data : Out(stream), to a `StreamWriter`
    busy : Out(1), from the first word until the writer has taken the last beat.
    """

    def __init__(self, config):
        self.config = config
        super().__init__(dump_members(config))

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
        last = self.i.payload.last
        slot = Signal(exact_log2(beat_words))
        kept = Signal(data.ArrayLayout(32, beat_words), reset_less=True)
        full = Signal(beat_layout)
        closes = Signal()
        taken = Signal()
        m.d.comb += [
            closes.eq((slot == beat_words - 1) | last),
            self.i.ready.eq((packing | ~self.busy) & room),
            taken.eq(self.i.valid & self.i.ready),
            full.words.eq(kept),
            full.present.eq((Const(2, beat_words + 1) << slot) - 1),
            full.words[slot].eq(self.i.payload.word),
            beats.w_data.eq(full),
            beats.w_en.eq(taken & closes),
        ]
        with m.If(taken):
            m.d.sync += [
                kept[slot].eq(self.i.payload.word),
                slot.eq(Mux(closes, 0, slot + 1)),
                packing.eq(~last),
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
        m.d.comb += self.busy.eq(packing | (gathered != 0) | (asked != 0))
        with m.If(ask):
            m.d.sync += [offered.eq(0), address.eq(next_address)]
        with m.Elif(~self.busy):
            m.d.sync += address.eq(self.sampling[0].logits)

        check_fifo(m, beats, "dump: beats")
        check(m, gathered + asked == beats.level, "dump: every beat is asked for once")
        check(m, ~ask | (amount != 0) & (amount <= gathered), "dump: asks for what is there")
        check(m, ~given | (asked != 0), "dump: gives what it asked for")
        check_stream(m, self.command, "dump: command")
        check_stream(m, self.data, "dump: data")
        return m
