"""From a temperature to the register TEMPERATURE."""

import math

import numpy as np

__all__ = ["LEAST", "MOST", "inverse_temperature"]

MOST = 1e38
"""Above it 1 / (T ln 2) is no normal FP32 number."""
LEAST = 1 / (float(np.finfo(np.float32).max) * math.log(2))
"""Up to it, 4.24e-39, 1 / (T ln 2) has no finite FP32 number."""


def inverse_temperature(temperature):
    """The value of the register TEMPERATURE, float32: 1 / (T ln 2), or 0 for arg-max, which is the limit of small T.

    Raises
    ------
    ValueError
        If the temperature is not 0 to `MOST`.
    """
    if not 0 <= temperature <= MOST:
        raise ValueError(f"temperature is {temperature}; it must be 0 (the likeliest token) to {MOST:g}")
    return np.float32(1 / (temperature * math.log(2)) if temperature > LEAST else 0)
