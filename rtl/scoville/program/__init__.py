"""The program: what its instructions read, and in which order."""
