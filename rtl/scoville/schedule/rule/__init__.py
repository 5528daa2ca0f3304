"""The rule of a pass in hardware, a part a file: states of the planner's machine."""
