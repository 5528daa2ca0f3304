"""The part's rules as assertions at its pins: `tb/sdram_part.py` in hardware's words."""

from amaranth.hdl import Cat, Mux, Signal

from scoville.board.sdram_timing import ALL_BANKS, BANK_BITS, Command
from scoville.checks import check

__all__ = ["check_commands"]


def check_commands(m, pins, timing, burst):
    """No command comes too soon after another, and none to a row in the wrong state.

    Parameters
    ----------
    m : Module
    pins : sdram_pins(timing), registers
    timing : SdramTiming
    burst : words of an access
    """
    t = timing
    code = Cat(pins.we_n, pins.cas_n, pins.ras_n)
    act, read, write, pre, ref, mrs = (
        ~pins.cs_n & (code == command) for command in
        (Command.ACT, Command.READ, Command.WRITE, Command.PRE, Command.REF, Command.MRS))
    access = read | write

    def age(event, name, clocks):
        """Whether `clocks` have passed since the event, for each of several of them."""
        since = Signal(range(max(clocks) + 1), init=max(clocks), name=f"since_{name}")
        m.d.sync += since.eq(Mux(event, 1, since + (since != max(clocks))))
        return [since >= least for least in clocks]

    (after_mrs,) = age(mrs, "mrs", [t.cycles(t.t_mrd, t.mrd_clocks)])
    (after_ref,) = age(ref, "ref", [t.cycles(t.t_rfc)])
    (after_act,) = age(act, "act", [t.cycles(t.t_rrd)])
    after_read, after_words = age(read, "read", [burst, t.cas_latency + burst + 1])
    (after_write,) = age(write, "write", [burst])
    check(m, after_mrs | pins.cs_n, "SDRAM: tMRD")
    check(m, after_ref | ~(act | ref | mrs), "SDRAM: tRFC")
    check(m, after_act | ~act, "SDRAM: tRRD")
    check(m, after_read & after_write | ~access, "SDRAM: an access is not cut short by another")
    check(m, after_words | ~write, "SDRAM: a clock between a read's words and a write's")
    check(m, ~(access & pins.a[10]), "SDRAM: no auto precharge")

    is_open = Signal(1 << BANK_BITS)
    check(m, ~(ref | mrs) | (is_open == 0), "SDRAM: REF and MRS with all rows closed")
    for bank in range(1 << BANK_BITS):
        here, row = pins.ba == bank, is_open[bank]
        closes = pre & (here | (pins.a & ALL_BANKS).any())
        with m.If(act & here):
            m.d.sync += row.eq(1)
        with m.If(closes):
            m.d.sync += row.eq(0)
        t_rcd, t_ras, t_rc = age(act & here, f"act{bank}", [t.cycles(t.t_rcd), t.cycles(t.t_ras), t.cycles(t.t_rc)])
        (t_rp,) = age(closes, f"pre{bank}", [t.cycles(t.t_rp)])
        (read_over,) = age(read & here, f"read{bank}", [burst])
        (recovered,) = age(write & here, f"write{bank}", [burst - 1 + t.cycles(t.t_wr, t.wr_clocks)])
        check(m, ~(act & here) | ~row & t_rc & t_rp, f"SDRAM: ACT of bank {bank}: closed, tRC, tRP")
        check(m, ~(access & here) | row & t_rcd, f"SDRAM: access of bank {bank}: open, tRCD")
        check(m, ~(closes & row) | t_ras & read_over & recovered, f"SDRAM: PRE of bank {bank}: tRAS, tWR, last word")
        check(m, ~ref | t_rp, "SDRAM: REF: tRP")
