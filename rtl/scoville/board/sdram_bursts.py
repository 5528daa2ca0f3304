"""The AXI4 side of the SDRAM controller: bursts in, short runs of beats inside one row out."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.board.sdram_timing import BANK_BITS
from scoville.checks import check, check_channel, check_fifo, check_stream
from scoville.memory import axi

__all__ = ["RUN_WORDS", "SdramBursts", "beat_layout", "run_beats", "run_layout"]

RUN_WORDS = 64  # so long a refresh may have to wait for
RESPONSES = 4  # write bursts without a response taken
TURNS = 8  # runs of one direction while the other waits


def run_beats(config, timing):
    """Longest run, beats; a power of two, so that no run leaves a row."""
    return max(1, RUN_WORDS * timing.word_bytes // config.bus_bytes)


def run_layout(config, timing):
    """A run: `beats` from a word of a row. With a `resp` other than OKAY nothing is read or written."""
    return data.StructLayout({
        "write": 1, "resp": 2, "id": axi.ID_BITS, "last": 1, "beats": range(run_beats(config, timing) + 1),
        "column": timing.column_bits, "bank": BANK_BITS, "row": timing.row_bits,
    })


def beat_layout(config):
    """What the response of a beat carries beside its data."""
    return data.StructLayout({"resp": 2, "id": axi.ID_BITS, "last": 1})


class SdramBursts(wiring.Component):
    """Splits bursts at multiples of `run_beats`, and offers a run once nothing about it can have to wait any more.

    ::

        AR ─► split ─► room for its beats? ─┐
        AW ─► split ─► all its beats here? ─┴─► turns ─► runs
        W  ─► FIFO ─► write_beat           R ◄─ FIFO ◄─ read_beat           B ◄─ FIFO ◄─ written

    So a manager that is slow with its data, or in taking it, holds up nobody else. One direction keeps its turn while
    it has runs, for at most `TURNS` runs if the other waits. Runs of one direction stay in order.

    Throughput: a beat a cycle each way; a burst every second cycle. Latency: three cycles from an address to its run.

    Parameters
    ----------
    config : ChipConfig
    timing : SdramTiming

    Members
    -------
    axi : In(axi.signature(config))
    runs : Out(stream, run_layout)
    write_beat : Out, data and strobe of the oldest beat written; `write_take` : In(1), it has been used
    written : In(1), the last run of the write burst `written_beat` has been carried out
    read_done : In(1), a beat has been read: `read_data` and `read_beat`
    """

    def __init__(self, config, timing):
        self.config, self.timing = config, timing
        self.beats = run_beats(config, timing)
        super().__init__({
            "axi": In(axi.signature(config)),
            "runs": Out(stream.Signature(run_layout(config, timing))),
            "write_data": Out(config.bus_bits),
            "write_strobe": Out(config.bus_bytes),
            "write_take": In(1),
            "written": In(1),
            "written_beat": In(beat_layout(config)),
            "read_done": In(1),
            "read_data": In(config.bus_bits),
            "read_beat": In(beat_layout(config)),
        })

    def model(self, channel, bursts):
        """Runs of the bursts of ``"ar"`` or ``"aw"``, in their order.

        Bursts are dicts of the channel's fields, runs of `run_layout`'s.
        """
        per_beat = self.config.bus_bytes // self.timing.word_bytes
        columns = 1 << self.timing.column_bits
        for burst in bursts:
            whole = 1 << burst["size"] == self.config.bus_bytes
            legal = whole and (burst["burst"] == axi.Burst.INCR.value or burst["len"] == 0)
            resp = axi.Resp.DECERR if burst["addr"] >= self.timing.size_bytes else (
                axi.Resp.OKAY if legal else axi.Resp.SLVERR)
            at, left = burst["addr"] % self.timing.size_bytes // self.config.bus_bytes, burst["len"] + 1
            while left:
                beats = min(left, self.beats - at % self.beats)
                row, column = divmod(at * per_beat, columns)
                left, at = left - beats, at + beats
                yield {"write": int(channel == "aw"), "resp": resp.value, "id": burst["id"], "last": int(left == 0),
                       "beats": beats, "column": column, "bank": row % (1 << BANK_BITS), "row": row >> BANK_BITS}

    def _split(self, m, channel, hold, go):
        """Runs of the bursts of an address channel; the one that waits leaves with `go`. Returns (run, valid)."""
        config, bus = self.config, self.axi
        ports = {name: getattr(bus, channel + name)
                 for name in ("id", "addr", "len", "size", "burst", "valid", "ready")}
        shift = exact_log2(config.bus_bytes)
        size_bits = exact_log2(self.timing.size_bytes)
        at = Signal(size_bits - shift, name=f"{channel}_at")
        left = Signal(9, name=f"{channel}_left")
        room = Signal(range(self.beats + 1), name=f"{channel}_room")
        resp = Signal(2, name=f"{channel}_resp")
        identity = Signal(axi.ID_BITS, name=f"{channel}_identity")
        run = Signal(run_layout(config, self.timing), name=f"{channel}_run")
        valid = Signal(name=f"{channel}_valid")
        free, last = Signal(name=f"{channel}_free"), Signal(name=f"{channel}_last")
        words = at << exact_log2(config.bus_bytes // self.timing.word_bytes)
        columns, banks = self.timing.column_bits, self.timing.column_bits + BANK_BITS
        m.d.comb += [
            room.eq(self.beats - at[:exact_log2(self.beats)]),
            last.eq(left <= room),
            free.eq(~valid | go),
            ports["ready"].eq((left == 0) & ~hold),
        ]
        with m.If(free):
            m.d.sync += [
                valid.eq(left != 0), run.write.eq(channel == "aw"), run.resp.eq(resp), run.id.eq(identity),
                run.last.eq(last), run.beats.eq(Mux(last, left, room)), run.column.eq(words[:columns]),
                run.bank.eq(words[columns:banks]), run.row.eq(words[banks:]),
                at.eq(at + room), left.eq(Mux(last, 0, left - room)),
            ]
        with m.If(ports["valid"] & ports["ready"]):
            legal = (ports["size"] == shift) & ((ports["burst"] == axi.Burst.INCR) | (ports["len"] == 0))
            m.d.sync += [
                at.eq(ports["addr"] >> shift), left.eq(ports["len"] + 1), identity.eq(ports["id"]),
                resp.eq(Mux(ports["addr"][size_bits:].any(), axi.Resp.DECERR,
                            Mux(legal, axi.Resp.OKAY, axi.Resp.SLVERR))),
            ]
            page = exact_log2(axi.BOUNDARY)
            check(m, ~legal | ((ports["addr"][shift:page] + ports["len"]) >> (page - shift) == 0),
                  f"SDRAM bursts: {channel} stays within {axi.BOUNDARY} bytes, so within the memory")
        return run, valid

    def elaborate(self, platform):
        m = Module()
        config, bus = self.config, self.axi
        depth = max(4 * self.beats, 16)
        beat = beat_layout(config)
        m.submodules.reads = reads = fifo.SyncFIFOBuffered(width=config.bus_bits + beat.size, depth=depth)
        m.submodules.writes = writes = fifo.SyncFIFOBuffered(width=config.bus_bits + config.bus_bytes,
                                                             depth=max(2 * self.beats, 16))
        m.submodules.responses = responses = fifo.SyncFIFOBuffered(width=beat.size, depth=RESPONSES)

        # A read run goes when the FIFO has room for the longest one, a write run when all of its beats have come.
        room = Signal(range(depth + 1), init=depth)
        here = Signal(range(writes.depth + 1))
        owed = Signal(range(RESPONSES + 1))
        go_read, go_write = Signal(), Signal()
        read, read_valid = self._split(m, "ar", 0, go_read)
        write, write_valid = self._split(m, "aw", owed == RESPONSES, go_write)
        can_read, can_write = Signal(), Signal()
        m.d.comb += [can_read.eq(read_valid & (room >= self.beats)), can_write.eq(write_valid & (here >= write.beats))]
        r_taken, w_given = bus.rvalid & bus.rready, bus.wvalid & bus.wready
        m.d.sync += [
            room.eq(room - Mux(go_read, read.beats, 0) + r_taken),
            here.eq(here - Mux(go_write, write.beats, 0) + w_given),
            owed.eq(owed + (bus.awvalid & bus.awready) - (bus.bvalid & bus.bready)),
        ]

        writing = Signal()
        turns = Signal(range(TURNS + 1))
        change, free = Signal(), Signal()
        m.d.comb += [
            free.eq(~self.runs.valid | self.runs.ready),
            change.eq(Mux(writing, can_read & (~can_write | (turns == TURNS)),
                          can_write & (~can_read | (turns == TURNS)))),
            go_write.eq(free & can_write & (writing ^ change)),
            go_read.eq(free & can_read & ~(writing ^ change)),
        ]
        with m.If(free):
            m.d.sync += [self.runs.valid.eq(go_read | go_write), writing.eq(writing ^ change)]
            m.d.sync += self.runs.payload.eq(Mux(writing ^ change, write, read))
            with m.If(change):
                m.d.sync += turns.eq(1)
            with m.Elif((go_read | go_write) & (turns != TURNS)):
                m.d.sync += turns.eq(turns + 1)

        m.d.comb += [
            writes.w_en.eq(w_given), bus.wready.eq(writes.w_rdy), writes.w_data.eq(Cat(bus.wdata, bus.wstrb)),
            Cat(self.write_data, self.write_strobe).eq(writes.r_data), writes.r_en.eq(self.write_take),
            reads.w_en.eq(self.read_done),
            reads.w_data.eq(Cat(self.read_beat, Mux(self.read_beat.resp == axi.Resp.OKAY, self.read_data, 0))),
            bus.rvalid.eq(reads.r_rdy), reads.r_en.eq(r_taken),
            Cat(bus.rresp, bus.rid, bus.rlast, bus.rdata).eq(reads.r_data),
            responses.w_en.eq(self.written), responses.w_data.eq(self.written_beat),
            bus.bvalid.eq(responses.r_rdy), responses.r_en.eq(bus.bvalid & bus.bready),
            Cat(bus.bresp, bus.bid).eq(responses.r_data),
        ]

        for name, queue in (("reads", reads), ("writes", writes), ("responses", responses)):
            check_fifo(m, queue, f"SDRAM bursts: {name}")
        check(m, room + reads.level <= depth, "SDRAM bursts: no more room than there is")
        check(m, here <= writes.level, "SDRAM bursts: the beats that are counted are here")
        check(m, owed >= responses.level, "SDRAM bursts: a response is owed until it is taken")
        check_stream(m, self.runs, "SDRAM bursts: runs")
        run, words = self.runs.p, config.bus_bytes // self.timing.word_bytes
        with m.If(self.runs.valid):
            check(m, (run.beats != 0) & (run.beats <= self.beats), "SDRAM bursts: a run has as many beats as it may")
            check(m, run.column + run.beats * words <= 1 << self.timing.column_bits, "SDRAM bursts: a run is in a row")
        for channel in ("r", "b"):
            check_channel(m, bus, channel, "SDRAM bursts:")
        return m
