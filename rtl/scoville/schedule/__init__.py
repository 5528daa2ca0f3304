"""What a pass works on, and who decides it."""
