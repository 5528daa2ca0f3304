"""A serial flash of 16 MiB, IS25LP128, as a programmer sees it."""

__all__ = ["SpiFlash"]

ID = bytes.fromhex("9d6018")
PAGE, WRITE_ENABLE, READ_STATUS, READ_ID = 256, 0x06, 0x05, 0x9F
READ, PROGRAM, ERASES = 0x03, 0x02, {0x20: 1 << 12, 0xD8: 1 << 16}
WEL = 2  # write enable latch


class SpiFlash:
    """`answer`, then `take`, for each byte while it is selected; `deselect` carries the command out, at once.

    Programming clears bits and never sets one, needs the write enable latch each time, and wraps inside its page.

    Parameters
    ----------
    stuck : address of a byte that cannot be programmed; None: none
    """

    def __init__(self, stuck=None):
        self.memory, self.stuck = bytearray(b"\xff" * (1 << 24)), stuck
        self.status, self.command = 0, bytearray()

    @property
    def address(self):
        return int.from_bytes(self.command[1:4]) % len(self.memory)

    def answer(self):
        """The byte that goes out while the next comes in."""
        taken = len(self.command)
        opcode = self.command[0] if taken else None
        if opcode == READ and taken >= 4:
            return self.memory[(self.address + taken - 4) % len(self.memory)]
        if opcode == READ_STATUS:
            return self.status
        return ID[(taken - 1) % len(ID)] if opcode == READ_ID else 0xFF

    def take(self, byte):
        self.command.append(byte)

    def deselect(self):
        opcode = self.command[0] if self.command else None
        if opcode == WRITE_ENABLE:
            self.status |= WEL
        elif self.status & WEL and (opcode == PROGRAM or opcode in ERASES):
            if opcode == PROGRAM:
                page = self.address - self.address % PAGE
                for n, byte in enumerate(self.command[4:]):
                    at = page + (self.address + n) % PAGE
                    if at != self.stuck:
                        self.memory[at] &= byte
            else:
                start = self.address - self.address % ERASES[opcode]
                self.memory[start:start + ERASES[opcode]] = b"\xff" * ERASES[opcode]
            self.status &= ~WEL
        self.command = bytearray()
