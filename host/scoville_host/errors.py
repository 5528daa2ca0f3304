"""The one exception that means the request, not the program, was wrong."""

__all__ = ["RequestError"]


class RequestError(Exception):
    """What the user asked for cannot be done; the message is one line that says why and what would be right."""
