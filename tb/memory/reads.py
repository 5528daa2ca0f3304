"""What the testbenches of what reads share."""

__all__ = ["bursts_of"]


def bursts_of(config, longest, address, beats):
    """(address, beats) of a request's bursts, one after the other: they end at multiples of the longest."""
    size = config.bus_bytes
    while beats:
        burst = min(longest - address // size % longest, beats)
        yield address, burst
        address, beats = (address + burst * size) % (1 << config.addr_bits), beats - burst
