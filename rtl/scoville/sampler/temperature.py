"""From a temperature to the register TEMPERATURE."""

import math

import numpy as np

__all__ = ["LEAST", "MOST", "inverse_temperature"]

MOST = 1e38
"""Above 1.2e38, 1 / (T ln 2) is no normal FP32 number."""
LEAST = 1e-30
"""Below it the sampler is told to take the largest logit, which is what it would do anyway: the noise moves a score by
less than 40, a difference of logits of 3e-29 by more. Multiplied by still larger numbers, logits of common size would
saturate, and the first of them win; at 1e-30 those above 2.3e8 do."""


def inverse_temperature(temperature):
    """The value of the register TEMPERATURE, float32: 1 / (T ln 2), or 0 for arg-max, which is the limit of small T.

    Raises
    ------
    ValueError
        If the temperature is not 0 to `MOST`.
    """
    if not 0 <= temperature <= MOST:
        raise ValueError(f"temperature is {temperature}; it must be 0 (the likeliest token) to {MOST:g}")
    return np.float32(1 / (temperature * math.log(2)) if temperature >= LEAST else 0)
