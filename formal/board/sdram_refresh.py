"""The SDRAM's refresh is never late, for whatever traffic: `SdramCommands` and the pins' own account."""

from amaranth.hdl import Assert, Assume, Cover, Mux, Signal
from amaranth.lib import data
from scoville.board.sdram_bursts import run_beats, run_layout
from scoville.board.sdram_commands import SdramCommands
from scoville.board.sdram_timing import INIT_REFRESHES, part
from scoville.config import get_config

from formal.around import Around
from formal.proof import Proof

__all__ = ["PROOFS"]

CASES = {  # as the boards have them, and others
    "ulx3s": ("ulx3s", "as4c16m16sa_7", 75_000_000, 0),
    "nano": ("nano", "as4c16m16sa_7", 75_000_000, 2),
    "tangnano20k": ("tangnano20k", "gw2ar18", 66_000_000, 1),
    "slow": ("kria", "as4c16m16sa_7", 30_000_000, 0),
}
POWER, START, IDLE, DRAIN, CLOSE, OPEN, OPENING, REFRESH = range(8)  # in the order in which `SdramCommands` names them


class NeverLate(Around):
    """From MRS on, two REF on the pins are never further apart than tREFI; the other assertions make that inductive.

    They say how long the next REF can still take, and that this and the time since the last are within tREFI. Of the
    traffic one thing is assumed, which `SdramBursts` sees to: a run has 1 to `run_beats` beats.
    """

    def elaborate(self, platform):
        m, seen = self.begin()
        c, t, pins, run = self.unit, self.unit.timing, self.unit.pins, self.unit.runs
        beats = run_beats(c.config, t)
        pause_most = max(c.t_rfc, c.t_rp, c.t_rcd, t.cycles(t.t_mrd, t.mrd_clocks))
        due, busy, since, pause, opened = (seen[name] for name in ("due", "busy", "since", "pause", "opened"))
        state, left, slot, turn = (seen[name] for name in ("fsm_state", "left", "slot", "turn"))
        current, following = (data.View(run_layout(c.config, t), seen[name]) for name in ("current", "following"))
        m.d.comb += Assume(~run.valid | (run.p.beats != 0) & (run.p.beats <= beats))

        # The pins alone.
        command = ~pins.cs_n & ~pins.ras_n & ~pins.cas_n
        ref, mrs = command & pins.we_n, command & ~pins.we_n
        before, gap, started = Signal(16), Signal(16), Signal()
        m.d.comb += gap.eq(Mux(ref, 0, before))
        m.d.sync += before.eq(gap + 1)
        with m.If(mrs):
            m.d.sync += started.eq(1)
        m.d.comb += Assert(~started | (gap <= t.refresh_clocks))

        # Clocks until the REF, once it is due.
        words = Mux(turn * current.write > slot, turn, slot) + (left - 1) * c.burst + 1
        drained = Mux(busy, words + c.recovery - 1, seen["recovery"])
        way = Mux(state == DRAIN, 0, Mux(state == OPENING, pause + 2, 1))
        longest = Mux(drained > opened, drained, opened)
        rest = Mux(state == REFRESH, pause, Mux(longest > way, longest, way) + c.t_rp)
        running, first = state >= IDLE, (state == START) & (seen["start"] == INIT_REFRESHES)
        m.d.comb += [Assert(holds) for holds in (
            ~running | ~due | (since + rest < t.refresh_clocks),
            ~running | (due == (since > t.refresh_clocks - c.slack)),
            ((state != DRAIN) & (state != REFRESH)) | due,
            (state != REFRESH) | ~busy,
            ~(running | (state == START) & ~first) | (gap == since),
            (state != START) | first | (~due & (since + pause == c.t_rfc - 1)),
            running | ~(started | busy | seen["ready"]),
            ~mrs | running,
            ~(started | (state == START)) | (seen["start"] <= INIT_REFRESHES) | running,
            # What the counters can be.
            busy == (left != 0),
            left <= beats * c.parts,
            slot < c.burst, turn < c.turnaround, opened < c.t_ras, seen["recovery"] < c.recovery,
            pause < pause_most,
            (state != OPENING) | (pause <= max(c.t_rcd - 3, 0)),
            (state != REFRESH) | (pause < c.t_rp),
            ~seen["waiting"] | (following.beats != 0) & (following.beats <= beats),
        )]
        m.d.comb += Cover(started & busy & current.write)
        return m


def commands(case, *, slack=0, **changes):
    config, name, clock_hz, io_latency = CASES[case]
    made = SdramCommands(get_config(config), part(name, clock_hz, **changes), io_latency)
    made.slack -= slack
    return NeverLate(made)


PROOFS = [
    Proof(name=f"board.sdram_refresh.{case}", says="refresh is never late, whatever the traffic", depth=1, reach=110,
          claim=lambda case=case: commands(case), covered=lambda case=case: commands(case, t_init=100),
          fault="40 clocks less are kept for what is under way", fails=None, alone=True, quick=case == "slow",
          broken=lambda case=case: commands(case, slack=40))
    for case in CASES
]
