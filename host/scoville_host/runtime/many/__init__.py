"""Many sequences at a time: what the host does for a chip with several slots (docs/schedule.md)."""
