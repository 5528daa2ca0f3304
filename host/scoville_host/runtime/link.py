"""The host's end of a board's serial line: requests, answers, retries. Protocol: docs/link.md."""

import errno
import secrets
import struct
import time
from dataclasses import dataclass

import serial
from cobs import cobs
from scoville.board.protocol import (
    BUFFER,
    FRAME_REASONS,
    HEADER,
    IDENTITY,
    MAGIC,
    NAK,
    PROTOCOL,
    REPLY,
    TRAILER,
    Op,
    Reason,
    frame,
)
from serial.tools import list_ports

from ..errors import ChipError, RequestError

__all__ = ["ATTEMPTS", "Identity", "SerialLink"]

ATTEMPTS = 5
WAIT = 1.0  # seconds for an answer, beside the time that its bytes and the board's work take
QUIET = 0.05  # seconds of silence after which a disturbed line counts as empty
CLOCKS_PER_BYTE = 8  # of a CRC on the board, at most


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a board says of itself: see `scoville.board.protocol.identity`."""

    buffer: int
    memory_bytes: int
    clock_hz: int
    config_hash: int
    faults: int
    board: str


class SerialLink:
    """A board on a serial port.

    Parameters
    ----------
    port : path or name, such as /dev/ttyUSB0
    baud : of the bitstream

    Members
    -------
    identity : `Identity`
    retries : requests that had to be sent again

    Raises
    ------
    RequestError
        If there is no such port, or no board of this protocol answers on it.
    """

    def __init__(self, port, baud):
        self.port, self.baud, self.retries = port, baud, 0
        self._line = b""
        self._serial = self._open()
        self._sequence = secrets.randbelow(256)
        self._session = secrets.randbits(32)
        try:
            self._send(b"\0")  # ends what an earlier program may have begun
            self._drain()
            self.identity = self._identify()
        except ChipError as error:
            self.close()
            raise RequestError(f"no board answers on {port} at {baud} baud ({error}): is it programmed, and is "
                               "this the rate of its bitstream (--baud)?") from None

    def _open(self):
        try:
            return serial.Serial(self.port, self.baud, timeout=0.1, write_timeout=10, exclusive=True)
        except serial.SerialException as error:
            there = ", ".join(sorted(found.device for found in list_ports.comports())) or "none"
            reasons = {
                errno.ENOENT: f"no serial port {self.port}; there are: {there}",
                errno.EACCES: f"no permission to open {self.port}; add yourself to its group (often dialout)",
                errno.EBUSY: f"{self.port} is in use by another program",
                errno.EAGAIN: f"{self.port} is in use by another program",
            }
            busy = "exclusively lock" in str(error)
            number = errno.EBUSY if busy else error.errno or 0
            raise RequestError(reasons.get(number, f"{self.port}: {error}")) from None
        except (ValueError, OverflowError, OSError) as error:  # what pyserial, or the kernel, says of a rate
            raise RequestError(f"{self.port} at {self.baud} baud (--baud): {error}") from None

    def close(self):
        self._serial.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    # --- bytes -------------------------------------------------------------------------------------------------------

    def _send(self, line):
        try:
            self._serial.write(line)
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from None

    def _receive(self):
        try:
            return self._serial.read(max(1, self._serial.in_waiting))
        except (serial.SerialException, OSError, TypeError) as error:  # TypeError: closed by another thread
            raise self._gone(error) from None

    def _gone(self, error):
        return ChipError(f"the connection to the board on {self.port} broke: was the cable pulled? ({error})")

    def _drain(self):
        """Take what is still on its way, until the line has been quiet for a moment."""
        quiet_from = time.monotonic()
        while time.monotonic() - quiet_from < QUIET:
            if self._receive():
                quiet_from = time.monotonic()
        self._line = b""

    def _frames(self, seconds):
        """Answers as they come, decoded, for so long; None for one that is damaged."""
        until = time.monotonic() + seconds
        while True:
            while b"\0" in self._line:
                stuffed, self._line = self._line.split(b"\0", 1)
                if stuffed:
                    yield _decode(stuffed)
            if time.monotonic() >= until:
                return
            self._line += self._receive()

    # --- requests ----------------------------------------------------------------------------------------------------

    def request(self, op, length, address, payload=b"", work=0.0, attempts=ATTEMPTS):
        """Carry out a request once, however often it has to be sent; the answer's payload.

        Parameters
        ----------
        work : seconds that the board may take beside transmission.

        Raises
        ------
        ChipError
            If the board refuses it, does not answer, or is gone.
        """
        sequence = self._sequence
        line = cobs.encode(frame(sequence, op, length, address, payload)) + b"\0"
        answered = BUFFER if op in (Op.READ_MEMORY, Op.READ_REGISTERS, Op.READ_FIFO) else 64
        seconds = WAIT + work + 2 * 10 * (len(line) + answered) / self.baud
        problem = "no answer"
        for attempt in range(attempts):
            if attempt:
                self.retries += 1
                self._send(b"\0")  # ends the frame of which the board may have only a part
                self._drain()
            self._send(line)
            for answer in self._frames(seconds):
                if answer is None:
                    problem = "its answers are damaged"
                    break
                number, code, _, where, body = answer
                if code == NAK and where == Reason.SEQUENCE:
                    raise ChipError("the board has lost the session: it was reset, or another program uses it")
                if code == NAK and where in FRAME_REASONS:
                    problem = f"it refuses what it gets ({Reason(where).name})"
                    break
                if number == sequence and code in (op | REPLY, NAK):
                    self._sequence = (sequence + 1) % 256
                    if code == NAK:
                        raise ChipError(f"the board refuses {op.name} at {address:#x}, {length} bytes: "
                                        f"{Reason(where).name}")
                    return body
        raise ChipError(f"the board on {self.port} does not answer: {problem}, {attempts} times")

    def _identify(self):
        body = self.request(Op.IDENTIFY, 0, self._session, attempts=3)
        if len(body) != IDENTITY.size:
            raise ChipError("what answers is no Scoville board")
        magic, protocol, buffer, memory, clock, config, faults, name = IDENTITY.unpack(body)
        if (magic, protocol) != (MAGIC, PROTOCOL):
            raise ChipError(f"what answers speaks protocol {protocol} of {magic:#x}, not {PROTOCOL} of {MAGIC:#x}")
        return Identity(buffer=buffer, memory_bytes=memory, clock_hz=clock, config_hash=config, faults=faults,
                        board=name.rstrip(b"\0").decode("ascii", "replace"))

    def read(self, address):
        """A register."""
        return struct.unpack("<I", self.request(Op.READ_REGISTERS, 4, address))[0]

    def write(self, address, value):
        """Write a register."""
        self.request(Op.WRITE_REGISTERS, 4, address, struct.pack("<I", value))

    def read_fifo(self, address, count):
        """A register, `count` times."""
        return struct.unpack(f"<{count}I", self.request(Op.READ_FIFO, 4 * count, address))

    def read_memory(self, address, size, step=lambda count: None):
        """Bytes of memory; both numbers multiples of the bus width. `step` is called with each count that came."""
        parts = []
        for at in range(address, address + size, BUFFER):
            parts.append(self.request(Op.READ_MEMORY, min(BUFFER, address + size - at), at))
            step(len(parts[-1]))
        return b"".join(parts)

    def write_memory(self, address, content, step=lambda count: None):
        """Write bytes to memory; address and length multiples of the bus width."""
        for at in range(0, len(content), BUFFER):
            part = content[at:at + BUFFER]
            self.request(Op.WRITE_MEMORY, len(part), address + at, part)
            step(len(part))

    def crc_memory(self, address, size):
        """CRC-32 of a stretch of memory, as `zlib.crc32` gives it."""
        work = 2 * CLOCKS_PER_BYTE * size / self.identity.clock_hz
        return struct.unpack("<I", self.request(Op.CRC_MEMORY, 4, address, struct.pack("<I", size), work))[0]


def _decode(stuffed):
    """(sequence number, code, length, address, payload) of an answer, or None if it is damaged."""
    try:
        raw = cobs.decode(stuffed)
    except cobs.DecodeError:
        return None
    if len(raw) < HEADER.size + TRAILER.size:
        return None
    header = HEADER.unpack_from(raw)
    body = raw[HEADER.size:-TRAILER.size]
    return (*header, body) if raw == frame(*header, body) else None
