"""Chip and link on one block RAM, with cocotbext-axi's masters: contents under stalls, whose answer is whose, speed."""

import cocotb
import harness
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiMaster, AxiResp
from scoville.board.arbiter import MemoryArbiter
from scoville.board.block_ram import BlockRam
from scoville.board.bus_access import LINK_ID
from scoville.config import get_config
from scoville.memory import axi

MEMORY = 3 << 13  # no power of two; a bank and a half


class Shared(wiring.Component):
    """The arbiter and its memory."""

    def __init__(self, config):
        self.config = config
        super().__init__({"chip": In(axi.signature(config)), "link": In(axi.signature(config))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = MemoryArbiter(self.config)
        m.submodules.memory = memory = BlockRam(self.config, MEMORY)
        connect(m, flipped(self.chip), arbiter.chip)
        connect(m, flipped(self.link), arbiter.link)
        connect(m, arbiter.memory, memory.axi)
        return m


class System:
    """Two masters, and what the memory should hold. Each has its own half: their order is not defined."""

    def __init__(self, dut, seed, stalls=0.0):
        self.word = get_config(harness.parameters()["config"]).bus_bytes
        self.tb, self.dut = harness.Bench(dut, seed), dut
        self.wanted = bytearray(MEMORY)
        self.masters = {name: AxiMaster(AxiBus.from_prefix(dut, f"{name}_"), dut.clk, dut.rst)
                        for name in ("chip", "link")}
        for master in self.masters.values():
            for side in (master.write_if, master.read_if):
                side.log.setLevel("ERROR")
            if stalls:
                for channel in (master.write_if.aw_channel, master.write_if.w_channel, master.write_if.b_channel,
                                master.read_if.ar_channel, master.read_if.r_channel):
                    channel.set_pause_generator(self.tb.rng.random() < stalls for _ in iter(int, 1))

    async def access(self, name, number, low, high, longest):
        """A random read or write of whole words, checked."""
        rng, master = self.tb.rng, self.masters[name]
        size = self.word * rng.choice([1, 1, 2, longest])
        address = low + self.word * rng.randrange((high - low - size) // self.word + 1)
        if rng.random() < 0.5:
            content = rng.randbytes(size)
            self.wanted[address:address + size] = content
            assert (await master.write(address, content, awid=number)).resp == AxiResp.OKAY
        else:
            assert bytes((await master.read(address, size, arid=number)).data) == self.wanted[address:address + size]

    async def many(self, name, number, low, high, longest, count):
        for _ in range(count):
            await self.access(name, number, low, high, longest)


async def both(dut, seed, stalls):
    system = System(dut, seed, stalls)
    await system.tb.reset()
    half = MEMORY // 2
    await system.masters["chip"].write(0, bytes(MEMORY), awid=0)
    tasks = [cocotb.start_soon(system.many("chip", 0, 0, half // 2, 100, 60)),
             cocotb.start_soon(system.many("chip", 1, half // 2, half, 30, 60)),
             cocotb.start_soon(system.many("link", LINK_ID, half, MEMORY, 1, 100))]
    for task in tasks:
        await task
    read = await system.masters["chip"].read(0, MEMORY, arid=0)
    assert bytes(read.data) == bytes(system.wanted)


@cocotb.test()
async def stalls(dut):
    await both(dut, 1, 0.3)


@cocotb.test()
async def no_stalls(dut):
    await both(dut, 2, 0)


@cocotb.test()
async def strobes_and_end(dut):
    """Bytes by strobe; past the end an error, and nothing written."""
    system = System(dut, 3)
    await system.tb.reset()
    chip = system.masters["chip"]
    await chip.write(0, bytes(range(64)), awid=0)
    await chip.write(3, b"\xff" * 7, awid=0)
    expected = bytearray(range(64))
    expected[3:10] = b"\xff" * 7
    assert bytes((await chip.read(0, 64, arid=0)).data) == expected
    for master, number in ((chip, 0), (system.masters["link"], LINK_ID)):
        assert (await master.write(MEMORY, b"x" * system.word, awid=number)).resp == AxiResp.DECERR
        assert (await master.read(MEMORY, system.word, arid=number)).resp == AxiResp.DECERR
        assert (await master.read(1 << 30, system.word, arid=number)).resp == AxiResp.DECERR
    assert bytes((await chip.read(0, 64, arid=0)).data) == expected


@cocotb.test()
async def full_speed(dut):
    """Reads and writes of the chip: a beat a cycle across bursts."""
    tb, word, burst = harness.Bench(dut, 4), get_config(harness.parameters()["config"]).bus_bytes, 16
    await tb.reset()
    size = (word - 1).bit_length()
    for channel in ("ar", "aw"):
        for field, value in (("len", burst - 1), ("size", size), ("burst", 1), ("id", 0)):
            getattr(dut, f"chip__{channel}{field}").value = value
        getattr(dut, f"chip__{channel}valid").value = 1
    dut.chip__rready.value = dut.chip__bready.value = dut.chip__wvalid.value = 1
    dut.chip__wstrb.value = (1 << word) - 1
    written, steady = 0, 20  # clocks until both directions move
    for clock in range(steady + 320):
        dut.chip__wlast.value = int(written % burst == burst - 1)
        await RisingEdge(dut.clk)
        assert harness.peek(dut.chip__rvalid) or clock < steady
        written += harness.peek(dut.chip__wready)
        if clock == steady:
            begin = written
    assert written - begin >= 318


@pytest.mark.parametrize("config", ["slim", "nano"])
def test_shared_memory(sim, config):
    harness.run(Shared(get_config(config)), __name__, sim=sim, parameters={"config": config})


def test_size():
    with pytest.raises(ValueError, match="100 bytes of block RAM are no multiple of the bus, 8 bytes"):
        BlockRam(get_config("slim"), 100)
