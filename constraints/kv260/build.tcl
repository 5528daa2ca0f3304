# make verilog CONFIG=kria; vivado -mode batch -source constraints/kv260/build.tcl
# Area and timing of the chip on the part, out of context: no bitstream. Fails when the clock is missed.
set folder [file dirname [file normalize [info script]]]
set root [file dirname [file dirname $folder]]
set out [file join $root build kv260]
file mkdir $out
read_verilog -sv [file join $root build kria scoville.sv]
read_xdc -mode out_of_context [file join $folder clocks.xdc]
synth_design -top scoville -part xck26-sfvc784-2LV-c -mode out_of_context -flatten_hierarchy rebuilt
opt_design
place_design
phys_opt_design
route_design
report_utilization -hierarchical -file [file join $out utilization.txt]
report_timing_summary -max_paths 10 -file [file join $out timing.txt]
write_checkpoint -force [file join $out scoville.dcp]
set slack [get_property SLACK [get_timing_paths -max_paths 1 -setup]]
puts "kv260: worst slack $slack ns"
if {$slack < 0} { error "kv260: timing missed by [expr {-$slack}] ns" }
