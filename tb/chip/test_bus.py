"""The whole chip's Verilog under cocotb, with bus models from another author: cocotbext-axi.

Its memory takes every address by itself, so there is also one of our own, which may wait for the data first.
"""

import random

import cocotb
import harness
import numpy as np
import pytest
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam
from llamas import compiled, golden
from scoville.chip import Chip
from scoville.config import get_config
from scoville.registers import Status, address_of
from scoville_host.runtime.driver import DONE, ERROR, INTERRUPTS, NO_TOKEN
from subordinate import ORDERS, Subordinate

CONFIG = get_config("slim")  # the smallest one, so the fastest under Icarus
SHAPE = {"hidden": 32, "layers": 1, "heads": 1, "ffn": 32, "vocab": 40, "context": 32}
PROMPT, NEW = [3, 39, 0], 2
QUIET = 5000  # cycles without a sign of life from a chip that runs


def pauses(seed, chance):
    rng = random.Random(seed)
    while True:
        yield rng.random() < chance


class Ram:
    """cocotbext-axi's memory."""

    def __init__(self, bench, size, stalls):
        dut = bench.dut
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi_"), dut.clk, dut.rst, size=size)
        read, write = self.ram.read_if, self.ram.write_if
        for model in (read, write):
            model.log.setLevel("WARNING")
        channels = (read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel)
        for number, channel in enumerate(channels):
            channel.set_pause_generator(pauses(f"{bench.seed} {number}", stalls))
        self.read, self.write = self.ram.read, self.ram.write


class OrderedRam:
    """A memory that takes addresses and data in one of the `ORDERS`."""

    def __init__(self, bench, size, stalls, order):
        self.memory = bytearray(size)
        Subordinate(bench, "m_axi_", self.memory, bus_bytes=CONFIG.bus_bytes, stalls=stalls, order=order)

    def read(self, address, size):
        return bytes(self.memory[address:address + size])

    def write(self, address, content):
        self.memory[address:address + len(content)] = content


class Host:
    """The chip on its buses: memory, registers and the interrupt."""

    def __init__(self, dut, image, stalls, order=None):
        self.dut, self.image = dut, image
        self.bench = harness.Bench(dut)
        self.ram = OrderedRam(self.bench, image.size, stalls, order) if order else Ram(self.bench, image.size, stalls)
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil_"), dut.clk, dut.rst)
        read, write = self.registers.read_if, self.registers.write_if
        for number, channel in enumerate((read.ar_channel, read.r_channel, write.aw_channel, write.w_channel,
                                          write.b_channel)):
            channel.set_pause_generator(pauses(f"{self.bench.seed} registers {number}", stalls))
        for model in (read, write):
            model.log.setLevel("WARNING")
        self.ram.write(0, image.allocate().tobytes())

    async def read(self, name):
        return await self.registers.read_dword(address_of(name))

    async def write(self, name, value):
        await self.registers.write_dword(address_of(name), value)

    async def interrupt(self):
        """Wait for the interrupt, and take it back: its bits."""
        await self.bench.until(self.dut.interrupt, timeout=QUIET)
        bits = await self.read("IRQ_STATUS")
        await self.write("IRQ_STATUS", bits)
        return bits

    async def start(self):
        for name, value in self.image.registers.items():
            try:
                await self.write(name, value)
            except KeyError:
                await self.write(f"{name}_LO", value & 0xFFFFFFFF)
                await self.write(f"{name}_HI", value >> 32)
        self.ram.write(self.image.registers["PROMPT"], np.array(PROMPT, np.uint32).tobytes())
        for name, value in (("PROMPT_LENGTH", len(PROMPT)), ("MAX_NEW", NEW), ("IRQ_ENABLE", INTERRUPTS),
                            ("CONTROL", 1)):
            await self.write(name, value)

    async def tokens(self):
        """Every token of the sequence."""
        found = []
        while True:
            bits = await self.interrupt()
            status = await self.read("STATUS")
            assert not status & ERROR, Status(status >> 8 & 255)
            while (token := await self.read("TOKEN")) != NO_TOKEN:
                found.append(token)
            if bits & DONE:
                return found

    def logits(self, count):
        """Bits of the logits in memory, ``[count, vocab]``."""
        address, stride = self.image.registers["LOGITS"], self.image.registers["LOGITS_STRIDE"]
        rows = np.frombuffer(self.ram.read(address, count * stride), np.uint8).reshape(count, stride)
        return np.ascontiguousarray(rows).view(np.uint32)[:, :self.image.vocab]


async def generates(dut, stalls, order=None):
    image = compiled(CONFIG, **SHAPE)
    wanted = golden(image, PROMPT, NEW)
    host = Host(dut, image, stalls, order)
    await host.bench.reset()
    assert await host.read("ID") == 0x53434F56
    await host.start()
    assert await host.tokens() == wanted.tokens
    assert (host.logits(NEW) == wanted.logits.view(np.uint32)).all()
    assert not harness.peek(dut.interrupt)


@cocotb.test()
async def without_stalls(dut):
    await generates(dut, 0.0)


@cocotb.test()
async def under_stalls(dut):
    await generates(dut, 0.4)


@cocotb.test()
@cocotb.parametrize(order=list(ORDERS))
async def in_order(dut, order):
    await generates(dut, 0.2, order)


@pytest.mark.heavy
def test_chip_on_its_buses(sim):
    """Icarus takes the run with stalls alone, as it is slow."""
    harness.run(lambda: Chip(CONFIG), __name__, sim=sim, testcase="under_stalls" if sim == "icarus" else None)
