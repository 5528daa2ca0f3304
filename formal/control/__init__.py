"""Proofs of `rtl/scoville/control/`."""
