"""Proofs of `rtl/scoville/memory/`."""
