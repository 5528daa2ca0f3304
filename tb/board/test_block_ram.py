"""The block RAM alone: strobes, bursts over banks and past the end, what a read sees, speed, latency."""

from pathlib import Path

import cocotb
import harness
import numpy as np
import pytest
import scoville_sim
from axi_channels import Channels, layouts
from cocotbext.axi import AxiBus, AxiMaster, AxiResp
from scoville.board import block_ram
from scoville.board.block_ram import BlockRam
from scoville.config import get_config
from scoville.memory import axi
from scoville.vendor.ecp5_blocks import Ecp5Blocks

ECP5_CELLS = Path(scoville_sim.__file__).parent / "boards" / "trellis_cells.v"
BANK = 64  # words of a bank here, so that bursts cross them
BEYOND = 256  # words, the last of them past the end: as far as a burst may go from address 0
READ_LATENCY, WRITE_LATENCY = 5, 1  # cycles between; the docstring's six and two count the first as well


class System:
    """Sources and sinks on all channels, and what the memory should hold."""

    def __init__(self, dut, seed, stalls=0.0):
        self.config = config = get_config(harness.parameters()["config"])
        self.words, self.size = harness.parameters()["words"], config.bus_bytes
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.np_rng
        tb.dut = Channels(dut)
        self.ar, self.aw, self.w = (tb.source(name, stalls) for name in ("ar", "aw", "w"))
        self.r, self.b = (tb.sink(name, stalls) for name in ("r", "b"))
        self.r.timeout = self.b.timeout = 2000
        self.layouts = layouts(config)
        self.content = np.zeros((self.words, self.size), np.uint8)
        self.wanted = {"r": [], "b": []}

    async def start(self):
        """Reset, and everything overwritten: a reset leaves what the test before wrote."""
        await self.tb.reset()
        self.write(0, self.words, strobes=np.ones((self.words, self.size), bool))
        await self.check()

    def _pack(self, channel, **fields):
        return harness.pack(self.layouts[channel], fields)

    def _want(self, channel, **fields):
        self.wanted[channel].append(fields)

    def _address(self, channel, word, beats):
        identity = int(self.rng.integers(1 << axi.ID_BITS))
        getattr(self, channel).send([self._pack(
            channel, addr=word * self.size, len=beats - 1, size=(self.size - 1).bit_length(),
            burst=axi.Burst.INCR.value, id=identity)])
        return identity

    def read(self, word, beats):
        """A burst of reads, which sees all that was written by the calls before."""
        identity = self._address("ar", word, beats)
        for at in range(word, word + beats):
            there = at < self.words
            value = int.from_bytes(self.content[at].tobytes(), "little") if there else None
            self._want("r", data=value, id=identity, resp=(axi.Resp.OKAY if there else axi.Resp.DECERR).value,
                       last=at == word + beats - 1)

    def write(self, word, beats, strobes=None):
        """A burst of random bytes, by default with random strobes."""
        identity = self._address("aw", word, beats)
        values = self.rng.integers(256, size=(beats, self.size), dtype=np.uint8)
        if strobes is None:
            strobes = self.rng.random((beats, self.size)) < self.rng.choice([0, 0.5, 1], (beats, 1))
        for beat, (value, strobe) in enumerate(zip(values, strobes, strict=True)):
            self.w.send([self._pack("w", data=int.from_bytes(value.tobytes(), "little"), last=beat == beats - 1,
                                    strb=sum(int(bit) << n for n, bit in enumerate(strobe)))])
            if word + beat < self.words:
                self.content[word + beat] = np.where(strobe, value, self.content[word + beat])
        self._want("b", id=identity, resp=(axi.Resp.OKAY if word + beats <= self.words else axi.Resp.DECERR).value)

    async def check(self):
        """Wait for all that is owed, in order and to the last bit; the data of an error is anything."""
        for name, sink in (("r", self.r), ("b", self.b)):
            got = await sink.receive(len(self.wanted[name]))
            for place, (packed, wanted) in enumerate(zip(got, self.wanted[name], strict=True)):
                found = harness.unpack(self.layouts[name], packed)
                if wanted.get("data", 0) is None:
                    found["data"] = None
                assert found == wanted, (name, place, found, wanted)
            self.wanted[name].clear()

    def pieces(self, longest):
        """(word, beats) of bursts that do not overlap, over all of the memory and past its end, in random order."""
        cuts, at = [], 0
        while at < BEYOND:
            cuts.append((at, min(int(self.rng.choice([1, 1, 2, self.rng.integers(1, longest + 1)])), BEYOND - at)))
            at += cuts[-1][1]
        return [cuts[n] for n in self.rng.permutation(len(cuts))]

    def far(self):
        """A burst at an address whose low bits are those of a word of the memory."""
        high = 1 << int(self.rng.integers(BEYOND.bit_length(), self.config.addr_bits - (self.size - 1).bit_length()))
        return high + int(self.rng.integers(BEYOND // 2)), int(self.rng.integers(1, 5))


async def traffic(dut, seed, stalls, rounds):
    """Reads and writes at once, of different words; a round's reads see what the rounds before wrote."""
    system = System(dut, seed, stalls)
    await system.start()
    for _ in range(rounds):
        for word, beats in [*system.pieces(50), system.far(), system.far()]:
            (system.write if system.rng.random() < 0.5 else system.read)(word, beats)
        await system.check()
    system.read(0, BEYOND)
    await system.check()


@cocotb.test()
async def random_stalls(dut):
    await traffic(dut, 1, 0.4, 8)


@cocotb.test()
async def no_stalls(dut):
    await traffic(dut, 2, 0.0, 8)


@cocotb.test()
async def full_speed(dut):
    """Bursts of any length back to back, both ways at once: a beat a cycle each."""
    system = System(dut, 3)
    await system.start()
    half = system.words // 2
    for low, high in ((0, half), (half, 0)):
        for sink in (system.ar, system.w, system.r):
            sink.cycles.clear()
        for word, beats in system.pieces(9):
            if word + beats <= half:
                system.read(low + word, beats)
                system.write(high + word, beats)
        await system.check()
        for cycles in (system.r.cycles, system.w.cycles):
            assert len(cycles) > half // 2 and set(np.diff(cycles)) == {1}
        assert system.r.cycles[0] - system.ar.cycles[0] == READ_LATENCY


@cocotb.test()
async def latency(dut):
    """Of a single read and a single write, in every bank."""
    system = System(dut, 4)
    await system.start()
    for word in (*range(0, system.words, BANK), system.words - 1, system.words):
        system.read(word, 1)
        system.write(word, 1)
        await system.check()
        assert system.r.cycles[-1] - system.ar.cycles[-1] == READ_LATENCY
        assert system.b.cycles[-1] - system.w.cycles[-1] == WRITE_LATENCY


@cocotb.test()
async def reads_see_what_was_answered(dut):
    """A read whose address is taken in the cycle of a write's response, and in each of the next, has its data."""
    system = System(dut, 5)
    await system.start()
    for word in map(int, system.rng.integers(system.words, size=12)):
        for later in range(3):
            system.write(word, 1)
            await system.tb.wait(2 + later)
            system.read(word, 1)
            await system.check()
            assert system.ar.cycles[-1] - system.b.cycles[-1] == later


@cocotb.test()
async def slow_reader(dut):
    """A queue that fills is neither overrun nor a hole in the stream once it is emptied; writes go on meanwhile."""
    system = System(dut, 6)
    await system.start()
    half = system.words // 2
    system.r.stalls = 1.0
    system.read(0, half)
    await system.tb.wait(half)
    system.write(half, half)
    await system.tb.wait(half + 20)
    assert len(system.b.received) == 2 and len(system.w.cycles) == system.words + half
    assert set(np.diff(system.w.cycles[-half:])) == {1}
    system.r.stalls = 0.0
    await system.check()
    assert set(np.diff(system.r.cycles)) == {1}
    system.read(0, system.words)
    await system.check()


@cocotb.test()
async def slow_writer(dut):
    """A response nobody takes holds the next burst, and not the reads."""
    system = System(dut, 7)
    await system.start()
    system.b.stalls = 1.0
    for word in (1, 3):
        system.write(word, 2)
    await system.tb.wait(20)
    assert len(system.w.accepted) == system.words + 2
    system.read(5, 3)
    await system.tb.wait(20)
    assert len(system.r.received) == 3
    system.b.stalls = 0.0
    await system.check()
    system.read(0, system.words)
    await system.check()


@cocotb.test(timeout_time=200, timeout_unit="us")
async def another_manager(dut):
    """cocotbext-axi's: any bytes from several tasks at once, each with bytes of its own, under pauses."""
    size = harness.parameters()["words"] * get_config(harness.parameters()["config"]).bus_bytes
    tb, master = harness.Bench(dut, 8), AxiMaster(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
    for side, channels in ((master.write_if, ("aw", "w", "b")), (master.read_if, ("ar", "r"))):
        side.log.setLevel("ERROR")
        for name in channels:
            getattr(side, f"{name}_channel").set_pause_generator(tb.rng.random() < 0.3 for _ in iter(int, 1))
    await tb.reset()
    await master.write(0, bytes(size))
    wanted = bytearray(size)

    async def task(low, high):
        for _ in range(25):
            length = tb.rng.choice([1, 3, tb.rng.randrange(1, high - low + 1)])
            address = low + tb.rng.randrange(high - low - length + 1)
            if tb.rng.random() < 0.6:
                wanted[address:address + length] = content = tb.rng.randbytes(length)
                assert (await master.write(address, content)).resp == AxiResp.OKAY
            else:
                assert (await master.read(address, length)).data == wanted[address:address + length]

    cuts = [0, *sorted(tb.rng.sample(range(8, size - 8), 2)), size]  # within words: strobes keep the neighbours
    for one in [cocotb.start_soon(task(*ends)) for ends in zip(cuts, cuts[1:], strict=False)]:
        await one
    assert (await master.read(0, size)).data == wanted
    assert (await master.write(size - 1, bytes(2))).resp == AxiResp.DECERR


SIZES = pytest.mark.parametrize(("config", "words"), [
    ("nano", 3 * BANK + 24), ("slim", 3 * BANK + 24), ("slim", BANK)])


def run(sim, config, words, monkeypatch, **options):
    monkeypatch.setattr(block_ram, "BANK_WORDS", BANK)
    chip = get_config(config)
    harness.run(BlockRam(chip, words * chip.bus_bytes), __name__, sim=sim,
                parameters={"config": config, "words": words}, **options)


@SIZES
def test_block_ram(sim, config, words, monkeypatch):
    run(sim, config, words, monkeypatch)


@pytest.mark.one_is_enough
@SIZES
def test_ecp5_block_ram(config, words, monkeypatch):
    run("icarus", config, words, monkeypatch, platform=Ecp5Blocks(), cells=[ECP5_CELLS])
