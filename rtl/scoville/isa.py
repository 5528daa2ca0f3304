"""The instruction set, as data: the compiler, the sequencer, the golden model and the docs read these tables.

An instruction is 32 bytes, little-endian; a field is (least significant bit, width). All addresses are byte addresses
aligned to the bus.
"""

import enum

from amaranth.lib import data

__all__ = ["FIELDS", "INSTRUCTION_BYTES", "OPERATION", "PAGE_BITS", "PAGE_SIZE_BITS", "POSITION_BITS", "Dest",
           "Element", "LoadDest", "Mode", "Opcode", "ScaleFormat", "decode", "encode", "field", "width"]

INSTRUCTION_BYTES = 32
POSITION_BITS = 24  # of a token's position in its sequence
PAGE_BITS = 24  # of a KV page's number
PAGE_SIZE_BITS = 28  # of its bytes: 80 layers of 8 heads of 128


class Opcode(enum.IntEnum):
    END = 0  # end of the pass
    LOAD = 1  # a vector from memory into the bias buffer, the norm-weight buffer or the code table
    ROPE = 2  # each lane's row of cosines and sines, chosen by its position
    EMBED = 3  # each lane's embedding row into the residual stream
    LINEAR = 4  # a matrix, with its epilogue
    ATTEND = 5  # attention of every head over the KV pages


class LoadDest(enum.IntEnum):
    BIAS = 0
    NORM = 1
    TABLE = 2


class Element(enum.IntEnum):
    FP32 = 0
    BF16 = 1


class ScaleFormat(enum.IntEnum):
    NONE = 0  # scale 1.0, no header
    E8M0 = 1
    FP16 = 2
    TWO_LEVEL = 3  # an integer a k-block, or half of one, times an FP16 scale of eight k-blocks


class Mode(enum.IntEnum):
    PLAIN = 0
    ROPE = 1  # rows 2j, 2j+1 are a rotation pair
    GLU = 2  # rows 2j, 2j+1 are gate and up; one output


class Dest(enum.IntEnum):
    NONE = 0  # refused: results have to go somewhere
    OPERAND = 1  # quantised, to the lane's own operand bank
    QUERY = 2  # quantised, to the bank of the lane that will attend for this head
    KEY = 3  # quantised to 8 bits, to the KV cache
    VALUE = 4
    LOGITS = 5  # to the sampler


_COMMON = {"opcode": (0, 4), "only_last": (4, 1), "wait": (5, 1)}
_ADDRESS = {"address": (8, 40)}
_PAGES = {
    "offset": (168, 32), "cache": (200, 4), "stride": (208, 24),  # in a page of the cache group: the layer, a KV head
    "group": (232, 8), "head_blocks": (240, 4)}
_NORM = {"inv_n": (168, 32), "epsilon": (200, 32)}

FIELDS = {
    Opcode.END: _COMMON,
    Opcode.LOAD: _COMMON | _ADDRESS | {"bytes": (48, 24), "load_dest": (72, 2), "count": (80, 20)},
    Opcode.ROPE: _COMMON | _ADDRESS | {"bytes": (48, 24), "stride": (72, 24), "limit": (128, POSITION_BITS)},
    Opcode.EMBED: _COMMON | _ADDRESS | {
        "bytes": (48, 24), "stride": (72, 24), "rows": (96, 16), "dst": (112, 12), "element": (124, 1),
        "limit": (128, 24)} | _NORM,  # rows of the table: a token id is below it
    Opcode.LINEAR: _COMMON | _ADDRESS | {
        "tiles": (48, 20), "kblocks": (68, 12),
        "code_bits8": (80, 1), "scale_format": (81, 2), "minimum": (83, 1),
        "src": (84, 12), "dst": (96, 12), "dest": (108, 3), "mode": (111, 2),
        "lane_scale": (113, 1),  # multiply by the deferred 1/rms
        "bias": (114, 1), "residual": (115, 1),  # add, and store, the residual stream
        "norm": (116, 1),  # sum of squares, and multiply by the norm weights before quantising
        "high_bits": (117, 2),  # of a code, beside its 4 low ones
        "limit": (120, 24),  # LOGITS: rows that are real vocabulary entries
        "beats": (144, 24),  # the whole matrix in the weight stream
        "kv_heads": (244, 8),  # QUERY, KEY, VALUE
    } | _NORM | _PAGES,
    Opcode.ATTEND: _COMMON | {
        "src": (84, 12), "dst": (96, 12), "kv_heads": (120, 8), "softmax_scale": (128, 32)} | _PAGES,
}
"""Fields by opcode. In LINEAR, `inv_n`, `epsilon` (norm = 1) share bits with `offset`, `cache` (KEY, VALUE)."""

OPERATION = data.UnionLayout({
    opcode.name.lower(): data.FlexibleLayout(8 * INSTRUCTION_BYTES, {
        name: data.Field(width, lsb) for name, (lsb, width) in fields.items()})
    for opcode, fields in FIELDS.items()})
"""An instruction with its fields by name: ``operation.linear.tiles``. All kinds have ``operation.end.opcode``."""


def encode(opcode, **fields):
    """One instruction as 32 bytes.

    Raises
    ------
    ValueError
        If a field is unknown for this opcode or its value does not fit.
    """
    word = int(opcode)
    table = FIELDS[Opcode(opcode)]
    for name, value in fields.items():
        if name not in table or name == "opcode":
            raise ValueError(f"{Opcode(opcode).name} has no field {name!r}")
        lsb, width = table[name]
        value = int(value)
        if not 0 <= value < 1 << width:
            raise ValueError(f"{Opcode(opcode).name}.{name} = {value} does not fit {width} bits")
        word |= value << lsb
    return word.to_bytes(INSTRUCTION_BYTES, "little")


def field(word, opcode, name):
    """The bits of one field of an instruction word that is an HDL value."""
    lsb, width = FIELDS[opcode][name]
    return word[lsb:lsb + width]


def width(opcode, name):
    """Bits of a field."""
    return FIELDS[opcode][name][1]


def decode(data):
    """The fields of one instruction, as a dict; ``opcode`` is an `Opcode`.

    Raises
    ------
    ValueError
        If the opcode is not one of `Opcode`.
    """
    word = int.from_bytes(data, "little")
    fields = {name: word >> lsb & (1 << width) - 1 for name, (lsb, width) in FIELDS[Opcode(word & 15)].items()}
    return fields | {"opcode": Opcode(word & 15)}
