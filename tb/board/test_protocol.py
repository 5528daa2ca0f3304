"""The link's protocol byte by byte: what a bitstream and a host program of different days must agree on."""

import dataclasses
import struct
import zlib

import pytest
from scoville.board.protocol import (
    BUFFER,
    FRAME_REASONS,
    HEADER,
    IDENTITY,
    IDENTITY_FAULTS,
    LIMIT_REGISTERS,
    NAK,
    REPLY,
    TRAILER,
    Op,
    Reason,
    config_hash,
    frame,
    identity,
)
from scoville.config import CONFIGS, get_config
from scoville.memory.axi import LITE_ADDR_BITS


def test_frame():
    body = bytes([7, 6, 0x34, 0x12, 0x78, 0x56, 0x34, 0x12]) + b"payload"
    assert frame(7, 6, 0x1234, 0x12345678, b"payload") == body + zlib.crc32(body).to_bytes(4, "little")
    assert (HEADER.size, TRAILER.size, BUFFER) == (8, 4, 1024)
    assert zlib.crc32(b"123456789") == 0xCBF43926  # the check value of CRC-32/ISO-HDLC, which the RTL's catalogue names


def test_numbers():
    assert {op.name: int(op) for op in Op} == {
        "IDENTIFY": 1, "READ_REGISTERS": 2, "READ_FIFO": 3, "WRITE_REGISTERS": 4, "READ_MEMORY": 5, "WRITE_MEMORY": 6,
        "CRC_MEMORY": 7}
    assert {reason.name: int(reason) for reason in Reason} == {
        "FRAMING": 1, "CRC": 2, "LENGTH": 3, "TIMEOUT": 4, "BUSY": 5, "SEQUENCE": 6, "OP": 7, "SIZE": 8, "ALIGNMENT": 9,
        "RANGE": 10, "BUS": 11}
    assert {int(reason) for reason in FRAME_REASONS} == {1, 2, 3, 4, 5, 6}
    assert max(Op) < REPLY and all(op | REPLY != NAK for op in Op)  # an answer's code is no request's and no refusal
    assert LIMIT_REGISTERS == 1 << LITE_ADDR_BITS


def test_identity():
    config = get_config("slim")
    found = identity(config=config, memory_bytes=0x02000000, clock_hz=75_000_000, board="ulx3s", faults=0x01020304)
    assert found == (b"LOCS" + bytes([1, 0, 0, 4]) + (0x02000000).to_bytes(4, "little")
                     + (75_000_000).to_bytes(4, "little") + config_hash(config).to_bytes(4, "little")
                     + bytes([4, 3, 2, 1]) + b"ulx3s".ljust(16, b"\0"))
    assert len(found) == IDENTITY.size == 40
    assert struct.unpack_from("<I", found, IDENTITY_FAULTS) == (0x01020304,)
    assert identity(config=config, memory_bytes=1, clock_hz=1, board="x" * 16).endswith(b"x" * 16)
    with pytest.raises(ValueError, match="board name 'xxxxxxxxxxxxxxxxx' is longer than 16 characters"):
        identity(config=config, memory_bytes=1, clock_hz=1, board="x" * 17)


def test_a_configuration_is_known_by_every_size():
    hashes = {name: config_hash(get_config(name)) for name in CONFIGS}
    assert len(set(hashes.values())) == len(hashes)
    config = get_config("slim")
    assert config_hash(dataclasses.replace(config)) == hashes["slim"]
    for field in dataclasses.fields(config):
        other = dataclasses.replace(config)
        object.__setattr__(other, field.name, f"not {getattr(config, field.name)}")
        assert config_hash(other) != hashes["slim"], field.name
