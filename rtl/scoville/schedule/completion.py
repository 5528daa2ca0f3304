"""The completion ring: writes what has happened to where the host looks for it."""

from amaranth.hdl import Array, Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.checks import check, check_stream
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.doorbell import ENTRIES_BITS, Doorbell, ring_members
from scoville.schedule.records import COMPLETION_BYTES

__all__ = ["CYCLE_BITS", "CompletionRing", "news_layout"]

CYCLE_BITS = 48
WORDS = COMPLETION_BYTES // 4


def news_layout():
    """What a completion reports, but for what the ring itself knows: number, pass and cycles."""
    return data.StructLayout({"id": 32, "event": 8, "code": 8, "slot": 16, "token": 32, "position": 32})


class CompletionRing(wiring.Component):
    """Writes a completion, waits for the response, and moves the tail. Model: `rings.CompletionRing`.

    A full ring holds back what is offered, and so whoever offers it. Nothing is dropped.

    Throughput: an entry in 4 cycles, one more for each further beat of it, and the write's latency.

    Parameters
    ----------
    config : ChipConfig
    first : of both counts; tests begin where they wrap

    Members
    -------
    start : In(1), both counts become `first`; only between entries
    base, entries : In, COMPLETE_BASE, a multiple of 32 and of the bus; COMPLETE_ENTRIES, a power of two
    strobe, count : In, what the host writes to COMPLETE_HEAD
    head, tail : Out(32), what the doorbell said last; COMPLETE_TAIL
    overrun : Out(stream(32)), as of `Doorbell`
    i : In(stream(news_layout)), taken once it is in memory
    passes : In(32), cycles : In(48), since the start
    write_command, write_data : Out(stream), to the writer; written : In(1), every write has its response
    posted : Out(1), for one cycle: the interrupt
    """

    def __init__(self, config, *, first=0):
        self.config, self.first = config, first
        super().__init__(ring_members(config, first) | {
            "i": In(stream.Signature(news_layout())),
            "passes": In(32), "cycles": In(CYCLE_BITS),
            "write_command": Out(stream.Signature(write_command_layout(config))),
            "write_data": Out(stream.Signature(write_data_layout(config))),
            "written": In(1),
            "posted": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        bus_bytes = self.config.bus_bytes
        beat_bits = exact_log2(bus_bytes)
        beats = max(1, COMPLETION_BYTES // bus_bytes)
        m.submodules.doorbell = doorbell = Doorbell()
        wiring.connect(m, doorbell.overrun, wiring.flipped(self.overrun))
        head, tail, news = self.head, self.tail, self.i.p
        waiting = Signal(ENTRIES_BITS)  # entries that the host has not taken; it may take one that is in memory already
        sent = Signal()  # one is, perhaps, whose response is still to come
        place = Signal(self.config.addr_bits)
        cycles = Signal(CYCLE_BITS, reset_less=True)
        beat = Signal(range(beats))
        m.d.comb += [
            waiting.eq(tail[:ENTRIES_BITS] + sent - head[:ENTRIES_BITS]),
            doorbell.strobe.eq(self.strobe), doorbell.count.eq(self.count), doorbell.origin.eq(head),
            doorbell.most.eq(waiting),
            place.eq(self.base + Cat(Const(0, exact_log2(COMPLETION_BYTES)),
                                     (tail & (self.entries - 1))[:ENTRIES_BITS])),
            self.write_command.p.address[beat_bits:].eq(place[beat_bits:]),
            self.write_command.p.beats.eq(beats),
        ]
        with m.If(doorbell.rung):
            m.d.sync += head.eq(self.count)

        # In the order of `records.COMPLETION`; the number, by which a host knows a new entry, is in the last beat.
        words = [news.id, Cat(news.event, news.code, news.slot), news.token, news.position, cycles[:32], cycles[32:],
                 self.passes, tail + 1]
        record = Signal(8 * COMPLETION_BYTES)
        m.d.comb += [record.word_select(n, 32).eq(word) for n, word in enumerate(words)]
        payload = self.write_data.p
        if bus_bytes < COMPLETION_BYTES:
            parts = Array(record[8 * bus_bytes * n:8 * bus_bytes * (n + 1)] for n in range(beats))
            m.d.comb += [payload.data.eq(parts[beat]), payload.strobe.eq((1 << bus_bytes) - 1)]
        else:  # an entry is a part of a beat
            which = place[exact_log2(COMPLETION_BYTES):beat_bits]
            ones = Const((1 << COMPLETION_BYTES) - 1, bus_bytes)
            m.d.comb += [payload.data.eq(record.replicate(bus_bytes // COMPLETION_BYTES)),
                         payload.strobe.eq(ones << Cat(Const(0, exact_log2(COMPLETION_BYTES)), which))]
        with m.FSM() as fsm:
            with m.State("idle"):
                m.d.sync += [cycles.eq(self.cycles), beat.eq(0)]
                with m.If(self.i.valid & (waiting != self.entries)):
                    m.next = "command"
            with m.State("command"):
                m.d.comb += self.write_command.valid.eq(1)
                with m.If(self.write_command.ready):
                    m.next = "data"
            with m.State("data"):
                m.d.comb += self.write_data.valid.eq(1)
                with m.If(self.write_data.ready):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(beat == beats - 1):
                        m.next = "written"
            with m.State("written"):
                m.d.comb += sent.eq(1)
                with m.If(self.written):
                    m.d.comb += [self.i.ready.eq(1), self.posted.eq(1)]
                    m.d.sync += tail.eq(tail + 1)
                    m.next = "idle"
        with m.If(self.start):
            m.d.sync += [head.eq(self.first), tail.eq(self.first)]
        assert len(record) == 8 * COMPLETION_BYTES and len(words) == WORDS
        check(m, ~self.start | fsm.ongoing("idle"), "completion ring: it starts between entries")
        check(m, waiting <= self.entries, "completion ring: no more entries than there are")
        with m.If(~fsm.ongoing("idle")):
            check(m, self.i.valid, "completion ring: what is offered stays")
            check(m, waiting - sent < self.entries, "completion ring: no entry is overwritten")
        for name in ("write_command", "write_data"):
            check_stream(m, getattr(self, name), f"completion ring: {name}")
        return m
