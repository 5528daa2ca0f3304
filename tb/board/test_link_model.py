"""The link's model by hand: every refusal in its order, what it leaves alone, and what a repeat does."""

import struct
import zlib

import numpy as np
import pytest
from cobs import cobs
from link_requests import refused_requests
from scoville.board.link_model import LinkModel
from scoville.board.protocol import BUFFER, HEADER, IDENTITY, LIMIT_REGISTERS, NAK, REPLY, Op, Reason, frame
from scoville.config import get_config

MEMORY = 4096
WORD = get_config("slim").bus_bytes
SESSION = 5


class Counting(dict):
    """Registers that count what is done to them; reading takes one away, as of a FIFO."""

    def __init__(self):
        self.reads, self.writes = [], []

    def read(self, address):
        self.reads.append(address)
        return len(self.reads)

    def write(self, address, value):
        self.writes.append((address, value))


class Session:
    """A model in a session, its next sequence number, and what it answers."""

    def __init__(self, begin=True):
        self.registers, self.memory = Counting(), np.arange(MEMORY, dtype=np.uint32).astype(np.uint8)
        self.before = self.memory.copy()
        self.model = LinkModel(self.registers, self.memory, config=get_config("slim"), memory_bytes=MEMORY,
                               clock_hz=1_000_000, board="test")
        self.sequence = 200
        if begin:
            self.ask(Op.IDENTIFY, 0, SESSION)

    def ask(self, op, length, address, payload=b""):
        """The answer to the next request: code, length, address, payload."""
        found = self.model.answer(cobs.encode(frame(self.sequence, op, length, address, payload)))
        sequence, code, size, where = HEADER.unpack_from(found)
        assert sequence == self.sequence and found[-4:] == zlib.crc32(found[:-4]).to_bytes(4, "little")
        self.sequence = (self.sequence + 1) % 256
        return code, size, where, found[HEADER.size:-4]

    def untouched(self):
        return not self.registers.reads and not self.registers.writes and bool((self.memory == self.before).all())


REFUSED = refused_requests(WORD, MEMORY)


@pytest.mark.parametrize("reason", REFUSED)
def test_refused(reason):
    session = Session()
    for request in REFUSED[reason]:
        assert session.ask(*request) == (NAK, 0, reason, b""), request
    assert session.untouched() and session.model.faults == 0


def test_carried_out():
    session = Session()
    assert session.ask(Op.READ_MEMORY, BUFFER, 512) == (
        Op.READ_MEMORY | REPLY, BUFFER, 512, session.before[512:512 + BUFFER].tobytes())
    assert session.ask(Op.READ_MEMORY, WORD, MEMORY - WORD)[3] == session.before[-WORD:].tobytes()
    assert session.ask(Op.WRITE_MEMORY, 2 * WORD, WORD, b"x" * 2 * WORD) == (
        Op.WRITE_MEMORY | REPLY, 2 * WORD, WORD, b"")
    session.before[WORD:3 * WORD] = ord("x")
    assert (session.memory == session.before).all()
    crc = zlib.crc32(session.before.tobytes())
    assert session.ask(Op.CRC_MEMORY, 4, 0, struct.pack("<I", MEMORY)) == (
        Op.CRC_MEMORY | REPLY, 4, 0, crc.to_bytes(4, "little"))
    assert session.ask(Op.WRITE_REGISTERS, 8, 16, bytes(range(8)))[3] == b""
    assert session.registers.writes == [(16, 0x03020100), (20, 0x07060504)]
    assert session.ask(Op.READ_REGISTERS, 8, LIMIT_REGISTERS - 8)[3] == struct.pack("<II", 1, 2)
    assert session.ask(Op.READ_FIFO, 12, 64)[3] == struct.pack("<III", 3, 4, 5)
    assert session.registers.reads == [4088, 4092, 64, 64, 64]


def test_what_is_no_request():
    session = Session()
    whole = cobs.encode(frame(session.sequence, Op.WRITE_REGISTERS, 4, 0, bytes(4)))
    longest = frame(session.sequence, Op.WRITE_MEMORY, BUFFER + 1, 0, bytes(BUFFER + 1))
    spoiled = bytearray(cobs.decode(whole))
    spoiled[-1] ^= 1
    for stuffed, broken, reason in (
            (whole[:-1], False, Reason.FRAMING), (whole, True, Reason.FRAMING), (b"", True, Reason.FRAMING),
            (cobs.encode(bytes(11)), False, Reason.LENGTH), (cobs.encode(longest), False, Reason.LENGTH),
            (cobs.encode(bytes(spoiled)), False, Reason.CRC),
            (cobs.encode(frame(session.sequence + 1, Op.READ_FIFO, 4, 0)), False, Reason.SEQUENCE),
            (cobs.encode(frame(session.sequence - 2, Op.READ_FIFO, 4, 0)), False, Reason.SEQUENCE)):
        assert session.model.answer(stuffed, broken) == frame(200, NAK, 0, reason), reason
    assert session.model.answer(b"") is None
    assert session.untouched() and session.model.faults == 8
    code, size, where, payload = session.ask(Op.READ_FIFO, 4, 0)  # no number was used up
    assert (code, size, where, payload) == (Op.READ_FIFO | REPLY, 4, 0, struct.pack("<I", 1))


def test_sessions_and_repeats():
    session = Session(begin=False)
    nothing = cobs.encode(frame(0, Op.READ_FIFO, 4, 0))
    assert session.model.answer(nothing) == frame(0, NAK, 0, Reason.SEQUENCE)
    assert session.ask(Op.IDENTIFY, 0, SESSION)[0] == Op.IDENTIFY | REPLY
    request = cobs.encode(frame(201, Op.READ_FIFO, 4, 0))
    first = session.model.answer(request)
    assert session.model.answer(request) == first and session.registers.reads == [0]
    # The same session again changes nothing, whatever its number and payload; another one begins anew.
    again = session.model.answer(cobs.encode(frame(9, Op.IDENTIFY, 7, SESSION, b"ignored")))
    assert IDENTITY.unpack_from(again, HEADER.size)[6] == 1  # one fault, of the beginning
    assert session.model.answer(request) == first
    session.model.answer(cobs.encode(frame(201, Op.IDENTIFY, 0, SESSION + 1)))
    assert session.model.answer(request) == frame(201, NAK, 0, Reason.SEQUENCE)
    # The number after 255 is 0; a refusal for what was asked for uses one up and is repeated as well.
    session.model.answer(cobs.encode(frame(255, Op.IDENTIFY, 0, SESSION)))
    refused = cobs.encode(frame(0, Op.READ_MEMORY, WORD, MEMORY))
    assert session.model.answer(refused) == session.model.answer(refused) == frame(0, NAK, 0, Reason.RANGE)
    assert session.model.last == 0
