"""The register file against cocotbext-axi's AXI4-Lite manager, and at a transfer a cycle: every bit and strobe."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster
from scoville.config import get_config
from scoville.control.register_file import RegisterFile
from scoville.memory import axi
from scoville.registers import REGISTERS, address_of

MASK = 0xFFFFFFFF
SETTINGS = [r for r in REGISTERS if r.access == "rw"]
SHOWN = [r for r in REGISTERS if r.access in ("r", "pop")]
PULSED = [r for r in REGISTERS if r.access in ("w", "w1c")]
HOLES = range(4 * len(REGISTERS), 1 << axi.LITE_ADDR_BITS, 4)


def port(dut, kind, register):
    return getattr(dut, f"{kind}_{register.name.lower()}")


class System:
    """A register file, a bus manager that pauses at random, and a record of what the pulse outputs did."""

    def __init__(self, dut, seed, stalls=0.0):
        self.dut = dut
        self.tb = tb = harness.Bench(dut, seed)
        self.pulses = []  # (port name, value)
        self.master = None
        self.stalls = stalls
        self.shown = {r.name: tb.rng.getrandbits(32) for r in REGISTERS if r.access != "rw"}

    async def start(self, master=True):
        for register in REGISTERS:
            if register.access != "rw":
                port(self.dut, "get", register).value = self.shown[register.name]
        await self.tb.reset()
        if master:
            self.master = AxiLiteMaster(AxiLiteBus.from_prefix(self.dut, "bus_"), self.dut.clk, self.dut.rst)
            if self.stalls:
                write, read = self.master.write_if, self.master.read_if
                for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
                    channel.set_pause_generator(self.tb.rng.random() < self.stalls for _ in iter(int, 1))
        cocotb.start_soon(self._record())

    async def _record(self):
        watched = [(f"write_{r.name}", port(self.dut, "write", r)) for r in PULSED]
        watched += [(f"pop_{r.name}", port(self.dut, "pop", r)) for r in REGISTERS if r.access == "pop"]
        while True:
            await RisingEdge(self.dut.clk)
            for name, handle in watched:
                if value := int(handle.value):
                    self.pulses.append((name, value))

    async def settings(self):
        """Values of all settings, once the write whose response has just been taken is there."""
        await RisingEdge(self.dut.clk)
        return {r.name: int(port(self.dut, "set", r).value) for r in SETTINGS}

    async def write(self, address, value):
        result = await self.master.write(address, value.to_bytes(4, "little"))
        assert int(result.resp) == axi.Resp.OKAY.value

    async def read(self, address):
        result = await self.master.read(address, 4)
        assert int(result.resp) == axi.Resp.OKAY.value
        return int.from_bytes(result.data, "little")


async def registers(dut, seed, stalls):
    system = System(dut, seed, stalls)
    await system.start()
    rng = system.tb.rng

    # Reset values, and what the read-only registers show.
    expected = {r.name: 0 for r in SETTINGS}
    assert await system.settings() == expected
    for register in rng.sample(REGISTERS, len(REGISTERS)):
        assert await system.read(register.address) == expected.get(register.name, system.shown.get(register.name))

    # Every bit of every setting on its own; the other settings stay.
    for register in SETTINGS:
        for bit in range(32):
            await system.write(register.address, 1 << bit)
            assert (await system.settings())[register.name] == 1 << bit
        expected[register.name] = rng.getrandbits(32)
        await system.write(register.address, expected[register.name])
        assert await system.settings() == expected
    for register in SETTINGS:
        assert await system.read(register.address) == expected[register.name]

    # Byte strobes: unaligned and short writes.
    for _ in range(100):
        register = rng.choice(SETTINGS)
        first = rng.randrange(4)
        data = rng.randbytes(rng.randint(1, 4 - first))
        await system.master.write(register.address + first, data)
        value = bytearray(expected[register.name].to_bytes(4, "little"))
        value[first:first + len(data)] = data
        expected[register.name] = int.from_bytes(value, "little")
        assert await system.settings() == expected

    # Writes to read-only registers and to holes change nothing; holes read as zero.
    for register in SHOWN:
        await system.write(register.address, MASK)
        assert await system.read(register.address) == system.shown[register.name]
    for address in [HOLES[0], HOLES[-1], *rng.sample(HOLES, 20)]:
        await system.write(address, rng.getrandbits(32))
        assert await system.read(address) == 0
    assert await system.settings() == expected
    assert not [pulse for pulse in system.pulses if pulse[0].startswith("write_")]


@cocotb.test()
async def every_register_with_stalls(dut):
    await registers(dut, 1, 0.3)


@cocotb.test()
async def every_register(dut):
    await registers(dut, 2, 0.0)


@cocotb.test()
async def pulses(dut):
    """A write-only register's bits, and a pop, are seen for exactly one cycle a transfer."""
    system = System(dut, 3, 0.3)
    await system.start()
    rng = system.tb.rng
    expected = []
    for _ in range(100):
        register = rng.choice(PULSED)
        first = rng.randrange(4)
        data = bytes(rng.randrange(1, 256) for _ in range(rng.randint(1, 4 - first)))
        await system.master.write(register.address + first, data)
        expected.append((f"write_{register.name}", int.from_bytes(data, "little") << 8 * first))
        if rng.random() < 0.5:
            assert await system.read(address_of("TOKEN")) == system.shown["TOKEN"]
            expected.append(("pop_TOKEN", 1))
        if rng.random() < 0.5:
            await system.read(rng.choice([r.address for r in REGISTERS if r.access != "pop"]))
    await system.tb.wait(3)
    assert system.pulses == expected
    assert set((await system.settings()).values()) == {0}


