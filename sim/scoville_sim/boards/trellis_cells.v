// Own models of the cells of a netlist that nextpnr-ecp5 wrote: what is used here, without delays. An input that
// nothing drives is 1 in a LUT.
module TRELLIS_COMB (input A, B, C, D, M, F1, FCI, FXA, FXB, DI0, DI1, WD, WAD0, WAD1, WAD2, WAD3, WRE, WCK,
                     output F, FCO, OFX);
  parameter MODE = "LOGIC", INITVAL = 16'h0000, CCU2_INJECT1 = "NO", WREMUX = "WRE", WCKMUX = "WCK";
  wire a = A !== 1'b0, b = B !== 1'b0, c = C !== 1'b0, d = D !== 1'b0;
  reg [15:0] memory = INITVAL;
  wire lut = MODE == "DPRAM" ? memory[{a, c, b, d}] : memory[{d, c, b, a}];
  wire lut2 = memory[{b, a}];
  wire inject = CCU2_INJECT1 == "YES";
  assign F = MODE == "CCU2" ? lut ^ (FCI & ~inject) : lut;
  assign FCO = lut ? FCI : lut2 & ~inject;
  assign OFX = FXA === 1'bz ? (M ? F1 : F) : (M ? FXB : FXA);
  always @(posedge WCK) if (MODE == "DPRAM" && WRE) memory[{WAD3, WAD2, WAD1, WAD0}] <= WD;
endmodule

module TRELLIS_RAMW (input A0, B0, C0, D0, A1, B1, C1, D1, CLK,
                     output WADO0, WADO1, WADO2, WADO3, WDO0, WDO1, WDO2, WDO3);
  assign {WADO3, WADO2, WADO1, WADO0} = {A0, C0, B0, D0};
  assign {WDO3, WDO2, WDO1, WDO0} = {B1, D1, A1, C1};
endmodule

module TRELLIS_FF (input CLK, LSR, CE, DI, M, output reg Q);
  parameter SD = "1", REGSET = "RESET", LSRMUX = "LSR", GSR = "DISABLED", CLKMUX = "CLK", CEMUX = "CE";
  parameter SRMODE = "LSR_OVER_CE";
  wire clear = LSR === 1'bz ? 1'b0 : LSRMUX == "INV" ? ~LSR : LSR;
  wire enable = CEMUX == "1" ? 1'b1 : CEMUX == "INV" ? ~CE : CE;
  wire next = SD == "1" ? DI : M;
  initial Q = REGSET == "SET";
  always @(posedge CLK) if (clear) Q <= REGSET == "SET"; else if (enable) Q <= next;
endmodule

module TRELLIS_IO (input I, T, IOLDO, IOLTO, output O, inout B);
  parameter DIR = "INPUT", DATAMUX_MDDR = "PADDO", DATAMUX_ODDR = "PADDO";
  assign O = B;
  generate if (DIR == "OUTPUT") assign B = I; endgenerate
endmodule

module DCCA (input CLKI, CE, output CLKO);
  assign CLKO = CLKI;
endmodule

