"""What a board needs round the chip: a host link over a UART, and one memory port for the link and the chip."""
