"""The register file against cocotbext-axi's AXI4-Lite manager, and at a transfer a cycle: every bit and strobe."""

from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster
from scoville.config import CONFIGS, get_config
from scoville.control.register_file import RegisterFile
from scoville.memory import axi
from scoville.registers import LOCKED, REGISTERS, address_of, fits, usable

MASK = 0xFFFFFFFF


def sized(name):
    """A configuration, "many" for one of several slots."""
    return replace(get_config("nano"), slots=4) if name == "many" else get_config(name)


def port(dut, kind, register):
    return getattr(dut, f"{kind}_{register.name.lower()}")


class System:
    """A register file, a bus manager that pauses at random, and a record of what the pulse outputs did."""

    def __init__(self, dut, seed, stalls=0.0):
        self.dut = dut
        self.config = sized(harness.parameters())
        self.registers = [r for r in REGISTERS if r.there(self.config)]
        self.writable = self.of("rw", "bell")
        self.live = [r.name for r in self.writable if r.name not in LOCKED]
        self.readable, self.pulsed, self.bells = self.of("r", "pop"), self.of("w", "w1c"), self.of("bell")
        there = [r.address for r in self.registers]
        self.holes = [address for address in range(0, 1 << axi.LITE_ADDR_BITS, 4) if address not in there]
        self.tb = tb = harness.Bench(dut, seed)
        self.pulses = []  # (port name, value)
        self.master = None
        self.stalls = stalls
        self.shown = {r.name: tb.rng.getrandbits(32) for r in self.registers
                      if r not in self.writable}

    def of(self, *access):
        """Registers of a kind."""
        return [r for r in self.registers if r.access in access]

    async def start(self, master=True):
        for register in self.registers:
            if register not in self.writable:
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
        watched = [(f"write_{r.name}", port(self.dut, "write", r)) for r in self.pulsed]
        watched += [(f"pop_{r.name}", port(self.dut, "pop", r)) for r in self.of("pop")]
        while True:
            await RisingEdge(self.dut.clk)
            for r in self.bells:
                if harness.peek(port(self.dut, "rung", r)):
                    self.pulses.append((f"rung_{r.name}", harness.peek(port(self.dut, "set", r))))
            for name, handle in watched:
                if value := harness.peek(handle):
                    self.pulses.append((name, value))

    async def settings(self):
        """Values of all settings, once the write whose response has just been taken is there."""
        await RisingEdge(self.dut.clk)
        return {r.name: int(port(self.dut, "set", r).value) for r in self.writable}

    async def refused(self):
        """Whether a write was refused, and the register's address; then a soft reset is asked for."""
        await RisingEdge(self.dut.clk)
        found = harness.peek(self.dut.refused), harness.peek(self.dut.refused_address)
        await self.write(address_of("CONTROL"), 2)
        await self.tb.wait(2)
        assert not harness.peek(self.dut.refused)
        return found

    async def write(self, address, value):
        result = await self.master.write(address, value.to_bytes(4, "little"))
        assert int(result.resp) == axi.Resp.OKAY.value

    async def read(self, address):
        result = await self.master.read(address, 4)
        assert int(result.resp) == axi.Resp.OKAY.value
        return int.from_bytes(result.data, "little")


def usable_value(system, register):
    """A random value that the register takes."""
    most = register.bits.most
    return system.tb.rng.randint(0, most) if most else system.tb.rng.getrandbits(32) & register.mask(system.config)


