"""Requests that the link refuses: each field at its limits and past them, alone."""

import struct

from scoville.board.protocol import BUFFER, LIMIT_REGISTERS, Op, Reason


def refused_requests(word, memory):
    """Op, length, address and payload of requests by the reason for which they are refused.

    Parameters
    ----------
    word, memory : bytes of a bus word and of the memory
    """
    one = struct.pack("<I", word)
    writes, readers = (Op.WRITE_MEMORY, Op.WRITE_REGISTERS), (Op.READ_REGISTERS, Op.READ_FIFO)
    return {
        Reason.OP: [(0, 0, 0, b""), (8, 0, 0, b""), (0x7F, 4, 0, b""), (0x80, 4, 0, b""), (0xFF, 4, 0, b""),
                    *((Op.READ_MEMORY | 1 << bit, word, 0, b"") for bit in range(3, 8)), (8, 5, memory + 1, b"1")],
        Reason.SIZE: [
            *((op, 0, 0, b"") for op in list(Op)[1:]),
            *((op, 4, 0, bytes(4)) for op in readers), (Op.READ_MEMORY, word, 0, bytes(1)),
            *((op, BUFFER + word, 0, b"") for op in (Op.READ_REGISTERS, Op.READ_FIFO, Op.READ_MEMORY)),
            *((op, size, 0, b"") for op in (Op.READ_MEMORY, Op.READ_REGISTERS)
              for size in (0xFFF8, *(1 << bit for bit in range(BUFFER.bit_length(), 16)))),
            *((op, 2 * word, 0, bytes(size)) for op in writes for size in (0, word, 3 * word)),
            *((op, BUFFER + word, 0, bytes(BUFFER)) for op in writes),
            *((Op.CRC_MEMORY, 4, 0, payload) for payload in (b"", one[:3], one + b"\0", one + bytes(4), bytes(4))),
            *((Op.CRC_MEMORY, length, 0, one) for length in (0, 3, 5, 8)),
            (Op.READ_MEMORY, BUFFER + 1, memory + 1, b""),  # before alignment and range
        ],
        Reason.ALIGNMENT: [
            *((Op.READ_MEMORY, word, low, b"") for low in range(1, word)),
            *((Op.READ_MEMORY, word + low, 0, b"") for low in range(1, word)),
            *((Op.WRITE_MEMORY, word, low, bytes(word)) for low in (1, word // 2)),
            *((Op.WRITE_MEMORY, low, 0, bytes(low)) for low in range(1, word)),
            *((op, 4, low, b"") for op in readers for low in (1, 2, 3)),
            *((op, 4 + low, 0, b"") for op in readers for low in (1, 2, 3)),
            (Op.WRITE_REGISTERS, 4, 2, bytes(4)), (Op.WRITE_REGISTERS, 5, 0, bytes(5)),
            (Op.CRC_MEMORY, 4, word // 2, one), (Op.CRC_MEMORY, 4, 0, struct.pack("<I", word + word // 2)),
            (Op.READ_MEMORY, word, memory + 1, b""),  # before range
        ],
        Reason.RANGE: [
            *((Op.READ_MEMORY, size, address, b"") for size, address in (
                (word, memory), (2 * word, memory - word), (word, (1 << 32) - word),
                *((word, 1 << bit) for bit in range((memory - 1).bit_length(), 32)))),
            *((op, 4, 1 << bit, b"") for op in readers for bit in range(LIMIT_REGISTERS.bit_length(), 32, 3)),
            *((Op.CRC_MEMORY, 4, 0, struct.pack("<I", 1 << bit)) for bit in range(memory.bit_length(), 32)),
            *((Op.WRITE_MEMORY, size, address, bytes(size)) for size, address in (
                (word, memory), (2 * word, memory - word), (word, (1 << 32) - word), (BUFFER, (1 << 32) - BUFFER))),
            *((op, 4, LIMIT_REGISTERS, b"") for op in readers),
            *((op, 8, LIMIT_REGISTERS - 4, b"") for op in readers),
            (Op.WRITE_REGISTERS, 8, LIMIT_REGISTERS - 4, bytes(8)), (Op.WRITE_REGISTERS, 4, (1 << 32) - 4, bytes(4)),
            *((Op.CRC_MEMORY, 4, address, struct.pack("<I", size)) for size, address in (
                (memory, word), (memory + word, 0), ((1 << 32) - word, word), (1 << 31, 1 << 31), (word, memory))),
        ],
    }
