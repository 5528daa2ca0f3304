"""The host link's protocol, as data: hardware, its model and the host's program are made from these definitions."""

import struct
import zlib
from dataclasses import asdict

from amaranth.lib import enum

__all__ = ["BUFFER", "FRAME_REASONS", "HEADER", "IDENTITY", "IDENTITY_FAULTS", "LIMIT_REGISTERS", "MAGIC", "NAK",
           "NAME_BYTES", "PROTOCOL", "REPLY", "TRAILER", "Op", "Reason", "config_hash", "frame", "identity"]

MAGIC = 0x53434F4C  # "SCOL"
PROTOCOL = 1
BUFFER = 1024  # most payload bytes of a frame
HEADER = struct.Struct("<BBHI")  # sequence number, op or answer, length, address
TRAILER = struct.Struct("<I")  # CRC-32 (zlib's) of all before it
REPLY = 0x80  # an answer's code: the op and this bit
NAK = 0xFF  # a refusal's code; its address field is the `Reason`
NAME_BYTES = 16
IDENTITY = struct.Struct(f"<IHHIIII{NAME_BYTES}s")  # see `identity`
IDENTITY_FAULTS = struct.calcsize("<IHHIII")  # where the count of refused frames is
LIMIT_REGISTERS = 4096  # bytes of the register space


class Op(enum.IntEnum, shape=8):
    """Requests. `length` counts payload bytes, of the request for writes and of the reply for reads."""

    IDENTIFY = 1  # begins a session: `address` is its number, and the sequence number counts on from this frame's
    READ_REGISTERS = 2  # words from `address` on
    READ_FIFO = 3  # words, all from the register at `address`
    WRITE_REGISTERS = 4  # words to `address` and on
    READ_MEMORY = 5  # whole bus words
    WRITE_MEMORY = 6  # whole bus words
    CRC_MEMORY = 7  # payload: u32, bytes of memory from `address` on; reply: their CRC-32


class Reason(enum.IntEnum, shape=4):
    """Why a frame was refused. Up to SEQUENCE nothing was done and no sequence number used up."""

    FRAMING = 1  # a stop bit or a block was broken
    CRC = 2
    LENGTH = 3  # shorter than header and CRC, or longer than the buffer
    TIMEOUT = 4  # the line fell silent in mid-frame
    BUSY = 5  # it came before the last answer had gone
    SEQUENCE = 6  # neither the next number nor the last, or no session has begun
    OP = 7  # no such request
    SIZE = 8  # length and payload disagree, are zero, or exceed the buffer
    ALIGNMENT = 9  # address or length is no multiple of the word
    RANGE = 10  # past the end of memory or registers
    BUS = 11  # the bus answered with an error


FRAME_REASONS = frozenset(reason for reason in Reason if reason <= Reason.SEQUENCE)


def config_hash(config):
    """CRC-32 of every size of a configuration: a bitstream and an image that agree on it fit."""
    return zlib.crc32(repr(sorted(asdict(config).items())).encode())


def identity(*, config, memory_bytes, clock_hz, board, faults=0):
    """Payload of IDENTIFY's reply: magic word, protocol version, buffer size, memory, clock, configuration, frames
    refused since reset, board."""
    name = board.encode("ascii")
    if len(name) > NAME_BYTES:
        raise ValueError(f"board name {board!r} is longer than {NAME_BYTES} characters")
    return IDENTITY.pack(MAGIC, PROTOCOL, BUFFER, memory_bytes, clock_hz, config_hash(config), faults, name)


def frame(sequence, code, length, address, payload=b""):
    """A frame before byte stuffing."""
    body = HEADER.pack(sequence, code, length, address) + payload
    return body + TRAILER.pack(zlib.crc32(body))
