"""The driver against a chip that is a dictionary of registers."""

import math

import numpy as np
import pytest
from checkpoints import random_tensors, write_huggingface
from scoville.config import CONFIGS, get_config
from scoville.registers import REGISTERS, STALLS, Status, address_of, fits
from scoville_host.checkpoint.load import load_checkpoint
from scoville_host.compiler import compiler
from scoville_host.compiler.compiler import compile_model
from scoville_host.errors import ChipError, RequestError
from scoville_host.runtime.driver import RESETTING, Driver, temperature_bits


class FakeChip:
    """Registers that remember, a token queue, and a status."""

    def __init__(self, config):
        self.values = {register.address: 0 for register in REGISTERS}
        self.values[address_of("SHAPE")] = config.bus_bytes << 16 | config.rows << 8 | config.lanes
        self.values[address_of("SHAPE2")] = config.dot_width << 8 | config.act_bits
        self.tokens = []

    def read(self, address):
        if address == address_of("TOKEN"):
            return self.tokens.pop(0) if self.tokens else 0xFFFFFFFF
        if address in (address_of("STALL_LO"), address_of("STALL_HI")):
            return 9 if address == address_of("STALL_LO") and self["STALL_SELECT"] == 2 else 0
        return self.values[address]

    def write(self, address, value):
        assert 0 <= value < 1 << 32
        self.values[address] = value

    def __getitem__(self, name):
        return self.values[address_of(name)]

    def __setitem__(self, name, value):
        self.values[address_of(name)] = value


@pytest.fixture
def image(tmp_path):
    model = load_checkpoint(write_huggingface(tmp_path, random_tensors()))
    return compile_model(model, get_config("nano"), base=0x3_0000_0000)


@pytest.fixture
def chip(image):
    return FakeChip(image.config)


def test_start_writes_everything_and_then_go(image, chip):
    order = []
    write, chip.write = chip.write, lambda address, value: (order.append(address), write(address, value))
    Driver(chip, image).start(7, 20, position=9, temperature=0.5, seed=5 << 32 | 6, stop_ids=(3, 9), watchdog=1000)
    assert chip["PROGRAM_LO"] | chip["PROGRAM_HI"] << 32 == image.registers["PROGRAM"]
    assert (chip["PROMPT_LENGTH"], chip["MAX_NEW"], chip["CONTEXT"], chip["POSITION"]) == (7, 20, 128, 9)
    assert (chip["STOP_COUNT"], chip["STOP0"], chip["STOP1"], chip["SEED_LO"], chip["SEED_HI"]) == (2, 3, 9, 6, 5)
    assert np.uint32(chip["TEMPERATURE"]).view(np.float32) == np.float32(2 / math.log(2))
    assert order[-1] == address_of("CONTROL") and chip["CONTROL"] == 1


def test_no_logits(image, chip):
    Driver(chip, image).start(1, 1, logits=False)
    assert chip["LOGITS_LO"] == chip["LOGITS_HI"] == chip["TEMPERATURE"] == 0


def test_poll(image, chip):
    driver = Driver(chip, image)
    chip["STATUS"] = 1
    chip.tokens = [4, 5]
    assert driver.poll() == ([4, 5], False)
    chip["STATUS"] = 2
    assert driver.poll() == ([], True)


def test_errors_are_named(image, chip):
    chip["STATUS"] = 2 | 4 | Status.PAGE_FAULT << 8
    chip["ERROR_ADDRESS_LO"] = 0x40
    with pytest.raises(ChipError, match="PAGE_FAULT at 0x40"):
        Driver(chip, image).poll()


def test_a_refused_setting_is_named(image, chip):
    chip["STATUS"] = 4 | Status.SETTING << 8
    chip["ERROR_ADDRESS_LO"] = address_of("WINDOW_LIMIT_HI")
    with pytest.raises(ChipError, match="SETTING, it refused a write of register WINDOW_LIMIT_HI"):
        Driver(chip, image).poll()


def test_reset_waits(image, chip):
    read, left = chip.read, iter([RESETTING, RESETTING, 0])
    chip.read = lambda address: next(left) if address == address_of("STATUS") else read(address)
    Driver(chip, image).reset()
    assert chip["CONTROL"] == 2 and next(left, None) is None
    chip.read = lambda address: RESETTING
    with pytest.raises(ChipError, match="does not stop: its memory does not answer"):
        Driver(chip, image).reset()


def test_another_shape_is_refused(image, chip):
    Driver(chip, image).check()
    chip["SHAPE"] = 64 << 16 | 4 << 8 | 4
    with pytest.raises(RequestError, match="64 bytes, 4 rows, 4 lanes and .*; the image is for configuration nano"):
        Driver(chip, image).check()


def test_stop_tokens_beyond_the_registers(image, chip):
    """The chip knows four; at another the driver keeps the counts, resets, and drops what the chip went on with."""
    driver = Driver(chip, image)
    driver.start(1, 9, stop_ids=[60, 61, 62, 63, 7, 8])
    assert (chip["STOP_COUNT"], chip["STOP0"], chip["STOP3"]) == (4, 60, 63)
    chip["STATUS"], chip["CYCLES_LO"], chip.tokens = 1, 500, [5, 6]
    assert driver.poll() == ([5, 6], False)
    chip.tokens = [9, 8, 33, 34]
    write = chip.write

    def reset(address, value):
        write(address, value)
        if address == address_of("CONTROL") and value == 2:
            chip["CYCLES_LO"], chip["STATUS"] = 0, 0
    chip.write = reset
    assert driver.poll() == ([9, 8], True) and chip["CONTROL"] == 2
    assert driver.counters()["cycles"] == 500
    driver.start(1, 9, stop_ids=[60])
    chip.tokens = [8]
    assert driver.poll()[0] == [8] and driver.counters()["cycles"] == 0


def test_counters(image, chip):
    chip["CYCLES_LO"], chip["CYCLES_HI"] = 5, 1
    found = Driver(chip, image).counters()
    assert found["cycles"] == 5 + (1 << 32)
    assert found["stalls"] == {reason: 9 if index == 2 else 0 for index, reason in enumerate(STALLS)}


def test_arg_max_is_temperature_zero():
    assert temperature_bits(0) == temperature_bits(1e-39) == temperature_bits(1e-300) == 0


@pytest.mark.parametrize("temperature", [-1e-9, 1.1e38, 1e46, 1e300, math.inf, math.nan])
def test_temperatures_that_the_register_cannot_hold(temperature):
    with pytest.raises(RequestError, match="must be 0 .* to 1e\\+38"):
        temperature_bits(temperature)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_image_fits_its_registers(name, tmp_path):
    model = load_checkpoint(write_huggingface(tmp_path, random_tensors()))
    image = compile_model(model, get_config(name), context=64)
    assert all(fits(image.config, register, value) for register, value in image.registers.items())


def test_an_image_beyond_a_register_is_refused(image, monkeypatch, tmp_path):
    monkeypatch.setattr(compiler, "fits", lambda config, name, value: name != "KV_PAGES")
    model = load_checkpoint(write_huggingface(tmp_path, random_tensors()))
    with pytest.raises(RequestError, match="in register KV_PAGES; a chip of configuration nano cannot hold it"):
        compile_model(model, image.config)
