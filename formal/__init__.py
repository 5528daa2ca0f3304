"""Formal proofs of the RTL, `python -m formal`: a folder mirrors `rtl/scoville/`, docs/verification.md tells."""
