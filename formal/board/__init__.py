"""Proofs of `rtl/scoville/board/`."""
