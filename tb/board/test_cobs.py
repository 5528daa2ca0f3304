"""Byte stuffing against PyPI's cobs: random frames and noise, stalls, a byte a cycle."""

import cocotb
import harness
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from cobs import cobs
from scoville.board.cobs import CobsDecoder, CobsEncoder, decoded_layout, encoded_bytes

DEPTH = 2048


def frames(rng, count):
    """Random frames: short and long, with many zeros and none."""
    found = [b"\0", b"a" * 253, b"a" * 254, b"a" * 255, b"b" * 254 + b"\0", bytes(600), b"c" * 700]
    for _ in range(count):
        length = rng.choice([1, 5, 40, 300])
        found.append(bytes(rng.choice([0, rng.randrange(256), rng.randrange(1, 256)]) for _ in range(length)))
    return found


def reference(line):
    """What the decoder gives for the bytes of a line: (data, end, broken) items."""
    items = []
    for part in line.split(b"\0")[:-1]:
        if not part:
            continue
        left, zero = 0, False
        for byte in part:
            if left:
                items.append((byte, 0, 0))
                left -= 1
            else:
                if zero:
                    items.append((0, 0, 0))
                left, zero = byte - 1, byte != 255
        items.append((0, 1, int(left != 0)))
        if not left:
            data = bytes(item[0] for item in items[-1 - len(cobs.decode(part)):-1])
            assert data == cobs.decode(part)
    return items


async def decode(dut, seed, stalls):
    tb = harness.Bench(dut, seed)
    source, sink = tb.source("i", stalls), tb.sink("o", stalls)
    await tb.reset()
    line = b"".join(cobs.encode(frame) + b"\0" * tb.rng.choice([1, 1, 2]) for frame in frames(tb.rng, 10))
    line += tb.rng.randbytes(2000) + b"\0"
    source.send(line)
    expected = reference(line)
    found = [harness.unpack(decoded_layout, item) for item in await sink.receive(len(expected))]
    assert [(0 if each["end"] else each["data"], each["end"], each["end"] and each["broken"]) for each in found
            ] == expected
    await source.drain()
    if not stalls:
        assert source.cycles[-1] - source.cycles[0] == len(line) - 1


@cocotb.test()
async def decoder_stalls(dut):
    await decode(dut, 1, 0.4)


@cocotb.test()
async def decoder_full_speed(dut):
    await decode(dut, 2, 0)


class Encoder(wiring.Component):
    """The encoder and its memory."""

    def __init__(self):
        encoder = CobsEncoder(DEPTH).signature.members
        super().__init__({"start": In(1), "i": encoder["i"], "end": encoder["end"], "done": Out(1),
                          "at": In(range(DEPTH)), "byte": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.encoder = encoder = CobsEncoder(DEPTH)
        m.submodules.ram = ram = memory.Memory(shape=8, depth=DEPTH, init=[])
        write, read = ram.write_port(), ram.read_port()
        connect(m, flipped(self.i), encoder.i)
        m.d.comb += [
            write.addr.eq(encoder.address), write.data.eq(encoder.data), write.en.eq(encoder.en), read.addr.eq(self.at),
            self.byte.eq(read.data), encoder.start.eq(self.start), encoder.base.eq(100), self.end.eq(encoder.end),
            self.done.eq(encoder.done),
        ]
        return m


async def encode(dut, seed, stalls):
    tb = harness.Bench(dut, seed)
    source = tb.source("i", stalls)
    await tb.reset()
    for frame in frames(tb.rng, 6):
        dut.start.value = 1
        await tb.wait(1)
        dut.start.value = 0
        await tb.wait(1)
        source.send(byte | (index == len(frame) - 1) << 8 for index, byte in enumerate(frame))
        await source.drain()
        if not stalls:  # a byte a cycle, and a cycle for each full block
            taken = source.cycles[-1] - source.cycles[-len(frame)]
            assert taken <= len(frame) - 1 + len(frame) // 254
        while not harness.peek(dut.done):
            await tb.wait(1)
        end, line = harness.peek(dut.end), bytearray()
        for at in range(100, end):
            dut.at.value = at
            await tb.wait(2)
            line.append(harness.peek(dut.byte))
        assert line[-1] == 0 and 0 not in line[:-1]
        assert cobs.decode(bytes(line[:-1])) == frame
        assert len(line) <= encoded_bytes(len(frame))


@cocotb.test()
async def encoder_stalls(dut):
    await encode(dut, 3, 0.4)


@cocotb.test()
async def encoder_full_speed(dut):
    await encode(dut, 4, 0)


def test_decoder(sim):
    harness.run(CobsDecoder(), __name__, sim=sim, testcase=["decoder_stalls", "decoder_full_speed"])


def test_encoder(sim):
    harness.run(Encoder(), __name__, sim=sim, testcase=["encoder_stalls", "encoder_full_speed"])
