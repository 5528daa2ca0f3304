"""The two ways to fail that are nobody's bug: a wrong request, and a chip that stopped."""

__all__ = ["ChipError", "RequestError"]


class RequestError(Exception):
    """What the user asked for cannot be done; the message is one line that says why and what would be right."""


class ChipError(Exception):
    """The chip stopped with an error status."""
