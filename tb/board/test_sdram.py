"""The SDRAM controller between cocotbext-axi's manager, or the chip's reader, and a part that asserts its rules."""

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiMaster
from cocotbext.axi.constants import AxiResp
from scoville.board.sdram import SdramController
from scoville.board.sdram_timing import part, sdram_pins
from scoville.config import get_config
from scoville.memory import axi
from scoville.memory.reader import StreamReader, request_layout
from scoville_sim.chip.dram import sdram
from scoville_sim.chip.memory import MemoryTiming
from scoville_sim.chip.plain_stream import measured_limit
from sdram_part import SdramPart

CLOCK = 90_000_000
SHORT_START = {"t_init": 500}  # ns, for tests that are not about it
CASES = {
    "ulx3s": ("slim", "as4c16m16sa_7", CLOCK, 0),
    "fast": ("nano", "as4c16m16sa_7", 133_000_000, 2),  # every time is more clocks than the way of the commands
    "tangnano20k": ("slim", "gw2ar18", 66_000_000, 1),
    "slow": ("kria", "as4c16m16sa_7", 30_000_000, 0),
}


def timing_of(case, **changes):
    _, name, clock_hz, _ = CASES[case]
    return part(name, clock_hz, **SHORT_START | changes)


def controller(case):
    return SdramController(get_config(CASES[case][0]), timing_of(case), CASES[case][3])


