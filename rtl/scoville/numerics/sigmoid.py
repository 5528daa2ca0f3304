"""The logistic function, composed of the other units."""

import math

from . import fp32, table
from .pipe import PipeUnit

__all__ = ["Sigmoid", "model", "sigmoid"]

MINUS_LOG2_E = -math.log2(math.e)


def sigmoid(pipe, a):
    """1 / (1 + 2^(a * -log2 e)), each step rounded to FP32. Latency 23."""
    power = table.exp2(pipe, fp32.mul(pipe, a, fp32.constant(MINUS_LOG2_E)))
    return table.recip(pipe, fp32.add(pipe, fp32.constant(1.0), power))


class model:
    """The same on numpy arrays."""

    @staticmethod
    def sigmoid(a):
        power = table.model.exp2(fp32.model.mul(a, MINUS_LOG2_E))
        return table.model.recip(fp32.model.add(1.0, power))


class Sigmoid(PipeUnit):
    """o = sigmoid(i). One result a cycle; latency 23.

    Members
    -------
    i : In(stream of FP32)
    o : Out(stream of FP32)
    """

    def __init__(self):
        super().__init__(sigmoid, 32, 32)

    model = staticmethod(model.sigmoid)
