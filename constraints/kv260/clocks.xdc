# The chip alone: one clock, and ports that meet registers in the processing system's interconnect.
create_clock -name clk -period 6.667 [get_ports clk]