// Without registers, as Yosys infers it, with the output's, or with all. An input that nothing drives is 1, or 0 where its
// parameter says so.
module MULT18X18D (input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
                   input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
                   input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
                   input SRIA17, SRIA16, SRIA15, SRIA14, SRIA13, SRIA12, SRIA11, SRIA10, SRIA9, SRIA8, SRIA7, SRIA6, SRIA5, SRIA4, SRIA3, SRIA2, SRIA1, SRIA0,
                   input SRIB17, SRIB16, SRIB15, SRIB14, SRIB13, SRIB12, SRIB11, SRIB10, SRIB9, SRIB8, SRIB7, SRIB6, SRIB5, SRIB4, SRIB3, SRIB2, SRIB1, SRIB0,
                   input SOURCEA, SOURCEB, SIGNEDA, SIGNEDB, CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0,
                   output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0);
  parameter A0MUX = "A0", A1MUX = "A1", A2MUX = "A2", A3MUX = "A3", A4MUX = "A4", A5MUX = "A5", A6MUX = "A6", A7MUX = "A7", A8MUX = "A8", A9MUX = "A9", A10MUX = "A10", A11MUX = "A11", A12MUX = "A12", A13MUX = "A13", A14MUX = "A14", A15MUX = "A15", A16MUX = "A16", A17MUX = "A17";
  parameter B0MUX = "B0", B1MUX = "B1", B2MUX = "B2", B3MUX = "B3", B4MUX = "B4", B5MUX = "B5", B6MUX = "B6", B7MUX = "B7", B8MUX = "B8", B9MUX = "B9", B10MUX = "B10", B11MUX = "B11", B12MUX = "B12", B13MUX = "B13", B14MUX = "B14", B15MUX = "B15", B16MUX = "B16", B17MUX = "B17";
  parameter C0MUX = "C0", C1MUX = "C1", C2MUX = "C2", C3MUX = "C3", C4MUX = "C4", C5MUX = "C5", C6MUX = "C6", C7MUX = "C7", C8MUX = "C8", C9MUX = "C9", C10MUX = "C10", C11MUX = "C11", C12MUX = "C12", C13MUX = "C13", C14MUX = "C14", C15MUX = "C15", C16MUX = "C16", C17MUX = "C17";
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
  parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
  parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0";
  parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
  wire [17:0] a = {A17MUX != "0" && A17 !== 1'b0, A16MUX != "0" && A16 !== 1'b0, A15MUX != "0" && A15 !== 1'b0, A14MUX != "0" && A14 !== 1'b0, A13MUX != "0" && A13 !== 1'b0, A12MUX != "0" && A12 !== 1'b0, A11MUX != "0" && A11 !== 1'b0, A10MUX != "0" && A10 !== 1'b0, A9MUX != "0" && A9 !== 1'b0, A8MUX != "0" && A8 !== 1'b0, A7MUX != "0" && A7 !== 1'b0, A6MUX != "0" && A6 !== 1'b0, A5MUX != "0" && A5 !== 1'b0, A4MUX != "0" && A4 !== 1'b0, A3MUX != "0" && A3 !== 1'b0, A2MUX != "0" && A2 !== 1'b0, A1MUX != "0" && A1 !== 1'b0, A0MUX != "0" && A0 !== 1'b0};
  wire [17:0] b = {B17MUX != "0" && B17 !== 1'b0, B16MUX != "0" && B16 !== 1'b0, B15MUX != "0" && B15 !== 1'b0, B14MUX != "0" && B14 !== 1'b0, B13MUX != "0" && B13 !== 1'b0, B12MUX != "0" && B12 !== 1'b0, B11MUX != "0" && B11 !== 1'b0, B10MUX != "0" && B10 !== 1'b0, B9MUX != "0" && B9 !== 1'b0, B8MUX != "0" && B8 !== 1'b0, B7MUX != "0" && B7 !== 1'b0, B6MUX != "0" && B6 !== 1'b0, B5MUX != "0" && B5 !== 1'b0, B4MUX != "0" && B4 !== 1'b0, B3MUX != "0" && B3 !== 1'b0, B2MUX != "0" && B2 !== 1'b0, B1MUX != "0" && B1 !== 1'b0, B0MUX != "0" && B0 !== 1'b0};
  wire signed [18:0] left = {SIGNEDA & a[17], a}, right = {SIGNEDB & b[17], b};
  wire signed [37:0] product = left * right;
  reg [35:0] middle, register;
  reg signed [18:0] held_left, held_right;
  wire signed [37:0] held_product = held_left * held_right;
  localparam ALL = REG_PIPELINE_CLK == "CLK0";
  initial if (REG_INPUTA_CLK != REG_PIPELINE_CLK || REG_INPUTB_CLK != REG_PIPELINE_CLK
              || ALL && (REG_OUTPUT_CLK != "CLK0" || REG_INPUTA_CE != "CE0" || REG_INPUTB_CE != "CE0" || REG_PIPELINE_CE != "CE0")
              || !ALL && REG_PIPELINE_CLK != "NONE"
              || REG_OUTPUT_CLK != "NONE" && (REG_OUTPUT_CLK != "CLK0" || REG_OUTPUT_CE != "CE0"))
    $fatal(1, "MULT18X18D: a mode without a model");
  always @(posedge CLK0) if (CE0 !== 1'b0) begin
    held_left <= left;
    held_right <= right;
    middle <= held_product[35:0];
    register <= ALL ? middle : product[35:0];
  end
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = REG_OUTPUT_CLK == "NONE" ? product[35:0] : register;
endmodule

// With a port to write (A) and one to read (B), of 36 bits as Yosys infers it, or of 1, 2, 4 or 9 bits each; with or
// without the register of port B.
module DP16KD (input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
               input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
               input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
               input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
               input CLKA, CLKB, CEA, CEB, OCEA, OCEB, WEA, WEB, RSTA, RSTB, CSA0, CSA1, CSA2, CSB0, CSB1, CSB2,
               output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
               output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG", RESETMODE = "SYNC";
  parameter ASYNC_RESET_RELEASE = "SYNC", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", GSR = "DISABLED";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB", CEAMUX = "CEA", CEBMUX = "CEB";
  parameter OCEAMUX = "OCEA", OCEBMUX = "OCEB", WEAMUX = "WEA", WEBMUX = "INV", RSTAMUX = "INV", RSTBMUX = "INV";
  parameter CSA0MUX = "INV", CSA1MUX = "INV", CSA2MUX = "INV", CSB0MUX = "INV", CSB1MUX = "INV", CSB2MUX = "INV";
  parameter ADA0MUX = "ADA0", ADA1MUX = "ADA1", ADA2MUX = "ADA2", ADA3MUX = "ADA3", ADA4MUX = "ADA4", ADA5MUX = "ADA5",
            ADA6MUX = "ADA6", ADA7MUX = "ADA7", ADA8MUX = "ADA8", ADA9MUX = "ADA9", ADA10MUX = "ADA10", ADA11MUX = "ADA11",
            ADA12MUX = "ADA12", ADA13MUX = "ADA13";
  parameter ADB0MUX = "ADB0", ADB1MUX = "ADB1", ADB2MUX = "ADB2", ADB3MUX = "ADB3", ADB4MUX = "ADB4", ADB5MUX = "ADB5",
            ADB6MUX = "ADB6", ADB7MUX = "ADB7", ADB8MUX = "ADB8", ADB9MUX = "ADB9", ADB10MUX = "ADB10", ADB11MUX = "ADB11",
            ADB12MUX = "ADB12", ADB13MUX = "ADB13";
  parameter INITVAL_00 = 320'd0, INITVAL_01 = 320'd0, INITVAL_02 = 320'd0, INITVAL_03 = 320'd0, INITVAL_04 = 320'd0, INITVAL_05 = 320'd0,
            INITVAL_06 = 320'd0, INITVAL_07 = 320'd0, INITVAL_08 = 320'd0, INITVAL_09 = 320'd0, INITVAL_0A = 320'd0, INITVAL_0B = 320'd0,
            INITVAL_0C = 320'd0, INITVAL_0D = 320'd0, INITVAL_0E = 320'd0, INITVAL_0F = 320'd0, INITVAL_10 = 320'd0, INITVAL_11 = 320'd0,
            INITVAL_12 = 320'd0, INITVAL_13 = 320'd0, INITVAL_14 = 320'd0, INITVAL_15 = 320'd0, INITVAL_16 = 320'd0, INITVAL_17 = 320'd0,
            INITVAL_18 = 320'd0, INITVAL_19 = 320'd0, INITVAL_1A = 320'd0, INITVAL_1B = 320'd0, INITVAL_1C = 320'd0, INITVAL_1D = 320'd0,
            INITVAL_1E = 320'd0, INITVAL_1F = 320'd0, INITVAL_20 = 320'd0, INITVAL_21 = 320'd0, INITVAL_22 = 320'd0, INITVAL_23 = 320'd0,
            INITVAL_24 = 320'd0, INITVAL_25 = 320'd0, INITVAL_26 = 320'd0, INITVAL_27 = 320'd0, INITVAL_28 = 320'd0, INITVAL_29 = 320'd0,
            INITVAL_2A = 320'd0, INITVAL_2B = 320'd0, INITVAL_2C = 320'd0, INITVAL_2D = 320'd0, INITVAL_2E = 320'd0, INITVAL_2F = 320'd0,
            INITVAL_30 = 320'd0, INITVAL_31 = 320'd0, INITVAL_32 = 320'd0, INITVAL_33 = 320'd0, INITVAL_34 = 320'd0, INITVAL_35 = 320'd0,
            INITVAL_36 = 320'd0, INITVAL_37 = 320'd0, INITVAL_38 = 320'd0, INITVAL_39 = 320'd0, INITVAL_3A = 320'd0, INITVAL_3B = 320'd0,
            INITVAL_3C = 320'd0, INITVAL_3D = 320'd0, INITVAL_3E = 320'd0, INITVAL_3F = 320'd0;
  localparam [20479:0] INIT = {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
                             INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
                             INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
                             INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
                             INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
                             INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
                             INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
                             INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};
  wire [8:0] to_write = {ADA13MUX != "0" && ADA13 !== 1'b0, ADA12MUX != "0" && ADA12 !== 1'b0, ADA11MUX != "0" && ADA11 !== 1'b0,
                        ADA10MUX != "0" && ADA10 !== 1'b0, ADA9MUX != "0" && ADA9 !== 1'b0, ADA8MUX != "0" && ADA8 !== 1'b0,
                        ADA7MUX != "0" && ADA7 !== 1'b0, ADA6MUX != "0" && ADA6 !== 1'b0, ADA5MUX != "0" && ADA5 !== 1'b0};
  wire [8:0] to_read = {ADB13MUX != "0" && ADB13 !== 1'b0, ADB12MUX != "0" && ADB12 !== 1'b0, ADB11MUX != "0" && ADB11 !== 1'b0,
                        ADB10MUX != "0" && ADB10 !== 1'b0, ADB9MUX != "0" && ADB9 !== 1'b0, ADB8MUX != "0" && ADB8 !== 1'b0,
                        ADB7MUX != "0" && ADB7 !== 1'b0, ADB6MUX != "0" && ADB6 !== 1'b0, ADB5MUX != "0" && ADB5 !== 1'b0};
  wire [3:0] enable = {ADA3MUX != "0" && ADA3 !== 1'b0, ADA2MUX != "0" && ADA2 !== 1'b0, ADA1MUX != "0" && ADA1 !== 1'b0, ADA0MUX != "0" && ADA0 !== 1'b0};
  wire [35:0] written = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
                         DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  reg [35:0] memory [0:511], latch, register;
  reg [8:0] bytes [0:2047];
  localparam WIDE = DATA_WIDTH_A == 36;
  wire [13:0] to_bits = {to_write, ADA4MUX != "0" && ADA4 !== 1'b0, ADA3MUX != "0" && ADA3 !== 1'b0,
                         ADA2MUX != "0" && ADA2 !== 1'b0, ADA1MUX != "0" && ADA1 !== 1'b0, ADA0MUX != "0" && ADA0 !== 1'b0};
  wire [13:0] at_bits = {to_read, ADB4MUX != "0" && ADB4 !== 1'b0, ADB3MUX != "0" && ADB3 !== 1'b0,
                         ADB2MUX != "0" && ADB2 !== 1'b0, ADB1MUX != "0" && ADB1 !== 1'b0, ADB0MUX != "0" && ADB0 !== 1'b0};
  integer n;
  initial begin
    if (DATA_WIDTH_A != DATA_WIDTH_B || !WIDE && DATA_WIDTH_A != 1 && DATA_WIDTH_A != 2 && DATA_WIDTH_A != 4 && DATA_WIDTH_A != 9
        || !WIDE && INIT != 0 || REGMODE_B != "NOREG" && REGMODE_B != "OUTREG" || WEBMUX != "INV" || RSTBMUX != "INV"
        || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
      $fatal(1, "DP16KD: a mode without a model");
    for (n = 0; n < 512; n = n + 1) memory[n] = {INIT[40 * n + 20 +: 18], INIT[40 * n +: 18]};
    for (n = 0; n < 2048; n = n + 1) bytes[n] = 0;
  end
  always @(posedge CLKA) if (CEA !== 1'b0 && WEA !== 1'b0) case (DATA_WIDTH_A)
    36: for (n = 0; n < 4; n = n + 1) if (enable[n]) memory[to_write][9 * n +: 9] <= written[9 * n +: 9];
    9: bytes[to_bits[13:3]] <= written[8:0];
    default: for (n = 0; n < DATA_WIDTH_A; n = n + 1) bytes[to_bits[13:3]][to_bits[2:0] / DATA_WIDTH_A * DATA_WIDTH_A + n] <= written[n];
  endcase
  always @(posedge CLKB) if (CEB !== 1'b0)
    latch <= WIDE ? memory[to_read] : DATA_WIDTH_B == 9 ? {bytes[at_bits[13:3]], 18'd0}
             : {bytes[at_bits[13:3]] >> at_bits[2:0] / DATA_WIDTH_B * DATA_WIDTH_B, 18'd0};
  always @(posedge CLKB) if (OCEB !== 1'b0) register <= latch;
  wire [35:0] out = REGMODE_B == "OUTREG" ? register : latch;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0,
          DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = out;
endmodule
