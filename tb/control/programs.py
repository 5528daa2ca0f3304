"""Random instructions and pass states for the tests of the control blocks."""

from scoville.config import BLOCK
from scoville.isa import FIELDS, Dest, Element, LoadDest, Mode, Opcode, ScaleFormat, encode

__all__ = ["encoded", "random_instruction", "random_state"]


def encoded(opcode, fields):
    """An instruction as a word."""
    return int.from_bytes(encode(opcode, **fields), "little")


def random_state(config, rng, *, last_position=150):
    """A pass state; `position` leaves room for a few pages of context."""
    tokens = rng.randint(1, config.seats)
    return {"tokens": tokens, "position": rng.choice([0, rng.randrange(32), rng.randrange(last_position)]),
            "last": rng.randrange(2), "ids": [rng.getrandbits(32) for _ in range(tokens)]}


def random_instruction(config, rng, opcode, **given):
    """The fields of a legal instruction; those in `given` are taken as they are."""
    bus = config.bus_bytes

    def address(bits=40):
        return rng.getrandbits(bits) // bus * bus

    def beats_bytes():
        return bus * rng.randint(1, 20)

    table, group = address(), rng.choice([1, 3, 4])
    fields = {name: rng.getrandbits(width) for name, (_, width) in FIELDS[opcode].items() if name != "opcode"}
    fields |= {"only_last": int(rng.random() < 0.2), "wait": int(rng.random() < 0.3)}
    if "address" in fields:
        fields["address"] = address()
    if "bytes" in fields:
        fields["bytes"] = beats_bytes()
    if "stride" in fields:
        fields["stride"] = rng.randint(1, 1 << 12) * bus
    if "head_blocks" in fields:
        fields["head_blocks"] = rng.randint(1, config.max_head_blocks)
    if "group" in fields:
        fields["group"] = group
    if opcode is Opcode.LOAD:
        fields["load_dest"] = rng.choice(list(LoadDest))
    elif opcode is Opcode.EMBED:
        rows = rng.randint(1, min(config.max_hidden // BLOCK, config.operand_blocks))
        fields |= {"rows": rows * BLOCK, "dst": rng.randint(0, config.operand_blocks - rows),
                   "element": rng.choice(list(Element))}
    elif opcode is Opcode.LINEAR:
        kblocks = rng.randint(1, config.operand_blocks)
        fields |= {"tiles": rng.randint(1, min(9, config.max_hidden // BLOCK)),
                   "kblocks": kblocks, "src": rng.randint(0, config.operand_blocks - kblocks),
                   "scale_format": rng.choice(list(ScaleFormat)), "mode": rng.choice(list(Mode)),
                   "dest": rng.choice([dest for dest in Dest if dest is not Dest.NONE]), "beats": rng.randint(1, 500)}
        fields["limit"] = rng.randint(1, fields["tiles"] * BLOCK)
        if fields["dest"] in (Dest.KEY, Dest.VALUE):
            fields["norm"] = 0
            fields |= {"table": table, "table_stride": bus * rng.randint(1, 30)}
        else:
            del fields["table"], fields["table_stride"]
    elif opcode is Opcode.ATTEND:
        room = config.operand_blocks - 3 * group * config.max_head_blocks
        fields |= {"kv_heads": rng.randint(1, 3), "src": rng.randint(0, room), "dst": rng.randint(0, room),
                   "table": table, "table_stride": bus * rng.randint(1, 30)}
    elif opcode is Opcode.END:
        fields["only_last"] = 0
    fields |= given
    if opcode is Opcode.LINEAR and "tiles" in given and "limit" not in given:
        fields["limit"] = max(1, fields["tiles"] * BLOCK - rng.randrange(BLOCK))
    return fields
