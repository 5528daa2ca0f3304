"""The part's side of the SDRAM controller: initialisation, rows, refresh, READ and WRITE back to back."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from scoville.board.sdram_bursts import RUN_WORDS, beat_layout, run_layout
from scoville.board.sdram_rules import check_commands
from scoville.board.sdram_timing import ALL_BANKS, BANK_BITS, INIT_REFRESHES, Command, sdram_pins
from scoville.checks import check
from scoville.memory import axi

__all__ = ["SdramCommands"]


class SdramCommands(wiring.Component):
    """Carries out runs in order; while one moves its words, the row of the next is made ready.

    ::

        runs ─► next (PRE, ACT in the gaps) ─► current (READ or WRITE every `burst` clocks) ─► pins
                                               words ─► shift register ─► beat, after a fixed time

    A run moves a word a clock and never pauses; the next follows without a gap if its row is open by then, which in
    a stream it is, for consecutive rows are in consecutive banks. Refresh comes between two runs and closes all rows.
    Two refreshes are never further apart than tREFI: the wish for one arises `slack` clocks, the longest that it may
    have to wait, before that.

    Parameters
    ----------
    config : ChipConfig
    timing : SdramTiming
    io_latency : clocks that registers in the board's I/O cells add, out and in together

    Members
    -------
    As in `SdramBursts`, whose other half this is.
    pins : Out(sdram_pins(timing)), all from registers; `dq_i` goes into one
    """

    def __init__(self, config, timing, io_latency=0):
        self.config, self.timing, self.io_latency = config, timing, io_latency
        words = config.bus_bytes // timing.word_bytes
        if timing.column_bits > 10:
            raise ValueError(f"column_bits is {timing.column_bits}; at most 10, the address bits below A10")
        self.burst = min(8, words)
        self.parts = words // self.burst  # bursts a beat
        # Longest way from the wish to the refresh: a run that has just begun, and the rows' last waits.
        t = timing
        self.t_rp, self.t_rcd, self.t_rfc = t.cycles(t.t_rp), t.cycles(t.t_rcd), t.cycles(t.t_rfc)
        self.t_ras = max(t.cycles(t.t_ras), t.cycles(t.t_rc) - self.t_rp)
        self.recovery = self.burst - 1 + t.cycles(t.t_wr, t.wr_clocks)
        self.turnaround = t.cas_latency + self.burst + 1
        self.slack = (self.turnaround + max(RUN_WORDS, words) + self.recovery + self.t_ras + self.t_rcd + self.t_rp + 8)
        if t.refresh_clocks < 2 * self.slack:
            raise ValueError(f"at {t.clock_hz} Hz {t.name} has {t.refresh_clocks} clocks between refreshes; "
                             f"at least {2 * self.slack} are needed")
        super().__init__({
            "runs": In(stream.Signature(run_layout(config, timing))),
            "write_data": In(config.bus_bits),
            "write_strobe": In(config.bus_bytes),
            "write_take": Out(1),
            "written": Out(1),
            "written_beat": Out(beat_layout(config)),
            "read_done": Out(1),
            "read_data": Out(config.bus_bits),
            "read_beat": Out(beat_layout(config)),
            "pins": Out(sdram_pins(timing)),
        })

    def model(self, runs, writes, words):
        """What runs do, in their order: beats read and bursts written.

        Parameters
        ----------
        runs : dicts of `run_layout`'s fields
        writes : iterator of (data, strobe), the beats of the write runs
        words : dict, word by address (row, bank, column from the top); written in place

        Returns
        -------
        list of (data, resp, id, last) of every beat read, data None where nothing was; list of (resp, id) of bursts
        """
        width, mask = self.timing.width, self.timing.word_bytes
        reads, responses = [], []
        for run in runs:
            at = (run["row"] << BANK_BITS | run["bank"]) << self.timing.column_bits | run["column"]
            legal = run["resp"] == axi.Resp.OKAY.value
            for beat in range(run["beats"]):
                last = run["last"] and beat == run["beats"] - 1
                places = range(at, at + self.burst * self.parts)
                at = places.stop
                if not run["write"]:
                    data = sum(words.get(place, 0) << n * width for n, place in enumerate(places)) if legal else None
                    reads.append((data, run["resp"], run["id"], int(last)))
                    continue
                data, strobe = next(writes)
                for n, place in enumerate(places if legal else ()):
                    bits = sum(0xFF << 8 * byte for byte in range(mask) if strobe >> n * mask + byte & 1)
                    words[place] = words.get(place, 0) & ~bits | data >> n * width & bits
                if last:
                    responses.append((run["resp"], run["id"]))
        return reads, responses

    @property
    def mode(self):
        """The mode register: sequential bursts, reads and writes alike."""
        return self.timing.cas_latency << 4 | exact_log2(self.burst)

    def _timer(self, m, name, most):
        """A count-down; commands that load it come later in the text and so win."""
        timer = Signal(range(most + 1), name=name)
        m.d.sync += timer.eq(timer - timer.any())
        return timer

    def _command(self, m, code, address=0, bank=0, when=1):
        pins = self.pins
        m.d.sync += [pins.cs_n.eq(~when), pins.ras_n.eq(code >> 2 & 1), pins.cas_n.eq(code >> 1 & 1),
                     pins.we_n.eq(code & 1), pins.a.eq(address), pins.ba.eq(bank)]

    def elaborate(self, platform):
        m = Module()
        t, pins, layout = self.timing, self.pins, run_layout(self.config, self.timing)
        slot = self._timer(m, "slot", self.burst)
        recovery = self._timer(m, "recovery", self.recovery)
        turn = self._timer(m, "turn", self.turnaround)
        opened = self._timer(m, "opened", self.t_ras)
        pause = self._timer(m, "pause", max(self.t_rfc, self.t_rp, self.t_rcd, t.cycles(t.t_mrd, t.mrd_clocks)))

        # The current run: one access every `burst` clocks.
        current = Signal(layout)
        busy = Signal()
        left = Signal(range(layout["beats"].shape.stop * self.parts))
        fraction = Signal(range(max(2, self.parts)))
        issue, finish, legal = Signal(), Signal(), Signal()
        m.d.comb += [
            issue.eq(busy & (slot == 0) & (~current.write | (turn == 0))),
            finish.eq(issue & (left == 1)),
            legal.eq(current.resp == axi.Resp.OKAY),
            self.write_take.eq(issue & current.write & (fraction == 0)),
            self.written.eq(finish & current.write & current.last),
            self.written_beat.resp.eq(current.resp), self.written_beat.id.eq(current.id),
        ]
        m.d.sync += [pins.cs_n.eq(1), pins.clk_en.eq(1)]

        # The next run, its row, and the time of the last refresh.
        following = Signal(layout)
        waiting = Signal()
        ready = Signal()
        is_open = Signal(1 << BANK_BITS)
        rows = Array(Signal(t.row_bits, name=f"row{bank}") for bank in range(1 << BANK_BITS))
        since = Signal(range(t.refresh_clocks + 1))
        due = Signal()
        move = Signal()
        m.d.comb += [move.eq(waiting & ready & ~busy & ~due), self.runs.ready.eq(~waiting)]
        m.d.sync += [since.eq(since + 1), due.eq(since >= t.refresh_clocks - self.slack)]
        with m.If(self.runs.valid & self.runs.ready):
            m.d.sync += [following.eq(self.runs.payload), waiting.eq(1)]
        with m.If(finish):
            m.d.sync += [busy.eq(0), recovery.eq(self.recovery - 1)]
        with m.If(move):
            m.d.sync += [waiting.eq(0), ready.eq(0), busy.eq(1), current.eq(following),
                         left.eq(following.beats << exact_log2(self.parts))]

        start = Signal(range(max(t.cycles(t.t_init), INIT_REFRESHES) + 1), init=t.cycles(t.t_init))
        with m.FSM():
            with m.State("POWER"):
                m.d.sync += start.eq(start - 1)
                with m.If(start == 0):
                    self._command(m, Command.PRE, ALL_BANKS)
                    m.d.sync += [pause.eq(self.t_rp - 1), start.eq(INIT_REFRESHES)]
                    m.next = "START"
            with m.State("START"), m.If(pause == 0):
                m.d.sync += start.eq(start - 1)
                with m.If(start != 0):
                    self._command(m, Command.REF)
                    m.d.sync += [since.eq(0), due.eq(0), pause.eq(self.t_rfc - 1)]
                with m.Else():
                    self._command(m, Command.MRS, self.mode)
                    m.d.sync += pause.eq(t.cycles(t.t_mrd, t.mrd_clocks) - 1)
                    m.next = "IDLE"
            with m.State("IDLE"):
                with m.If(due):
                    m.next = "DRAIN"
                with m.Elif(waiting & ~ready):
                    with m.If((following.resp != axi.Resp.OKAY)
                              | is_open.bit_select(following.bank, 1) & (rows[following.bank] == following.row)):
                        m.d.sync += ready.eq(1)
                    with m.Elif(is_open.bit_select(following.bank, 1)):
                        m.next = "CLOSE"
                    with m.Else():
                        m.next = "OPEN"
            with m.State("CLOSE"):
                with m.If(due):
                    m.next = "DRAIN"
                with m.Elif(~(busy & (current.bank == following.bank)) & (opened == 0) & (recovery == 0) & ~issue):
                    self._command(m, Command.PRE, 0, following.bank)
                    m.d.sync += [is_open.bit_select(following.bank, 1).eq(0), pause.eq(self.t_rp - 1)]
                    m.next = "OPEN"
            with m.State("OPEN"):
                with m.If(due):
                    m.next = "DRAIN"
                with m.Elif((pause == 0) & ~issue):
                    self._command(m, Command.ACT, following.row, following.bank)
                    m.d.sync += [is_open.bit_select(following.bank, 1).eq(1), rows[following.bank].eq(following.row),
                                 opened.eq(self.t_ras - 1), pause.eq(max(self.t_rcd - 3, 0))]
                    m.next = "OPENING"
            with m.State("OPENING"), m.If(pause == 0):  # the access follows this clock by at least two
                m.d.sync += ready.eq(1)
                m.next = "IDLE"
            with m.State("DRAIN"), m.If(~busy & (opened == 0) & (recovery == 0)):
                self._command(m, Command.PRE, ALL_BANKS)
                m.d.sync += pause.eq(self.t_rp - 1)
                m.next = "REFRESH"
            with m.State("REFRESH"), m.If(pause == 0):
                self._command(m, Command.REF)
                m.d.sync += [is_open.eq(0), ready.eq(0), since.eq(0), due.eq(0), pause.eq(self.t_rfc - 1)]
                m.next = "IDLE"

        with m.If(issue):
            self._command(m, Mux(current.write, Command.WRITE, Command.READ), current.column, current.bank, legal)
            m.d.sync += [slot.eq(self.burst - 1), left.eq(left - 1),
                         fraction.eq(Mux(fraction == self.parts - 1, 0, fraction + 1)),
                         current.column.eq(current.column + self.burst)]
            with m.If(~current.write):
                m.d.sync += turn.eq(self.turnaround - 1)
        self._write_words(m, issue, current, legal)
        self._read_words(m, issue & ~current.write & (fraction == self.parts - 1), current, left == 1)

        check_commands(m, pins, t, self.burst)
        check(m, busy == (left != 0), "SDRAM commands: a run is over with its last access")
        check(m, ~(finish & move), "SDRAM commands: one run at a time")
        with m.If(self.runs.valid):
            check(m, self.runs.p.beats != 0, "SDRAM commands: a run has beats")
        return m

    def _write_words(self, m, issue, current, legal):
        """The beat leaves lowest word first; its first word goes with the command."""
        pins, width, mask = self.pins, self.timing.width, self.timing.word_bytes
        words, strobes = Signal(self.config.bus_bits), Signal(self.config.bus_bytes)
        words_left, strobes_left = Signal.like(words), Signal.like(strobes)
        owed = Signal(range(self.burst))
        begin, writing = Signal(), Signal()
        m.d.comb += [
            begin.eq(issue & current.write & legal), writing.eq(begin | (owed != 0)),
            words.eq(Mux(self.write_take, self.write_data, words_left)),
            strobes.eq(Mux(self.write_take, self.write_strobe, strobes_left)),
        ]
        m.d.sync += [
            owed.eq(Mux(begin, self.burst - 1, owed - owed.any())),
            words_left.eq(words >> width), strobes_left.eq(strobes >> mask),
            pins.dq_o.eq(words[:width]), pins.dq_oe.eq(writing), pins.dqm.eq(Mux(writing, ~strobes[:mask], 0)),
        ]

    def _read_words(self, m, done, current, last):
        """A shift register takes every word; a delay as long as a read's tells when it holds a beat."""
        t, width = self.timing, self.timing.width
        entry = data.StructLayout({"valid": 1, "beat": beat_layout(self.config)})
        word = Signal(width)
        beat = Signal(self.config.bus_bits)
        line = [Signal(entry, name=f"flight{n}") for n in range(2 + t.cas_latency + self.burst + self.io_latency)]
        m.d.sync += [word.eq(self.pins.dq_i), beat.eq((beat >> width) | (word << (self.config.bus_bits - width)))]
        m.d.sync += [line[0].valid.eq(done), line[0].beat.id.eq(current.id), line[0].beat.resp.eq(current.resp),
                     line[0].beat.last.eq(current.last & last)]
        m.d.sync += [after.eq(before) for before, after in zip(line, line[1:], strict=False)]
        m.d.comb += [self.read_done.eq(line[-1].valid), self.read_beat.eq(line[-1].beat), self.read_data.eq(beat)]
