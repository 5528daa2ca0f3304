"""The schedule: which tokens of which sequences a pass computes."""
