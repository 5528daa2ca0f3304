"""The sigmoid unit against its model, and the model against float64."""

import cocotb
import harness
import numpy as np
from scoville.numerics import fp32, sigmoid
from units import Units, as_float, check_stream, random_floats


def units():
    return {"sigmoid": sigmoid.Sigmoid()}


def vectors(rng, count):
    bits = random_floats(rng, count)
    near = (rng.standard_normal(count // 2) * 20).astype(np.float32).view(np.uint32)
    return np.concatenate([bits, near])


@cocotb.test()
async def stream(dut):
    def expected(payloads):
        return sigmoid.model.sigmoid(as_float(payloads)).view(np.uint32)

    await check_stream(dut, "sigmoid", vectors(np.random.default_rng(1), 1600), expected, 23)


def test_sigmoid(sim):
    harness.run(lambda: Units(units()), __name__, sim=sim)


def test_model_error():
    x = np.concatenate([np.linspace(-87, 87, 1_000_001).astype(np.float32),
                        as_float(random_floats(np.random.default_rng(2), 1_000_000))])
    x = fp32.model.flush(x)
    got = sigmoid.model.sigmoid(x).astype(np.float64)
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(got - wanted).max() <= 2.0**-23
    # far below zero the rounding of the exponent -x log2(e), at most 2^-18, becomes a relative error
    tail = (x < 0) & (x > -87)
    assert np.abs(got[tail] / wanted[tail] - 1).max() <= 2.0**-17.5


def test_model_shape():
    x = np.sort(as_float(vectors(np.random.default_rng(3), 1_000_000)))
    got = sigmoid.model.sigmoid(x)
    assert ((got >= 0) & (got <= 1)).all()
    assert (np.diff(got) >= 0).all(), "a sigmoid never falls"
    assert sigmoid.model.sigmoid(np.float32([0, 1e38, -1e38, 1e-40])).tolist() == [0.5, 1, 0, 0.5]
