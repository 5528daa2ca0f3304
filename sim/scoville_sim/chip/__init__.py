"""The Verilated chip, its build and its memories."""
