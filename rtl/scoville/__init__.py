"""Scoville: an LLM-inference processor written in Amaranth."""

__version__ = "0.1.0"

from . import naming

naming.install()
