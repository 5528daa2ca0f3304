"""A JTAG chain of one LFE5U-85F with its flash, at a cable that speaks XVC 1.0, for programmers to be tested on."""

import socket
import struct
import threading

from ecp5_configuration import ERRORS, IDCODE, configure
from spi_flash import SpiFlash

__all__ = ["Ecp5", "VirtualChain"]

RESET, IDLE, SELECT_DR, CAPTURE_DR, SHIFT_DR, EXIT1_DR, PAUSE_DR, EXIT2_DR, UPDATE_DR = range(9)
SELECT_IR, CAPTURE_IR, SHIFT_IR, EXIT1_IR, PAUSE_IR, EXIT2_IR, UPDATE_IR = range(9, 16)
NEXT = {  # IEEE 1149.1: the state after TMS 0, and after TMS 1
    RESET: (IDLE, RESET), IDLE: (IDLE, SELECT_DR),
    SELECT_DR: (CAPTURE_DR, SELECT_IR), CAPTURE_DR: (SHIFT_DR, EXIT1_DR), SHIFT_DR: (SHIFT_DR, EXIT1_DR),
    EXIT1_DR: (PAUSE_DR, UPDATE_DR), PAUSE_DR: (PAUSE_DR, EXIT2_DR), EXIT2_DR: (SHIFT_DR, UPDATE_DR),
    UPDATE_DR: (IDLE, SELECT_DR),
    SELECT_IR: (CAPTURE_IR, RESET), CAPTURE_IR: (SHIFT_IR, EXIT1_IR), SHIFT_IR: (SHIFT_IR, EXIT1_IR),
    EXIT1_IR: (PAUSE_IR, UPDATE_IR), PAUSE_IR: (PAUSE_IR, EXIT2_IR), EXIT2_IR: (SHIFT_IR, UPDATE_IR),
    UPDATE_IR: (IDLE, SELECT_DR)}
