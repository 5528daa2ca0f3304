"""Cycles without simulating: the analytical model."""
