"""The board's lights and its line: each light for its own event, for a twentieth of a second after the last one."""

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from cobs import cobs
from scoville.board.block_ram import BlockRam
from scoville.board.board import Board
from scoville.board.protocol import Op, frame
from scoville.config import get_config
from scoville.memory import axi

CLOCK, BAUD = 16_500, 2_062
DIVISOR = CLOCK // BAUD
BEAT = CLOCK // 20
SIZE = 1 << 7
READS, REFUSED, REQUESTS = range(3)  # the lights


class Chip(wiring.Component):
    """No chip: it asks for a beat of memory while `reads`."""

    def __init__(self, config):
        super().__init__({"m_axi": Out(axi.signature(config)), "s_axil": In(axi.lite_signature()), "reads": In(1)})
        self.size = (config.bus_bytes - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.m_axi.arvalid.eq(self.reads), self.m_axi.arsize.eq(self.size),
                     self.m_axi.arburst.eq(axi.Burst.INCR), self.m_axi.rready.eq(1), self.m_axi.bready.eq(1)]
        return m


class System(wiring.Component):
    def __init__(self):
        config = get_config("slim")
        self.chip = Chip(config)
        self.board = Board(config, BlockRam(config, SIZE), clock_hz=CLOCK, baud=BAUD, name="lights", chip=self.chip)
        super().__init__({"rx": In(1), "tx": Out(1), "leds": Out(3), "reads": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = board = self.board
        m.d.comb += [board.rx.eq(self.rx), self.tx.eq(board.tx), self.leds.eq(board.leds),
                     self.chip.reads.eq(self.reads)]
        return m


class Line:
    """The host's end of the serial line, and what the lights did: for each light the clocks at which it was lit."""

    def __init__(self, dut, seed):
        self.dut, self.tb = dut, harness.Bench(dut, seed)
        self.lit, self.came, self.cycle = [[] for _ in range(3)], [], 0
        dut.rx.value = 1

    async def start(self):
        await self.tb.reset()
        self.cycle = 0
        cocotb.start_soon(self.watch())
        cocotb.start_soon(self.listen())

    async def watch(self):
        while True:
            await self.tb.wait(1)
            leds = harness.peek(self.dut.leds)
            for led, cycles in enumerate(self.lit):
                if leds >> led & 1:
                    cycles.append(self.cycle)
            self.cycle += 1

    async def listen(self):
        while True:
            while harness.peek(self.dut.tx):
                await self.tb.wait(1)
            await self.tb.wait(DIVISOR // 2)
            bits = []
            for _ in range(9):
                await self.tb.wait(DIVISOR)
                bits.append(harness.peek(self.dut.tx))
            assert bits[8], "a byte has a stop bit"
            self.came.append(sum(bit << place for place, bit in enumerate(bits[:8])))

    async def send(self, text):
        for byte in text:
            for bit in (0, *(byte >> place & 1 for place in range(8)), 1):
                self.dut.rx.value = bit
                await self.tb.wait(DIVISOR)

    async def read(self, clocks=1):
        self.dut.reads.value = 1
        await self.tb.wait(clocks)
        self.dut.reads.value = 0

    def dark(self, *leds):
        assert not any(self.lit[led] for led in leds), leds

    def once(self, led):
        """The light was lit for a twentieth of a second; the clock at which it began."""
        cycles, self.lit[led] = self.lit[led], []
        assert cycles == list(range(cycles[0], cycles[0] + BEAT)), (len(cycles), BEAT)
        return cycles[0]


@cocotb.test()
async def reads(dut):
    """The chip's reads: a flash for one, as long as they last for many, and from the last of two."""
    line = Line(dut, 1)
    await line.start()
    await line.tb.wait(100)
    line.dark(READS, REFUSED, REQUESTS)
    begin = line.cycle
    await line.read()
    await line.tb.wait(BEAT + 20)
    delay = line.once(READS) - begin
    assert delay == 1 + 3  # the chip reads a clock later, then three registers
    for again in (1, 2, BEAT // 2, BEAT - 1):
        begin = line.cycle
        await line.read()
        await line.tb.wait(again - 1)
        await line.read()
        await line.tb.wait(BEAT + 20)
        cycles, line.lit[READS] = line.lit[READS], []
        assert cycles == list(range(begin + delay, begin + delay + again + BEAT))
    line.dark(REFUSED, REQUESTS)
    await line.read(10)
    begin = line.cycle
    await line.tb.reset()  # puts them out at once
    await line.tb.wait(20)
    assert line.lit[READS][-1] == begin + 1


@cocotb.test()
async def requests(dut):
    """A session's begin, a request that is carried out, and their answers; a frame that is refused."""
    line, known = Line(dut, 2), System().board.link.model(None, np.zeros(SIZE, np.uint8))
    await line.start()
    for light, *request in ((None, 1, Op.IDENTIFY, 0, 7), (REQUESTS, 2, Op.READ_MEMORY, 16, SIZE - 16)):
        request = cobs.encode(frame(*request))
        line.came.clear()
        await line.send(request + b"\0")
        ended = line.cycle
        while 0 not in line.came or line.cycle < ended + BEAT + 100:
            await line.tb.wait(1)
        assert cobs.decode(bytes(line.came[:-1])) == known.answer(request)
        line.dark(*{READS, REFUSED, REQUESTS} - {light})
        if light is not None:
            assert abs(line.once(light) - ended) < 10 * DIVISOR
    await line.send(b"\3ab\0")
    ended = line.cycle
    await line.tb.wait(BEAT + 100)
    line.dark(READS, REQUESTS)
    assert abs(line.once(REFUSED) - ended) < 10 * DIVISOR


def test_board(sim):
    harness.run(System, __name__, sim=sim)


def test_baud_that_no_whole_number_of_clocks_makes():
    config = get_config("slim")
    with pytest.raises(ValueError, match="9000000 baud is 1.33 clocks of 12000000 Hz"):
        Board(config, BlockRam(config, SIZE), clock_hz=12_000_000, baud=9_000_000, chip=Chip(config))
