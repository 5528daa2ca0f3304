"""Faults planted in a unit, its testbench the judge."""
