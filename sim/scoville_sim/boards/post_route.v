// The RTL of a unit and its routed netlist side by side, with the same random bits; see post_route.py.
module post_route;
  reg clk = 0, rst = 0, serial_in = 0;
  wire expected, found;
  integer cycle, compared = 0, differ = 0;
  reg [31:0] seed = `SEED;
  rtl rtl (.clk(clk), .rst(rst), .serial_in(serial_in), .serial_out(expected));
  net net (.clk(clk), .rst(rst), .serial_in(serial_in), .serial_out(found));
  initial begin
    for (cycle = 0; cycle < `CYCLES; cycle = cycle + 1) begin
      #5 clk = 1;
      #5 clk = 0;
      rst = cycle < 3;
      serial_in = $random(seed);
      // What comes from a memory that nothing has written yet is X in the RTL.
      if (cycle > 3 && expected !== 1'bx) begin
        compared = compared + 1;
        if (expected !== found) differ = differ + 1;
      end
    end
    $display("%0d %0d", compared, differ);
    $finish;
  end
endmodule
