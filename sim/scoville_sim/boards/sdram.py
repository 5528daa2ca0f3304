"""What the C++ model of an SDRAM part has to know of it."""

__all__ = ["sdram_defines"]


def sdram_defines(timing):
    """Macros of board.cpp and sdram_pins.h for a `scoville.board.sdram_timing.SdramTiming`."""
    values = {"width": timing.width, "row_bits": timing.row_bits, "column_bits": timing.column_bits,
              "cas_latency": timing.cas_latency, "refresh": timing.refresh_clocks, "open": timing.open_clocks}
    values |= {name: timing.cycles(getattr(timing, f"t_{name}")) for name in ("rp", "rcd", "ras", "rc", "rrd", "rfc",
                                                                             "init")}
    values |= {name: timing.cycles(getattr(timing, f"t_{name}"), getattr(timing, f"{name}_clocks"))
               for name in ("wr", "mrd")}
    return ("SCOVILLE_SDRAM", *(f"SDRAM_{name.upper()}={value}" for name, value in values.items()))
