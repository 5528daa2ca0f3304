"""What an LFE5U-85F's configuration engine makes of a bitstream: it obeys its commands and checks every CRC.

Commands and coding after Project Trellis's description of the bitstream; what the frames configure is not looked at.
"""

__all__ = ["ERRORS", "IDCODE", "PREAMBLE", "configure"]

IDCODE = 0x41113043  # LFE5U-85
PREAMBLE = bytes.fromhex("ffffbdb3")
ERRORS = {None: 0, "id": 1, "command": 2, "crc": 3, "preamble": 4}  # field BSE error of the status register
DUMMY, RESET_CRC, VERIFY_ID, CONTROL, INIT_ADDRESS, DICTIONARY = 0xFF, 0x3B, 0xE2, 0x22, 0x46, 0x02
FRAMES, PACKED_FRAMES, USERCODE, EBR_ADDRESS, EBR_WRITE, DONE = 0x82, 0xB8, 0xC2, 0xF6, 0xB2, 0x5E
OPERANDS = {RESET_CRC: 3, VERIFY_ID: 7, CONTROL: 7, INIT_ADDRESS: 3, DICTIONARY: 11, FRAMES: 3, PACKED_FRAMES: 3,
            USERCODE: 7, EBR_ADDRESS: 7, EBR_WRITE: 3, DONE: 3}
FRAME_BYTES = 142
PACKED_FRAME_BYTES = 144  # padded to a multiple of eight


def crc_table(polynomial=0x8005):
    table = []
    for byte in range(256):
        value = byte << 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value >> 15 else value << 1) & 0xFFFF
        table.append(value)
    return table


CRC = crc_table()


def packed_size(data, at):
    """Bytes that a packed frame takes: a bit a zero, 6 bits a byte of the dictionary or of one bit, 10 any other."""
    bits = f"{int.from_bytes(data[at:at + 192]):0{8 * len(data[at:at + 192])}b}"
    left, bit = PACKED_FRAME_BYTES, 0
    while left > 0 and bit < len(bits):
        one = bits.find("1", bit, bit + left)
        if one < 0:
            bit, left = bit + left, 0
        else:
            left -= one - bit + 1
            bit = one + (10 if bits[one + 1:one + 2] == "1" else 6)
    return (bit + 7) // 8


def configure(data, idcode):
    """Obey a bitstream.

    Returns
    -------
    (error, done, usercode) : a key of `ERRORS`; whether DONE went high; the user code that the bitstream set
    """
    at = data.find(PREAMBLE) + len(PREAMBLE)
    if at < len(PREAMBLE):
        return "preamble", False, 0
    crc = usercode = 0

    def take(count):
        nonlocal at, crc
        taken = data[at:at + count]
        for byte in taken:
            crc = (crc << 8 & 0xFF00) ^ CRC[crc >> 8 ^ byte]
        at += count
        return taken

    def checked():
        """A CRC behind what it covers leaves zero."""
        take(2)
        return crc == 0

    while at < len(data):
        opcode = data[at]
        if opcode == DUMMY:
            at += 1
            continue
        if opcode not in OPERANDS:
            return "command", False, usercode
        operands = take(1 + OPERANDS[opcode])[1:]
        if opcode == RESET_CRC:
            crc = 0
        elif opcode == VERIFY_ID and int.from_bytes(operands[3:]) != idcode:
            return "id", False, usercode
        elif opcode == USERCODE:
            usercode = int.from_bytes(operands[3:])
            if not checked():
                return "crc", False, usercode
        elif opcode in (FRAMES, PACKED_FRAMES):
            for _ in range(int.from_bytes(operands[1:])):
                take(FRAME_BYTES if opcode == FRAMES else packed_size(data, at))
                if not checked():
                    return "crc", False, usercode
                take(operands[0] & 15)
        elif opcode == EBR_WRITE:
            take(9 * int.from_bytes(operands[1:]))
            if not checked():
                return "crc", False, usercode
        elif opcode == DONE:
            return None, True, usercode
    return None, False, usercode
