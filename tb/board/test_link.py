"""The link against its model: every request and refusal, repeats, resynchronisation, speed of the answers."""

import struct

import cocotb
import harness
import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cobs import cobs
from link_requests import refused_requests
from scoville.board.arbiter import MemoryArbiter
from scoville.board.block_ram import BlockRam
from scoville.board.link import Link
from scoville.board.protocol import BUFFER, HEADER, NAK, Op, Reason, frame
from scoville.config import get_config
from small_board import BROKEN, CLOCK, MEMORY, TIMEOUT, Registers, SmallChip


class System(wiring.Component):
    """The link, without a line, on memory that the chip reads as well."""

    def __init__(self, config):
        self.config = config
        self.link = Link(config, memory_bytes=MEMORY, clock_hz=CLOCK, board="test", timeout=TIMEOUT)
        members = self.link.signature.members
        super().__init__({"i": members["i"], "o": members["o"], "line_error": In(1), "fault": Out(1),
                          "active": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = self.link
        m.submodules.chip = chip = SmallChip(self.config)
        m.submodules.arbiter = arbiter = MemoryArbiter(self.config)
        m.submodules.memory = memory = BlockRam(self.config, MEMORY)
        connect(m, flipped(self.i), link.i)
        connect(m, link.o, flipped(self.o))
        connect(m, link.registers, chip.s_axil)
        connect(m, chip.m_axi, arbiter.chip)
        connect(m, link.memory, arbiter.link)
        connect(m, arbiter.memory, memory.axi)
        m.d.comb += [link.line_error.eq(self.line_error), self.fault.eq(link.fault),
                     self.active.eq(link.active)]
        return m


class Host:
    """Sends to the RTL and to the model, and compares the answers."""

    def __init__(self, dut, seed, stalls=0.0):
        self.dut, self.tb = dut, harness.Bench(dut, seed)
        config = get_config(harness.parameters()["config"])
        self.word = config.bus_bytes
        self.memory = np.zeros(MEMORY, np.uint8)
        link = Link(config, memory_bytes=MEMORY, clock_hz=CLOCK, board="test", timeout=TIMEOUT)
        self.model = link.model(Registers(), self.memory)
        self.source, self.sink = self.tb.source("i", stalls), self.tb.sink("o", stalls)
        self.sequence = 0
        self.pulses, self.executed = {"fault": 0, "active": 0}, 0
        self._execute, self.model._execute = self.model._execute, self._counted
        self.tb.each_cycle(self._watch)

    def _counted(self, *request):
        self.executed += 1
        return self._execute(*request)

    def _watch(self):
        for name in self.pulses:
            self.pulses[name] += harness.peek(getattr(self.dut, name))

    def check(self):
        """A pulse for each fault and for each request that was carried out."""
        assert self.pulses == {"fault": self.model.faults, "active": self.executed}

    async def start(self, session=77, first=0):
        """Begin a session and clear the memory that the tests look at: a reset leaves it as the test before did."""
        self.sequence = first
        await self.tb.reset()
        await self.ask(Op.IDENTIFY, 0, session)
        await self.ask(Op.WRITE_MEMORY, BUFFER, 0, bytes(BUFFER))

    async def answer(self):
        """The next frame from the RTL, decoded."""
        line = []
        while not line or line[-1]:
            line += await self.sink.receive(1)
        return cobs.decode(bytes(line[:-1]))

    async def exchange(self, line, broken=False):
        """Send the bytes of a frame; the answer, which is the model's."""
        self.source.send(line + b"\0")
        if broken:
            await self.tb.wait(2)
            self.dut.line_error.value = 1
            await self.tb.wait(1)
            self.dut.line_error.value = 0
        found = await self.answer()
        assert found == self.model.answer(line, broken)
        return found

    async def ask(self, op, length, address, payload=b""):
        found = await self.exchange(cobs.encode(frame(self.sequence, op, length, address, payload)))
        self.sequence = (self.sequence + 1) % 256
        return found

    async def refused(self, reason, *request):
        sequence, code, length, address = HEADER.unpack_from(await self.ask(*request))
        assert (code, length, address) == (NAK, 0, reason)


@cocotb.test()
async def refusals(dut):
    """Every reason, and that nothing was written."""
    host = Host(dut, 2)
    await host.tb.reset()
    word = host.word
    await host.exchange(cobs.encode(frame(1, Op.READ_REGISTERS, 4, 0)))  # no session
    await host.ask(Op.IDENTIFY, 0, 5)
    await host.ask(Op.WRITE_MEMORY, BUFFER, 0, bytes(BUFFER))
    for reason, requests in refused_requests(word, MEMORY).items():
        for request in requests:
            await host.refused(reason, *request)
    request = cobs.encode(frame(host.sequence, Op.WRITE_MEMORY, word, 0, b"x" * word))
    await host.exchange(request[:-1])
    await host.exchange(request[:8])
    await host.exchange(request[:-1] + b"\x7f")
    await host.exchange(request, broken=True)
    await host.exchange(cobs.encode(frame(host.sequence, Op.WRITE_MEMORY, BUFFER + 1, 0, bytes(BUFFER + 1))))
    await host.exchange(cobs.encode(frame(host.sequence + 1, Op.WRITE_MEMORY, word, 0, b"x" * word)))
    await host.ask(Op.IDENTIFY, 0, 5)  # the same session: the sequence stays
    host.sequence -= 1
    for address in (BROKEN, BROKEN - 4):  # the model's registers know no errors
        for op, payload in ((Op.READ_REGISTERS, b""), (Op.WRITE_REGISTERS, bytes(8))):
            host.source.send(cobs.encode(frame(host.sequence, op, 8, address, payload)) + b"\0")
            assert await host.answer() == frame(host.sequence, NAK, 0, Reason.BUS)
            host.sequence += 1
            host.executed += 1
    host.model.last = host.sequence - 1
    await host.ask(Op.READ_MEMORY, BUFFER, 0)
    assert not host.memory.any()
    host.check()


@cocotb.test()
async def repeats(dut):
    """A repeated request is answered again and not carried out again."""
    host = Host(dut, 3, 0.3)
    await host.start()
    request = cobs.encode(frame(2, Op.WRITE_REGISTERS, 4, 8, b"\1\0\0\0"))
    first = await host.exchange(request)
    await host.exchange(cobs.encode(frame(3, Op.READ_REGISTERS, 4, 8)))
    host.model.registers[8] = 9  # the model's register changes, the RTL's does not: a repeat must not look
    assert await host.exchange(cobs.encode(frame(3, Op.READ_REGISTERS, 4, 8))) != first
    await host.exchange(b"\5noise")
    await host.exchange(cobs.encode(frame(3, Op.READ_REGISTERS, 4, 8)))
    await host.exchange(request)  # older than the last: refused
    host.check()


@cocotb.test()
async def sessions(dut):
    """Another session, by any bit of its number, begins with its own sequence number; the same one goes on."""
    host = Host(dut, 9)
    rng, session, word = host.tb.rng, host.tb.rng.getrandbits(32), host.word
    await host.start(session)

    def identify(number):
        return host.exchange(cobs.encode(frame(number, Op.IDENTIFY, 0, session)))

    for bit in [None, *range(32)]:
        session ^= 0 if bit is None else 1 << bit
        host.sequence = rng.choice([255, 127, 63, 15, rng.randrange(256)])
        await identify(host.sequence)
        await host.exchange(cobs.encode(frame(host.sequence, Op.READ_MEMORY, word, 0)))  # nothing to be repeated
        host.sequence = (host.sequence + 1) % 256
        request = cobs.encode(frame(host.sequence, Op.READ_MEMORY, word, 0))
        await host.exchange(request)
        await identify(host.sequence ^ 1 << rng.randrange(8))
        await host.exchange(request)
        await host.exchange(cobs.encode(frame(host.sequence ^ 1 << rng.randrange(1, 8), Op.READ_MEMORY, word, 0)))
    host.check()


@cocotb.test()
async def requests(dut):
    """Random requests of all kinds, at all sizes."""
    host = Host(dut, 1, 0.2)
    await host.start()
    for address in range(BUFFER, MEMORY, BUFFER):
        await host.ask(Op.WRITE_MEMORY, BUFFER, address, bytes(BUFFER))
    rng = host.tb.rng
    for _ in range(40):
        write = rng.random() < 0.5
        if rng.random() < 0.4:
            words = rng.choice([1, 1, 3, BUFFER // 4 if rng.random() < 0.1 else 2])
            address = 4 * rng.randrange(BROKEN // 4 - words + 1)
            op = Op.WRITE_REGISTERS if write else rng.choice([Op.READ_REGISTERS, Op.READ_FIFO])
            await host.ask(op, 4 * words, address, rng.randbytes(4 * words) if write else b"")
        else:
            words = rng.choice([1, 2, 5, BUFFER // host.word if rng.random() < 0.3 else 4])
            address = host.word * rng.randrange(MEMORY // host.word - words + 1)
            size = host.word * words
            if rng.random() < 0.2:
                await host.ask(Op.CRC_MEMORY, 4, address, struct.pack("<I", size))
            else:
                await host.ask(Op.WRITE_MEMORY if write else Op.READ_MEMORY, size, address,
                               rng.randbytes(size) if write else b"")
    for address in (0, MEMORY // 2):
        await host.ask(Op.CRC_MEMORY, 4, address, struct.pack("<I", MEMORY // 2))
    host.check()


@cocotb.test()
async def lengths(dut):
    """Every bit of a length, written and read, and the same long answer again."""
    host = Host(dut, 11)
    await host.start()
    for bit in range(host.word.bit_length() - 1, BUFFER.bit_length()):
        size = 1 << bit
        address = host.word * host.tb.rng.randrange((MEMORY - size) // host.word + 1)
        await host.ask(Op.WRITE_MEMORY, size, address, host.tb.rng.randbytes(size))
        first = await host.ask(Op.READ_MEMORY, size, address)
        host.sequence -= 1
        assert await host.ask(Op.READ_MEMORY, size, address) == first
    host.check()


@cocotb.test()
async def many_faults(dut):
    """They are counted past a byte."""
    host = Host(dut, 10)
    await host.start()
    for _ in range(520):
        await host.exchange(b"\2a")
    await host.ask(Op.IDENTIFY, 0, 1)
    host.check()


@cocotb.test()
async def silence(dut):
    """A frame that stops is refused after the time-out, and what follows is understood."""
    host = Host(dut, 4)
    await host.start()
    host.source.send(b"\7abc")
    await host.source.drain()
    start = host.tb.cycle
    assert await host.answer() == host.model.refuse(Reason.TIMEOUT)
    assert TIMEOUT <= host.tb.cycle - start < TIMEOUT + 200
    # Each byte is heard, and no silence is too long outside of a frame.
    await host.tb.wait(2 * TIMEOUT)
    line = cobs.encode(frame(host.sequence, Op.READ_MEMORY, host.word, 0)) + b"\0"
    for byte in line[:4]:
        host.source.send([byte])
        await host.tb.wait(TIMEOUT - 50)
    host.source.send(line[4:])
    assert await host.answer() == host.model.answer(line[:-1])
    host.sequence += 1
    # A frame that is dropped and stops.
    host.source.send(cobs.encode(frame(host.sequence, Op.READ_MEMORY, host.word, 0)) + b"\0\7abc")
    assert await host.answer() == host.model.answer(cobs.encode(frame(host.sequence, Op.READ_MEMORY, host.word, 0)))
    assert await host.answer() == host.model.refuse(Reason.TIMEOUT)
    host.sequence += 1
    await host.ask(Op.IDENTIFY, 0, 1)
    assert len(host.sink.received) == host.sink._taken
    host.check()


@cocotb.test()
async def busy(dut):
    """Frames that come before an answer has gone are refused, in one answer, and counted."""
    host = Host(dut, 5)
    await host.start()
    request = cobs.encode(frame(2, Op.CRC_MEMORY, 4, 0, struct.pack("<I", 1024)))
    host.source.send(request + b"\0" + b"\3ab\0" * 3)
    assert await host.answer() == host.model.answer(request)
    assert await host.answer() == host.model.refuse(Reason.BUSY)
    host.model.faults += 2
    await host.ask(Op.IDENTIFY, 0, 1)
    host.check()


async def after_a_dropped_frame(dut, seed, disturb):
    """What a frame that comes while a dropped one is being refused meets: it is refused too, or carried out.

    `disturb(host, request)`, at any of the clocks about the end of an answer; then the request must be carried out.
    """
    host = Host(dut, seed)
    await host.start(first=200)
    for later in range(20, 90):
        first = cobs.encode(frame(host.sequence, Op.WRITE_REGISTERS, 4, 8, struct.pack("<I", later)))
        second = cobs.encode(frame((host.sequence + 1) % 256, Op.READ_REGISTERS, 4, 8))
        host.sequence = (host.sequence + 2) % 256
        host.source.send(first + b"\0" + b"\3ab\0")
        await host.source.drain()
        await host.tb.wait(later)
        await disturb(host, second + b"\0")
        await host.tb.wait(400)  # the answers have gone
        line = bytes(await host.sink.receive(len(host.sink.received) - host.sink._taken))
        answers = [cobs.decode(part) for part in line.split(b"\0")[:-1]]
        assert answers.pop(0) == host.model.answer(first)
        busy = host.model.refuse(Reason.BUSY)
        retried = await host.exchange(second)  # the model's answer
        assert answers.count(busy) >= 1 and set(answers) <= {busy, retried}, (later, answers)


@cocotb.test()
async def a_frame_at_any_time(dut):
    async def disturb(host, request):
        host.source.send(request)

    await after_a_dropped_frame(dut, 7, disturb)


@cocotb.test()
async def a_lost_byte_in_a_dropped_frame(dut):
    async def disturb(host, request):
        host.source.send(request[:5])
        await host.source.drain()
        host.dut.line_error.value = 1
        await host.tb.wait(1)
        host.dut.line_error.value = 0
        host.source.send(request[5:])

    await after_a_dropped_frame(dut, 8, disturb)


@cocotb.test()
async def full_speed(dut):
    """The bytes of an answer follow each other in two cycles: faster than any line."""
    host = Host(dut, 6)
    await host.start()
    await host.ask(Op.READ_MEMORY, BUFFER, 0)
    cycles = host.sink.cycles[-BUFFER:]
    assert cycles[-1] - cycles[0] == 2 * (BUFFER - 1)


@pytest.mark.parametrize("config", ["slim", "nano"])
def test_link(sim, config):
    """Icarus, which is slow, leaves out the two that go through a frame's every position."""
    short = ["requests", "refusals", "repeats", "sessions", "lengths", "silence", "busy", "full_speed"]
    harness.run(System(get_config(config)), __name__, sim=sim, parameters={"config": config},
                testcase=short if sim == "icarus" else None)