IDCODE_PUB, USERCODE, READ_STATUS, CHECK_BUSY = 0xE0, 0xC0, 0x3C, 0xF0
ISC_ENABLE, ISC_ERASE, ISC_DISABLE, BITSTREAM_BURST, PROGRAM_SPI, REFRESH = 0xC6, 0x0E, 0x26, 0x7A, 0x3A, 0x79
COMMANDS = {ISC_ENABLE, ISC_ERASE, ISC_DISABLE, BITSTREAM_BURST, PROGRAM_SPI, REFRESH}
SPI_KEY = 0x68FE  # that PROGRAM_SPI wants before it joins JTAG and flash
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Ecp5:
    """The TAP, and the configuration port behind it.

    Parameters
    ----------
    idcode : of the part
    spoil : number of the bit of the first burst that arrives inverted; None: none
    flash : SpiFlash; from it the part configures itself on REFRESH

    Members
    -------
    received : bytes of the last burst
    commands : instructions in their order, without those that only look
    """

    def __init__(self, idcode=IDCODE, spoil=None, flash=None):
        self.idcode, self.spoil, self.flash = idcode, spoil, flash or SpiFlash()
        self.state, self.instruction = RESET, IDCODE_PUB
        self.shift, self.length = 0, 1
        self.received, self.commands = b"", []
        self.enabled = self.done = False
        self.error, self.usercode = None, 0
        self.burst = []  # (bits, how many)
        self.joined = False  # JTAG and flash
        self.byte, self.bits, self.out = 0, 0, 0  # of the flash: what came of this byte, how much, what goes out

    @property
    def status(self):
        return self.done << 8 | self.enabled << 9 | ERRORS[self.error] << 23

    def capture(self):
        registers = {IDCODE_PUB: (self.idcode, 32), USERCODE: (self.usercode, 32), READ_STATUS: (self.status, 32),
                     CHECK_BUSY: (0, 1), ISC_ENABLE: (0, 8), ISC_ERASE: (0, 8), PROGRAM_SPI: (0, 16)}
        self.shift, self.length = registers.get(self.instruction, (0, 1))

    def update_instruction(self):
        self.instruction = self.shift
        if self.instruction in COMMANDS:
            self.commands.append(self.instruction)
        if self.instruction == ISC_DISABLE:
            self.enabled = False
        elif self.instruction == REFRESH:
            self.error, self.done, self.usercode = configure(bytes(self.flash.memory), self.idcode)

    def update_data(self):
        if self.instruction == ISC_ENABLE:
            self.enabled = True
        elif self.instruction == ISC_ERASE and self.enabled and self.shift & 1:
            self.done, self.error, self.usercode = False, None, 0
        elif self.instruction == BITSTREAM_BURST and self.enabled:
            raw, bits, held = bytearray(), 0, 0
            for value, size in self.burst:
                bits, held = bits | value << held, held + size
                whole = held // 8
                raw += (bits & (1 << 8 * whole) - 1).to_bytes(whole, "little")
                bits, held = bits >> 8 * whole, held % 8
            assert held == 0
            if self.spoil is not None:
                raw[self.spoil // 8] ^= 1 << self.spoil % 8
            self.received = bytes(raw).translate(REVERSED)
            self.error, self.done, self.usercode = configure(self.received, self.idcode)
        elif self.instruction == PROGRAM_SPI and self.joined:
            self.flash.deselect()
            self.bits = 0
        elif self.instruction == PROGRAM_SPI:
            self.joined = self.shift == SPI_KEY
        self.burst = []

    def exchange(self, tdi, count):
        """`count` bits with the flash, whose bytes go most significant bit first; TDO's bits."""
        out = done = 0
        while done < count:
            if self.bits == 0:
                self.byte, self.out = 0, REVERSED[self.flash.answer()]
            now = min(8 - self.bits, count - done)
            part = (1 << now) - 1
            out |= (self.out >> self.bits & part) << done
            self.byte |= (tdi >> done & part) << self.bits
            self.bits, done = (self.bits + now) % 8, done + now
            if self.bits == 0:
                self.flash.take(REVERSED[self.byte])
        return out

    def clock(self, tms, tdi, count):
        """`count` clocks, more than one only in a state that TMS leaves as it is; TDO's bits."""
        out = 0
        if self.state == SHIFT_DR and self.instruction == PROGRAM_SPI and self.joined:
            out = self.exchange(tdi, count)
        elif self.state in (SHIFT_DR, SHIFT_IR):
            joined = self.shift | tdi << self.length
            out, self.shift = joined & (1 << count) - 1, joined >> count
            if self.state == SHIFT_DR and self.instruction == BITSTREAM_BURST:
                self.burst.append((tdi, count))
        elif self.state == CAPTURE_DR:
            self.capture()
        elif self.state == CAPTURE_IR:
            self.shift, self.length = 0x01, 8
        self.state = NEXT[self.state][tms]
        if self.state == UPDATE_DR:
            self.update_data()
        elif self.state == UPDATE_IR:
            self.update_instruction()
        elif self.state == RESET:
            self.instruction = IDCODE_PUB
        return out

    def shift_bits(self, tms, tdi, count):
        """XVC's shift; runs that stay in a state are taken at once."""
        out = at = 0
        while at < count:
            rest = tms >> at
            run = 1
            if not rest & 1 and NEXT[self.state][0] == self.state:
                run = (rest & -rest).bit_length() - 1 if rest else count - at
                run = min(run, count - at)
            out |= self.clock(rest & 1, tdi >> at & (1 << run) - 1, run) << at
            at += run
        return out


class VirtualChain:
    """An XVC server at 127.0.0.1, for a ``with`` statement; `port` is where. Without a device TDO stays high."""

    def __init__(self, device):
        self.device = device

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:  # closed
                return
            with connection, connection.makefile("rb") as stream:
                self.talk(connection, stream)

    def talk(self, connection, stream):
        while name := stream.read(2):
            if name == b"ge":
                stream.read(len("tinfo:"))
                connection.sendall(b"xvcServer_v1.0:4096\n")
            elif name == b"se":
                connection.sendall(stream.read(len("ttck:") + 4)[-4:])
            else:
                count, = struct.unpack("<I", stream.read(len("ift:") + 4)[-4:])
                size = (count + 7) // 8
                tms, tdi = (int.from_bytes(stream.read(size), "little") for _ in range(2))
                tdo = self.device.shift_bits(tms, tdi, count) if self.device else (1 << count) - 1
                connection.sendall(tdo.to_bytes(size, "little"))
