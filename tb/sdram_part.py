"""An SDR SDRAM that asserts the rules of its data sheet: JEDEC's commands and every time of `SdramTiming`."""

from collections import defaultdict

__all__ = ["SdramPart"]

COMMANDS = {0b111: "NOP", 0b011: "ACT", 0b101: "READ", 0b100: "WRITE", 0b110: "STOP", 0b010: "PRE", 0b001: "REF",
            0b000: "MRS"}
LONG_AGO = -(1 << 40)
REFRESHES = 8  # of the start, as AS4C16M16SA asks (rev. 3.0, note 11)


class SdramPart:
    """`edge` once a clock, with the pins as they are just before the rising edge.

    Nothing is forgiven: AssertionError names the first rule broken. Auto precharge, burst stop and bursts that cut
    others short are legal on a part, but no use to the controller, and refused here.

    Parameters
    ----------
    timing : SdramTiming

    Members
    -------
    memory : word by address (row, bank, column from the top)
    refreshes, words, widest_gap : refreshes seen, words moved, most clocks between two refreshes
    """

    def __init__(self, timing):
        self.timing, self.now = timing, 0
        self.memory = defaultdict(int)
        self.refreshes = self.words = self.widest_gap = 0
        self.row = [None] * 4
        self.activated, self.precharged, self.accessed = [LONG_AGO] * 4, [LONG_AGO] * 4, [LONG_AGO] * 4
        self.refreshed = self.mode_set = self.read_until = self.last_word = LONG_AGO
        self.started = self.all_precharged = False
        self.wrote = [False] * 4  # what the last access of a bank was
        self.burst = 0
        self.coming = {}  # words by the clock at whose end the controller takes them
        self.writing = []  # addresses of the words still to come
        self.mask = 0  # DQM of the edge before

    def _after(self, what, then, wait, least=1):
        clocks = self.timing.cycles(wait, least)
        assert self.now - then >= clocks, f"clock {self.now}: {what}: {self.now - then} clocks, {clocks} are needed"

    def _rule(self, holds, what):
        assert holds, f"clock {self.now}: {what}"

    def edge(self, *, clk_en, cs_n, command, ba, a, dqm, dq, dq_oe):
        """`command` is RAS#, CAS#, WE# as bits 2, 1, 0. Returns the word driven until the next edge, or None."""
        name = "NOP" if cs_n else COMMANDS[command]
        t = self.timing
        if self.now and name != "NOP" or self.started:
            self._rule(clk_en, "CKE is low")
        if name != "NOP":
            self._rule(self.now >= t.cycles(t.t_init), f"{name} before the end of the power-up time")
            self._rule(not self.writing or name in ("ACT", "PRE"), f"{name} cuts a write short")
            self._after(f"{name} after MRS", self.mode_set, t.t_mrd, t.mrd_clocks)
            getattr(self, f"_{name.lower()}")(ba, a)
        self._write_word(dqm, dq, dq_oe)
        if self.started:
            self.widest_gap = max(self.widest_gap, self.now - self.refreshed)
            self._rule(self.now - self.refreshed <= t.refresh_clocks, "refresh is late")
            for row, since in zip(self.row, self.activated, strict=True):
                self._rule(row is None or self.now - since <= t.open_clocks, "a row is open for too long")
        word = self.coming.pop(self.now + 1, None)
        if word is not None:
            self.words += 1
            self._rule(not self.mask, "DQM, two clocks before, hides a word that is read")
        self.mask = dqm
        self.now += 1
        return word

    def _write_word(self, dqm, dq, dq_oe):
        self._rule(bool(dq_oe) == bool(self.writing), "the data pins are driven if and only if a word is written")
        if not self.writing:
            return
        address, bank = self.writing.pop(0)
        self.accessed[bank] = self.now
        self.words += 1
        mask = sum(0xFF << 8 * n for n in range(self.timing.word_bytes) if not dqm >> n & 1)
        self.memory[address] = self.memory[address] & ~mask | dq & mask

    def _stop(self, ba, a):
        self._rule(False, "burst stop")

    def _mrs(self, ba, a):
        self._rule(self.row == [None] * 4, "MRS with an open row")
        self._rule(self.all_precharged and self.refreshes >= REFRESHES, f"MRS after {self.refreshes} refreshes")
        self._after("MRS after REF", self.refreshed, self.timing.t_rfc)
        self._rule(ba == 0 and a >> 7 == 0 and a >> 3 & 1 == 0, f"mode {a:#x}: sequential bursts are wanted")
        latency = self.timing.cas_latency
        self._rule(a >> 4 & 7 == latency, f"mode {a:#x}: CAS latency {latency} is wanted")
        self.burst = 1 << (a & 7)
        self._rule(self.burst <= 8, f"mode {a:#x}: burst length")
        self.mode_set, self.started = self.now, True

    def _ref(self, ba, a):
        self._rule(self.all_precharged and self.row == [None] * 4, "REF with an open row")
        self._after("REF after PRE", max(self.precharged), self.timing.t_rp)
        self._after("REF after REF", self.refreshed, self.timing.t_rfc)
        self.refreshed = self.now
        self.refreshes += 1

    def _act(self, ba, a):
        t = self.timing
        self._rule(self.started, "ACT before MRS")
        self._rule(self.row[ba] is None, f"ACT of bank {ba}, which is open")
        self._after("tRC", self.activated[ba], t.t_rc)
        self._after("tRRD", max(self.activated), t.t_rrd)
        self._after("tRP", self.precharged[ba], t.t_rp)
        self._after("tRFC", self.refreshed, t.t_rfc)
        self.row[ba], self.activated[ba] = a, self.now

    def _pre(self, ba, a):
        t = self.timing
        self.all_precharged |= bool(a >> 10 & 1)
        for bank in range(4) if a >> 10 & 1 else (ba,):
            if self.row[bank] is not None:
                self._rule(not any(b == bank for _, b in self.writing), "PRE cuts a write short")
                self._after("tRAS", self.activated[bank], t.t_ras)
                self._after("tWR, or the end of a read", self.accessed[bank], t.t_wr if self.wrote[bank] else 0,
                            t.wr_clocks if self.wrote[bank] else 1)
            self.row[bank], self.precharged[bank] = None, self.now

    def _access(self, ba, a, write):
        self._rule(self.row[ba] is not None, f"access of bank {ba}, which is closed")
        self._rule(a >> 10 & 1 == 0, "auto precharge")
        self._after("tRCD", self.activated[ba], self.timing.t_rcd)
        self._rule(self.now >= self.read_until, "a read is cut short")
        base = (self.row[ba] << 2 | ba) << self.timing.column_bits
        column = a & (1 << self.timing.column_bits) - 1
        self.wrote[ba] = write
        start = column & -self.burst
        return [base | start | (column + n) % self.burst for n in range(self.burst)]

    def _read(self, ba, a):
        addresses = self._access(ba, a, False)
        for n, address in enumerate(addresses):
            self.coming[self.now + self.timing.cas_latency + n] = self.memory[address]
        self.read_until = self.now + self.burst
        self.last_word = self.now + self.timing.cas_latency + self.burst - 1
        self.accessed[ba] = self.now + self.burst - 1

    def _write(self, ba, a):
        addresses = self._access(ba, a, True)
        self._rule(self.now > self.last_word + 1, "no clock between a read's words and a write's")
        self.writing = [(address, ba) for address in addresses]
