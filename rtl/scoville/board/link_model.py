"""The link's model: frames in, frames out, as `Link` does it."""

import struct
import zlib

from cobs import cobs

from scoville.board.protocol import (
    BUFFER,
    HEADER,
    LIMIT_REGISTERS,
    NAK,
    REPLY,
    TRAILER,
    Op,
    Reason,
    frame,
    identity,
)

__all__ = ["LinkModel"]


class LinkModel:
    """Answers frames one at a time.

    Parameters
    ----------
    registers : object with ``read(address)`` and ``write(address, value)``
    memory : uint8 array, the board's memory
    identify : keyword arguments of `protocol.identity`

    Members
    -------
    faults : frames refused for what they are (`protocol.FRAME_REASONS`)
    """

    def __init__(self, registers, memory, **identify):
        self.registers, self.memory, self.identify = registers, memory, identify
        self.word = identify["config"].bus_bytes
        self.faults, self.last, self.session, self.stored = 0, None, None, b""

    def refuse(self, reason):
        """The answer to a frame that is no request."""
        self.faults += 1
        return frame(self.last or 0, NAK, 0, reason)

    def answer(self, stuffed, broken=False):
        """The answer, before byte stuffing, to the bytes between two delimiters; None to none.

        `broken`: a byte of it had no stop bit.
        """
        if not stuffed and not broken:
            return None
        try:
            raw = cobs.decode(stuffed)
        except cobs.DecodeError:
            return self.refuse(Reason.FRAMING)
        if broken:
            return self.refuse(Reason.FRAMING)
        if not HEADER.size + TRAILER.size <= len(raw) <= HEADER.size + BUFFER + TRAILER.size:
            return self.refuse(Reason.LENGTH)
        body = raw[:-TRAILER.size]
        if TRAILER.unpack(raw[-TRAILER.size:])[0] != zlib.crc32(body):
            return self.refuse(Reason.CRC)
        sequence, op, length, address = HEADER.unpack_from(body)
        payload = body[HEADER.size:]
        if op == Op.IDENTIFY:
            if self.session != address or self.last is None:
                self.session, self.last, self.stored = address, sequence, b""
            found = identity(**self.identify, faults=self.faults)
            return frame(sequence, op | REPLY, len(found), address, found)
        if self.last is None:
            return self.refuse(Reason.SEQUENCE)
        if sequence == self.last and self.stored:
            return self.stored
        if sequence != (self.last + 1) % 256:
            return self.refuse(Reason.SEQUENCE)
        self.last = sequence
        found = self._execute(op, length, address, payload)
        self.stored = (frame(sequence, NAK, 0, found) if isinstance(found, Reason)
                       else frame(sequence, op | REPLY, length, address, found))
        return self.stored

    def _execute(self, op, length, address, payload):
        if op not in list(Op):
            return Reason.OP
        writes = op in (Op.WRITE_REGISTERS, Op.WRITE_MEMORY)
        registers = op in (Op.READ_REGISTERS, Op.READ_FIFO, Op.WRITE_REGISTERS)
        summed = op == Op.CRC_MEMORY
        span = int.from_bytes(payload[:4], "little") if summed else length
        wanted = length if writes else 4 if summed else 0
        if len(payload) != wanted or span == 0 or (length != 4 if summed else length > BUFFER):
            return Reason.SIZE
        if (address | span) % (4 if registers else self.word):
            return Reason.ALIGNMENT
        if address + span > (LIMIT_REGISTERS if registers else len(self.memory)):
            return Reason.RANGE
        where = slice(address, address + span)
        if op == Op.WRITE_MEMORY:
            self.memory[where] = list(payload)
            return b""
        if op == Op.READ_MEMORY:
            return bytes(self.memory[where])
        if summed:
            return struct.pack("<I", zlib.crc32(bytes(self.memory[where])))
        step = 0 if op == Op.READ_FIFO else 4
        words = range(length // 4)
        if writes:
            for index in words:
                self.registers.write(address + 4 * index, int.from_bytes(payload[4 * index:4 * index + 4], "little"))
            return b""
        return b"".join(struct.pack("<I", self.registers.read(address + step * index)) for index in words)
