"""What quantisation costs: perplexity, divergence from the float reference, and agreement on the likeliest token."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from .errors import RequestError

__all__ = ["BACKENDS", "compare", "evaluate", "perplexity"]

BACKENDS = ("golden", "rtl", "float")