async def registers(dut, seed, stalls):
    system = System(dut, seed, stalls)
    await system.start()
    rng = system.tb.rng

    # Reset values, and what the read-only registers show.
    expected = {r.name: 0 for r in system.writable}
    assert await system.settings() == expected
    for register in rng.sample(system.registers, len(system.registers)):
        assert await system.read(register.address) == expected.get(register.name, system.shown.get(register.name))

    # Every bit of every setting on its own, taken or refused; the other settings stay.
    for register in system.writable:
        for bit in range(32):
            await system.write(register.address, 1 << bit)
            if register.mask(system.config) >> bit & 1 and (register.bits.most or 1 << 32) >= 1 << bit:
                expected[register.name] = 1 << bit
            else:
                assert await system.refused() == (1, register.address)
            assert (await system.settings())[register.name] == expected[register.name]
        if register.bits.most:
            for value in range(register.bits.most - 1, register.mask(system.config) + 1):
                await system.write(register.address, value)
                assert (await system.refused())[0] == (value > register.bits.most)
        expected[register.name] = usable_value(system, register)
        await system.write(register.address, expected[register.name])
        assert await system.settings() == expected
    for register in system.writable:
        assert await system.read(register.address) == expected[register.name]

    # Byte strobes: unaligned and short writes, of anything.
    for turn in range(200):
        register = rng.choice(system.writable)
        first = rng.randrange(4)
        data = rng.randbytes(rng.randint(1, 4 - first))
        if turn % 2:
            data = usable_value(system, register).to_bytes(4, "little")[first:first + len(data)]
        await system.master.write(register.address + first, data)
        after = RegisterFile.model(system.config, register.name, expected[register.name],
                                   int.from_bytes(data, "little") << 8 * first, ((1 << len(data)) - 1) << first)
        assert (await system.refused())[0] == (after is None)
        expected[register.name] = expected[register.name] if after is None else after
        assert await system.settings() == expected

    # Writes to read-only registers and to holes change nothing; holes read as zero.
    for register in system.readable:
        await system.write(register.address, MASK)
        assert await system.read(register.address) == system.shown[register.name]
    for address in [system.holes[0], system.holes[-1], *rng.sample(system.holes, 20)]:
        await system.write(address, rng.getrandbits(32))
        assert await system.read(address) == 0
    assert await system.settings() == expected
    assert {pulse for pulse in system.pulses if pulse[0].startswith("write_")} == {("write_CONTROL", 2)}
    for bell in system.bells:  # each write that was taken is heard, with what it said
        rung = [value for name, value in system.pulses if name == f"rung_{bell.name}"]
        assert rung[:32] == [1 << bit for bit in range(32)] and rung[-1] == expected[bell.name]


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
        register = rng.choice(system.pulsed)
        first = rng.randrange(4)
        data = bytes(rng.randrange(1, 256) for _ in range(rng.randint(1, 4 - first)))
        if register.name == "CONTROL":
            first, data = 0, bytes([rng.randint(1, 3)])
        await system.master.write(register.address + first, data)
        expected.append((f"write_{register.name}", int.from_bytes(data, "little") << 8 * first))
        for pop in system.of("pop"):
            if rng.random() < 0.5:
                assert await system.read(pop.address) == system.shown[pop.name]
                expected.append((f"pop_{pop.name}", 1))
        if rng.random() < 0.5:
            await system.read(rng.choice([r.address for r in system.registers if r.access != "pop"]))
    await system.tb.wait(3)
    assert system.pulses == expected
    assert set((await system.settings()).values()) == {0}


@cocotb.test()
async def at_once(dut):
    """Many transfers in flight on both channels: each write lands, each read shows its own register."""
    system = System(dut, 4, 0.2)
    await system.start()
    expected = {r.name: usable_value(system, r) for r in system.writable}
    writes = [cocotb.start_soon(system.write(r.address, expected[r.name])) for r in system.writable]
    reads = [(r, cocotb.start_soon(system.read(r.address))) for r in system.readable]
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
    for register in system.writable:
        await system.write(register.address, register.bits.most or register.mask(system.config))
    assert 0 not in (await system.settings()).values()
    await system.write(address_of("KV_PAGES"), MASK)
    await system.tb.reset()
    assert not harness.peek(dut.refused)
    assert set((await system.settings()).values()) == {0}
    for register in reversed(system.writable):
        assert await system.read(register.address) == 0


@cocotb.test()
async def full_speed(dut):
    """One write in three cycles, which has taken effect with its response, and one read a cycle."""
    system = System(dut, 5)
    await system.start(master=False)
    await system.tb.wait(RegisterFile.DEPTH)
    expected = {r.name: usable_value(system, r) for r in system.writable}
    dut.bus__bready.value = dut.bus__rready.value = 1
    seen = []
    order = [r for r in system.readable if r.access == "r"] * 3
    for step in range(3 * len(system.writable) + 3):
        writes, at = step < 3 * len(system.writable), step // 3
        dut.bus__awvalid.value = dut.bus__wvalid.value = int(writes)
        dut.bus__arvalid.value = int(step < len(order))
        if writes:
            dut.bus__awaddr.value = system.writable[at].address
            dut.bus__wdata.value = expected[system.writable[at].name]
            dut.bus__wstrb.value = 15
        if step < len(order):
            dut.bus__araddr.value = order[step].address
        await RisingEdge(dut.clk)
        assert harness.peek(dut.bus__awready) == int(writes and step % 3 == 0)
        assert harness.peek(dut.bus__arready)
        if harness.peek(dut.bus__rvalid):
            seen.append(harness.peek(dut.bus__rdata))
        if harness.peek(dut.bus__bvalid):
            last = system.writable[at - 1]
            assert int(port(dut, "set", last).value) == expected[last.name]
        assert harness.peek(dut.bus__bvalid) == int(step > 0 and step % 3 == 0)
    assert await system.settings() == expected
    assert seen == [system.shown[r.name] for r in order]


