"""Lattice ECP5: small memories whose address has constant bits."""

__all__ = ["LUTRAM_MAP"]

# A memory of fewer than 16 words leaves address bits constant. nextpnr routes each of those from the one cell that
# makes a zero, across the die: thousands of long wires. Here such a bit follows bit 0 on both ports, so a word has
# another place, and the same one when it is written and when it is read.
LUTRAM_MAP = """
module TRELLIS_DPR16X4 (input [3:0] DI, WAD, RAD, input WRE, WCK, output [3:0] DO);
    parameter WCKMUX = "WCK";
    parameter WREMUX = "WRE";
    parameter [63:0] INITVAL = 64'h0;
    parameter [3:0] _TECHMAP_CONSTMSK_WAD_ = 0, _TECHMAP_CONSTMSK_RAD_ = 0;
    parameter [3:0] _TECHMAP_CONSTVAL_WAD_ = 0, _TECHMAP_CONSTVAL_RAD_ = 0;
    localparam [3:0] SAME = _TECHMAP_CONSTMSK_WAD_ & _TECHMAP_CONSTMSK_RAD_
        & ~(_TECHMAP_CONSTVAL_WAD_ ^ _TECHMAP_CONSTVAL_RAD_);
    wire _TECHMAP_FAIL_ = SAME == 0 || _TECHMAP_CONSTMSK_WAD_[0] || _TECHMAP_CONSTMSK_RAD_[0] || (|INITVAL) === 1'b1;
    TRELLIS_DPR16X4 #(.WCKMUX(WCKMUX), .WREMUX(WREMUX), .INITVAL(64'h0)) _TECHMAP_REPLACE_ (
        .DI(DI), .WRE(WRE), .WCK(WCK), .DO(DO),
        .WAD({SAME[3] ? WAD[0] : WAD[3], SAME[2] ? WAD[0] : WAD[2], SAME[1] ? WAD[0] : WAD[1], WAD[0]}),
        .RAD({SAME[3] ? RAD[0] : RAD[3], SAME[2] ? RAD[0] : RAD[2], SAME[1] ? RAD[0] : RAD[1], RAD[0]}));
endmodule
"""
