"""What only one vendor's parts have; nothing else in the chip depends on it."""