@cocotb.test()
async def at_once(dut):
    """Many transfers in flight on both channels: each write lands, each read shows its own register."""
    system = System(dut, 4, 0.2)
    await system.start()
    rng = system.tb.rng
    expected = {r.name: rng.getrandbits(32) for r in SETTINGS}
    writes = [cocotb.start_soon(system.write(r.address, expected[r.name])) for r in SETTINGS]
    reads = [(r, cocotb.start_soon(system.read(r.address))) for r in SHOWN]
    for task in writes:
        await task
    for register, task in reads:
        assert await task == system.shown[register.name]
    assert await system.settings() == expected


@cocotb.test()
async def reset(dut):
    """Settings are zero after a reset, and read as zero, however soon they are asked for."""
    system = System(dut, 6)
    await system.start()
    for register in SETTINGS:
        await system.write(register.address, MASK)
    await system.tb.reset()
    assert set((await system.settings()).values()) == {0}
    for register in reversed(SETTINGS):
        assert await system.read(register.address) == 0


@cocotb.test()
async def full_speed(dut):
    """One write and one read a cycle."""
    system = System(dut, 5)
    await system.start(master=False)
    await system.tb.wait(RegisterFile.DEPTH)
    rng = system.tb.rng
    expected = {r.name: rng.getrandbits(32) for r in SETTINGS}
    dut.bus__bready.value = dut.bus__rready.value = 1
    seen = []
    order = [r for r in SHOWN if r.access == "r"][:len(SETTINGS)]
    steps = max(len(SETTINGS), len(order))
    for step in range(steps + 2):
        dut.bus__awvalid.value = dut.bus__wvalid.value = int(step < len(SETTINGS))
        dut.bus__arvalid.value = int(step < len(order))
        if step < len(SETTINGS):
            dut.bus__awaddr.value = SETTINGS[step].address
            dut.bus__wdata.value = expected[SETTINGS[step].name]
            dut.bus__wstrb.value = 15
        if step < len(order):
            dut.bus__araddr.value = order[step].address
        await RisingEdge(dut.clk)
        assert int(dut.bus__awready.value) == int(step < len(SETTINGS))
        assert int(dut.bus__arready.value)
        if int(dut.bus__rvalid.value):
            seen.append(int(dut.bus__rdata.value))
        assert int(dut.bus__bvalid.value) == int(0 < step <= len(SETTINGS))
    assert await system.settings() == expected
    assert seen == [system.shown[r.name] for r in order]


@pytest.mark.parametrize("config", ["nano"])
def test_register_file(sim, config):
    harness.run(RegisterFile(get_config(config)), __name__, sim=sim)
