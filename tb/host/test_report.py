"""The numbers of a run."""

import numpy as np
import pytest
from checkpoints import random_tensors, write_huggingface
from scoville.config import get_config
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler.compiler import compile_model
from scoville_host.report.summary import passes, summary
from scoville_host.runtime.backend import Result
from scoville_host.runtime.generate import bench_prompt, matches


@pytest.fixture
def image(tmp_path):
    return compile_model(load_checkpoint(write_huggingface(tmp_path, random_tensors())), get_config("nano"))


def test_passes():
    assert passes(5, 3, 2) == [(0, 2, False), (2, 2, False), (4, 1, True), (5, 1, True), (6, 1, True)]
    assert passes(2, 1, 4) == [(0, 2, True)]
    assert passes(3, 2, 2, 10) == [(10, 2, False), (12, 1, True), (13, 1, True)]


def test_utilisation_of_a_run_at_the_bus_limit(image):
    """If decoding takes exactly as many cycles as its bytes need beats, the bus is used fully."""
    bytes_ = [image.traffic.pass_bytes(position, 1, True) for position in (4, 5)]
    cycles = sum(bytes_) / 16
    result = Result(tokens=[1, 2, 3], logits=np.zeros((3, 70), np.float32), seconds=2.0, cycles=100 + cycles,
                    prefill_cycles=100, stalls={})
    found = summary(image, result, 4, "rtl")
    assert found["bus_utilisation"] == pytest.approx(1)
    assert found["model_bytes_per_token"] == sum(bytes_) / 2
    assert found["decode_bus_utilisation"] == found["bus_utilisation"]
    assert found["prefill_mac_utilisation"] == pytest.approx(found["prefill_macs"] / (100 * image.config.multipliers))
    assert found["cycles_per_token"] == cycles / 2
    macs = sum(image.traffic.pass_macs(*each) for each in passes(4, 3, 2))
    assert found["macs"] == macs and found["mac_utilisation"] == pytest.approx(macs / (100 + cycles) / 64)
    assert found["prefill_macs"] + 2 * found["macs_per_token"] == macs
    assert found["prefill_model_bytes"] == sum(image.traffic.pass_bytes(*each) for each in passes(4, 1, 2))
    assert found["cycles_per_second"] == pytest.approx((100 + cycles) / 2)


def test_positions_before_the_prompt_are_read_by_every_pass(image):
    def found(position, generated):
        result = Result(tokens=[1] * generated, logits=np.zeros((generated, 70), np.float32), seconds=2.0, cycles=200,
                        prefill_cycles=100, stalls={})
        return summary(image, result, 4, "rtl", position=position)

    more = found(50, 3)["model_bytes_per_token"] - found(0, 3)["model_bytes_per_token"]
    assert more == 50 * image.traffic.kv_bytes
    assert found(50, 3)["position"] == 50
    assert found(0, 1)["decode_bus_utilisation"] is None


def test_macs_do_not_depend_on_lanes(image):
    totals = {sum(image.traffic.pass_macs(*each) for each in passes(7, 4, lanes)) for lanes in (1, 2, 4)}
    assert len(totals) == 1


def test_without_a_clock(image):
    result = Result(tokens=[1], logits=np.zeros((1, 70), np.float32), seconds=1.0)
    found = summary(image, result, 4, "golden")
    assert found["cycles"] is found["bus_utilisation"] is found["decode_cycles"] is None


def test_matches_is_about_bits():
    def result(tokens, value):
        return Result(tokens=tokens, logits=np.array([[value]], np.float32), seconds=0)

    assert matches(result([1], 0.5), result([1], 0.5))
    assert not matches(result([1], 0.5), result([2], 0.5))
    assert not matches(result([1], 0.5), result([1], np.nextafter(np.float32(0.5), np.float32(1))))
    assert not matches(result([1], 0.0), result([1], -0.0))


def test_bench_prompt_is_the_same_every_time():
    assert bench_prompt(70, 5) == bench_prompt(70, 5)
    assert all(0 <= token < 70 for token in bench_prompt(70, 1000))