@cocotb.test()
async def refusals(dut):
    """The first refused write is shown; settings stay as they are until a soft reset is asked for, others do not."""
    system = System(dut, 7, 0.2)
    await system.start()
    rng = system.tb.rng
    expected = await system.settings()
    for turn in range(60):
        locked = turn % 2
        dut.locked.value = locked
        refused = []
        for register in [r for r in rng.sample(system.writable, 8) if r.name not in system.live or not refused]:
            value = usable_value(system, register) | (1 << rng.randrange(32) if rng.random() < 0.2 else 0)
            after = RegisterFile.model(system.config, register.name, expected[register.name], value,
                                       locked=locked or bool(refused))
            await system.write(register.address, value)
            if after is None:
                refused.append(register.address)
            else:
                expected[register.name] = after
        live = rng.choice([r for r in system.writable if r.name in system.live])
        expected[live.name] = usable_value(system, live)
        await system.write(live.address, expected[live.name])
        assert await system.settings() == expected
        found, address = await system.refused()
        assert found == bool(refused) and (not refused or address == refused[0])
    for register in system.writable:
        assert await system.read(register.address) == expected[register.name]


@cocotb.test()
async def control(dut):
    """Unknown bits of CONTROL are refused, and the known ones beside them; holes and read-only registers are not."""
    system = System(dut, 8)
    await system.start()
    for value in (4, 0x80000001, 0xFFFFFFFE):
        await system.write(address_of("CONTROL"), value)
        assert await system.refused() == (1, address_of("CONTROL"))
    for address in (system.holes[0], address_of("STATUS"), address_of("IRQ_STATUS")):
        await system.write(address, MASK)
        assert (await system.refused())[0] == 0
    assert [pulse for pulse in system.pulses if pulse[0] == "write_CONTROL"] == [("write_CONTROL", 2)] * 6


@cocotb.test()
async def pairs(dut):
    """Both words of a pair are of the moment in which the low one was read, until another low one is."""
    system = System(dut, 10, 0.2)
    await system.start()
    rng = system.tb.rng
    lows = [r for r in system.readable if r.name.endswith("_LO")]

    def other(name):
        return next(r for r in system.readable if r.name == name[:-3] + "_HI")

    def change():
        for register in system.readable:
            system.shown[register.name] = rng.getrandbits(32)
            port(dut, "get", register).value = system.shown[register.name]

    for _ in range(40):
        low = rng.choice(lows)
        assert await system.read(low.address) == system.shown[low.name]
        held = system.shown[other(low.name).name]
        for _ in range(3):
            change()
            assert await system.read(other(low.name).address) == held
            third = rng.choice([r for r in lows if r is not low])
            assert await system.read(other(third.name).address) == system.shown[other(third.name).name]


@pytest.mark.parametrize("config", ["nano", "slim", "kria", "many"])
def test_register_file(sim, config):
    harness.run(RegisterFile(sized(config)), __name__, sim=sim, parameters=config)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=str)
def test_table(config):
    """Masks are whole bits, every pair has its two words, and `fits` takes exactly what the words take."""
    names = [r.name for r in REGISTERS]
    assert len(set(names)) == len(names) and [r.address for r in REGISTERS] == list(range(0, 4 * len(names), 4))
    for register in REGISTERS:
        assert register.name.endswith("_HI") == bool(register.shift)
        assert usable(config, register.name) == register.mask(config)
    assert usable(config, "WINDOW_LIMIT") == (1 << config.addr_bits) - config.bus_bytes
    assert fits(config, "WINDOW_LIMIT", (1 << config.addr_bits) - config.bus_bytes)
    for value in (1 << config.addr_bits, config.bus_bytes // 2, -config.bus_bytes):
        assert not fits(config, "WINDOW_LIMIT", value)
    assert fits(config, "STOP_COUNT", 4) and not fits(config, "STOP_COUNT", 5)
    assert fits(config, "SEED", (1 << 64) - 1) and not fits(config, "SEED", 1 << 64)
    with pytest.raises(KeyError):
        usable(config, "NOTHING")
