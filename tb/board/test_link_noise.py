"""Corrupted, cut, duplicated and interleaved frames against the RTL, from its serial line to its memory."""

import random
import struct

import numpy as np
import pytest
from cobs import cobs
from scoville.board.protocol import FRAME_REASONS, HEADER, IDENTITY, NAK, REPLY, Op, Reason, frame
from scoville_sim.boards.board import NO_STOP, VerilatedBoard
from simulators import run_seed
from small_board import BROKEN, MEMORY, TIMEOUT, Registers, small_board

FAULTS = 10_000
QUIET = TIMEOUT + 1000  # clocks: longer than the link's time-out


class Noise:
    """Spoils frames, and compares each answer, and in the end the whole memory, with the model."""

    def __init__(self, board, seed):
        self.rng = random.Random(seed)
        self.board = VerilatedBoard(board)
        self.registers, self.memory = Registers(), np.zeros(MEMORY, np.uint8)
        self.model = board.link.model(self.registers, self.memory)
        self.word = board.config.bus_bytes
        self.sequence, self.sent, self.refused = 0, [], 0

    def request(self):
        """A random request that would write if it were carried out, or read, in the session's order."""
        rng = self.rng
        words = rng.choice([1, 1, 2, 3, 6])
        address = self.word * rng.randrange(MEMORY // self.word - words + 1)
        register = 4 * rng.randrange(BROKEN // 4 - words + 1)
        op, length, where, payload = rng.choice([
            (Op.WRITE_MEMORY, self.word * words, address, rng.randbytes(self.word * words)),
            (Op.WRITE_MEMORY, self.word * words, address, rng.randbytes(self.word * words)),
            (Op.WRITE_REGISTERS, 4 * words, register, rng.randbytes(4 * words)),
            (Op.READ_MEMORY, self.word * words, address, b""),
            (Op.READ_REGISTERS, 4 * words, register, b""),
            (Op.CRC_MEMORY, 4, address, struct.pack("<I", self.word * words)),
        ])
        return cobs.encode(frame(self.next(), op, length, where, payload))

    def next(self):
        return (self.model.last + 1) % 256

    def exchange(self, items, expected, quiet=QUIET):
        """Send items; the answers have to be `expected`, and begin within `quiet` clocks."""
        self.board.send(items)
        answers = [cobs.decode(part) for part in self.board.run(quiet).split(b"\0") if part]
        assert answers == expected, (bytes(item & 255 for item in items).hex(), answers, expected)
        self.refused += sum(answer[1] == NAK and answer[4] in FRAME_REASONS for answer in answers)

    def frames(self, line, broken=False):
        """The model's answers to whole frames."""
        return [answer for part in line.split(b"\0")[:-1] if (answer := self.model.answer(part, broken))]

    def corrupt(self):
        """Bits flipped, bytes changed, lost, added."""
        line = bytearray(self.request() + b"\0")
        for _ in range(self.rng.choice([1, 1, 1, 2, 8])):
            at = self.rng.randrange(len(line) - 1)
            how = self.rng.randrange(4)
            if how == 0:
                line[at] ^= 1 << self.rng.randrange(8)
            elif how == 1:
                line[at] = self.rng.randrange(256)
            elif how == 2 and len(line) > 2:
                del line[at]
            else:
                line.insert(at, self.rng.randrange(256))
        self.in_order(bytes(line))

    def in_order(self, line):
        """Send the frames of a line one after the other, each after the answer to the last, the rest by time-out."""
        *whole, rest = line.split(b"\0")
        for part in whole:
            self.exchange(part + b"\0", self.frames(part + b"\0"))
        if rest:
            self.exchange(rest, [self.model.refuse(Reason.TIMEOUT)])

    def cut(self):
        """A frame that stops, by silence or by the next delimiter, and perhaps its rest as a frame of its own."""
        line = self.request()
        at = self.rng.randrange(1, len(line))
        self.in_order(line[:at] + (b"\0" if self.rng.random() < 0.8 else b""))
        if self.rng.random() < 0.3:
            self.in_order(line[at:] + b"\0")

    def unstopped(self):
        """A byte without its stop bit. The line stays low after it, so a pause follows."""
        line = self.request()
        at = self.rng.randrange(len(line))
        # The byte is lost, and the line is high again only with the next byte's first high bit: any frame is refused.
        self.board.send([*line[:at], line[at] | NO_STOP])
        assert self.board.run(200, 200 + 80 * (at + 1)) == b""
        self.exchange([*line[at + 1:], 0], [self.model.refuse(Reason.FRAMING)])

    def duplicate(self):
        """The last frame again is answered again; an older one is refused. Neither writes."""
        line = self.request() + b"\0"
        self.sent.append(line)
        self.exchange(line, self.frames(line))
        self.exchange(line, self.frames(line))
        old = self.rng.choice(self.sent[-100:])
        self.exchange(old, self.frames(old))

    def interleave(self):
        """Two frames' bytes mixed."""
        first, second = self.request(), self.request()
        mixed, parts = bytearray(), [bytearray(first), bytearray(second)]
        while parts[0] or parts[1]:
            chosen = self.rng.choice([part for part in parts if part])
            for _ in range(min(len(chosen), self.rng.choice([1, 2, 5]))):
                mixed.append(chosen.pop(0))
        self.in_order(bytes(mixed) + b"\0")

    def crowd(self):
        """Frames without a wait for the answer: the first is carried out, the others are refused together."""
        first = self.request()
        others = self.rng.choice([1, 2])
        expected = self.frames(first + b"\0") + [self.model.refuse(Reason.BUSY)]
        self.model.faults += others - 1
        # Three bytes each: they are over before an answer of 13 bytes or more has gone.
        self.exchange(first + b"\0" + b"\2a\0" * others, expected)


@pytest.fixture(scope="module")
def noise():
    harness = Noise(small_board(), run_seed())
    yield harness
    harness.board.close()


@pytest.mark.heavy
def test_noise(noise):
    kinds = [noise.corrupt, noise.corrupt, noise.cut, noise.unstopped, noise.duplicate, noise.interleave, noise.crowd]
    line = cobs.encode(frame(9, Op.IDENTIFY, 0, 0xABCD)) + b"\0"
    noise.exchange(line, noise.frames(line))
    counts = dict.fromkeys((kind.__name__ for kind in kinds), 0)
    for number in range(FAULTS):
        kind = noise.rng.choice(kinds)
        counts[kind.__name__] += 1
        kind()
        if number % 10 == 0:  # the link has recovered: an undamaged request is carried out
            line = noise.request() + b"\0"
            noise.exchange(line, noise.frames(line))
    for address in range(0, MEMORY, 1024):
        line = cobs.encode(frame(noise.next(), Op.READ_MEMORY, 1024, address)) + b"\0"
        noise.exchange(line, noise.frames(line), 3 * QUIET)
    for address in range(0, BROKEN, 256):
        line = cobs.encode(frame(noise.next(), Op.READ_REGISTERS, 256, address)) + b"\0"
        noise.exchange(line, noise.frames(line))
    line = cobs.encode(frame(0, Op.IDENTIFY, 0, 0xABCD)) + b"\0"
    (answer,) = noise.frames(line)
    noise.exchange(line, [answer])  # the RTL has counted every fault that the model has
    assert HEADER.unpack_from(answer)[1] == Op.IDENTIFY | REPLY
    assert IDENTITY.unpack_from(answer, HEADER.size)[6] == noise.model.faults > FAULTS / 2
    assert not noise.board.errors
    print(f"{FAULTS:,} spoiled exchanges ({counts}), {noise.model.faults} faults counted, {noise.refused} refusals, "
          f"{len(noise.memory)} bytes of memory equal, {noise.board.cycles:,} clocks")