class Streamed(wiring.Component):
    """The chip's reader on the controller."""

    def __init__(self, case):
        self.controller = controller(case)
        self.config = self.controller.config
        super().__init__({"i": In(stream.Signature(request_layout(self.config))),
                          "o": Out(stream.Signature(self.config.bus_bits)),
                          "pins": Out(sdram_pins(self.controller.timing))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = StreamReader(self.config)
        m.submodules.controller = self.controller
        bus = self.controller.axi
        m.d.comb += bus.bready.eq(1)
        for name, member in axi.read_signature(self.config).members.items():
            ours, theirs = getattr(bus, name), getattr(reader.bus, name)
            m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
        connect(m, flipped(self.i), reader.i)
        connect(m, reader.o, flipped(self.o))
        connect(m, self.controller.pins, flipped(self.pins))
        return m


class System:
    """Clock, part and whatever the bench drives."""

    def __init__(self, dut, seed):
        self.case = harness.parameters()
        self.config = get_config(CASES[self.case][0])
        self.dut, self.tb = dut, harness.Bench(dut, seed)
        self.part = SdramPart(timing_of(self.case))

    async def start(self):
        await self.tb.reset()
        self.clock = cocotb.start_soon(self._clock())

    async def _clock(self):
        """The board's I/O registers, and the part behind them."""
        delay = CASES[self.case][3]
        out, back = [], []
        names = {name: getattr(self.dut, f"pins__{name}") for name in
                 ("clk_en", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dqm", "dq_o", "dq_oe")}
        garbage = (1 << self.part.timing.width) - 1
        while True:
            await RisingEdge(self.dut.clk)
            v = {name: harness.peek(handle) for name, handle in names.items()}
            out.append({"clk_en": v["clk_en"], "cs_n": v["cs_n"],
                        "command": v["ras_n"] << 2 | v["cas_n"] << 1 | v["we_n"], "ba": v["ba"], "a": v["a"],
                        "dqm": v["dqm"], "dq": v["dq_o"], "dq_oe": v["dq_oe"]})
            if len(out) <= delay // 2:
                continue
            word = self.part.edge(**out.pop(0))
            back.append(self.tb.rng.getrandbits(self.part.timing.width) if word is None else word & garbage)
            if len(back) > delay - delay // 2:
                self.dut.pins__dq_i.value = back.pop(0)

    def contents(self, address, size):
        """Bytes of the part."""
        step = self.part.timing.word_bytes
        words = range(address // step, (address + size + step - 1) // step)
        raw = b"".join(self.part.memory[word].to_bytes(step, "little") for word in words)
        return raw[address % step:address % step + size]


async def random_traffic(dut, seed, stalls, count):
    system = System(dut, seed)
    rng, size = system.tb.rng, system.config.bus_bytes
    master = AxiMaster(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
    for one in (master.write_if, master.read_if):
        one.log.setLevel("ERROR")
    if stalls:
        for channel in (master.write_if.aw_channel, master.write_if.w_channel, master.write_if.b_channel,
                        master.read_if.ar_channel, master.read_if.r_channel):
            channel.set_pause_generator(rng.random() < stalls for _ in iter(int, 1))
    await system.start()
    timing = system.part.timing
    row = timing.word_bytes << timing.column_bits
    wanted = {}
    # Every task has its own rows, spread over banks and the ends of memory; so the order between tasks does not matter.
    bases = [0, 2 * row, 5 * row, 8 * row, timing.size_bytes // 2 + row, timing.size_bytes - 2 * row]

    async def task(base):
        for _ in range(count):
            length = rng.choice([1, size, 5 * size, rng.randrange(1, 700)])
            address = base + rng.randrange(2 * row - length + 1)
            if rng.random() < 0.5:
                content = rng.randbytes(length)
                await master.write(address, content)
                wanted.update(zip(range(address, address + length), content, strict=True))
            else:
                answer = await master.read(address, length)
                assert answer.data == bytes(wanted.get(at, 0) for at in range(address, address + length)), hex(address)

    tasks = [cocotb.start_soon(task(base)) for base in bases]
    for one in tasks:
        await one
    await system.tb.wait(20)
    assert not system.clock.done(), system.clock.result()
    for address, value in wanted.items():
        assert system.contents(address, 1)[0] == value
    assert system.part.refreshes > 10 or not stalls
    system.tb.dut._log.info("refreshes %d, widest gap %d of %d clocks", system.part.refreshes, system.part.widest_gap,
                            timing.refresh_clocks)


@cocotb.test()
async def traffic_under_stalls(dut):
    await random_traffic(dut, 1, 0.3, 60)


@cocotb.test()
async def traffic(dut):
    await random_traffic(dut, 2, 0.0, 60)


@cocotb.test()
async def refused(dut):
    system = System(dut, 3)
    master = AxiMaster(AxiBus.from_prefix(dut, "axi_"), dut.clk, dut.rst)
    await system.start()
    size, end = system.config.bus_bytes, system.part.timing.size_bytes
    await master.write(end - size, bytes(size - 1) + b"\x55")
    answer = await master.read(end, 3 * size)
    assert answer.resp == AxiResp.DECERR and answer.data == bytes(3 * size)
    assert (await master.write(end + 4 * size, bytes(2 * size))).resp == AxiResp.DECERR
    assert (await master.read(0, 1, size=0)).resp == AxiResp.SLVERR
    answer = await master.read(end - size, size)
    assert answer.resp == AxiResp.OKAY and answer.data[-1] == 0x55
    assert not system.clock.done(), system.clock.result()


@cocotb.test()
async def idle_refresh(dut):
    system = System(dut, 4)
    await system.start()
    await system.tb.wait(6 * system.part.timing.refresh_clocks)
    assert not system.clock.done(), system.clock.result()
    assert system.part.refreshes >= 8 + 5


@cocotb.test()
async def plain_stream(dut):
    """0.90 of a word a clock is the bar; the rest is refresh and what it takes to open the row again."""
    system = System(dut, 5)
    source, sink = system.tb.source("i"), system.tb.sink("o")
    await system.start()
    timing, size = system.part.timing, system.config.bus_bytes
    base = (timing.word_bytes << timing.column_bits) - 8 * size
    beats = 24 * (timing.word_bytes << timing.column_bits) // size
    words = np.random.default_rng(5).integers(1 << timing.width, size=beats * size // timing.word_bytes)
    for n, word in enumerate(words):
        system.part.memory[base // timing.word_bytes + n] = int(word)
    source.send([harness.pack(request_layout(system.config), {"address": base, "beats": beats})])
    received = await sink.receive(beats)
    assert b"".join(beat.to_bytes(size, "little") for beat in received) == system.contents(base, beats * size)
    clocks = sink.cycles[-1] - sink.cycles[0]
    share = (beats - 1) * size / timing.word_bytes / clocks
    dut._log.info("plain stream: %.4f of a word a clock over %d clocks, %d refreshes", share, clocks,
                  system.part.refreshes - 8)
    assert share >= 0.95
    # The simulator's model of the part, which `scoville memories` lists, gives a plain stream as much or a little more.
    hertz = timing.clock_hz
    model = MemoryTiming(read_latency=11, outstanding=4, dram=sdram(timing.name, hertz), chip_mhz=hertz / 1e6)
    assert -0.03 < share - measured_limit(model, size) / model.peak(size) < 0.005
    assert not system.clock.done(), system.clock.result()


@pytest.mark.parametrize("case", CASES)
def test_traffic(sim, case):
    harness.run(controller(case), __name__, sim=sim, parameters=case,
                testcase=["traffic_under_stalls", "traffic", "refused", "idle_refresh"])


@pytest.mark.parametrize("case", CASES)
def test_plain_stream(sim, case):
    harness.run(Streamed(case), __name__, sim=sim, parameters=case, testcase="plain_stream")


def test_a_clock_too_slow_is_refused():
    with pytest.raises(ValueError, match="at least"):
        SdramController(get_config("slim"), part("as4c16m16sa_7", 10_000_000))
