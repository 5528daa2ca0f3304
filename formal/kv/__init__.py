"""Proofs of `rtl/scoville/kv/`."""
