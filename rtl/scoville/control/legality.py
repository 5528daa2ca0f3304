"""Which instructions a chip can run: the check that every instruction passes before anything acts on it."""

from amaranth.hdl import Signal

from scoville.config import BLOCK
from scoville.isa import FIELDS, Dest, LoadDest, Mode, Opcode, ScaleFormat, field

__all__ = ["is_legal", "legal_signal"]


def is_legal(config, fields):
    """Whether this chip can run an instruction, given as the dict that `isa.decode` returns."""
    f, opcode, blocks = fields, fields["opcode"], config.operand_blocks
    if opcode is Opcode.END:
        return not f["only_last"]
    if opcode in (Opcode.LOAD, Opcode.ROPE, Opcode.EMBED) and f["bytes"] < config.bus_bytes:
        return False
    if opcode is Opcode.LOAD:
        return f["load_dest"] in list(LoadDest)
    if opcode is Opcode.EMBED:
        return 0 < f["rows"] <= config.max_hidden and f["rows"] % BLOCK == 0 and f["dst"] + f["rows"] // BLOCK <= blocks
    if opcode is Opcode.LINEAR:
        if not (f["tiles"] and f["kblocks"] and f["beats"] and f["src"] + f["kblocks"] <= blocks):
            return False
        if f["scale_format"] not in list(ScaleFormat) or f["mode"] not in list(Mode):
            return False
        if f["dest"] not in list(Dest) or f["dest"] == Dest.NONE:
            return False
        if f["bias"] and f["tiles"] * BLOCK > config.max_rows:
            return False
        if (f["residual"] or f["norm"]) and f["tiles"] * BLOCK > config.max_hidden:
            return False
        if f["dest"] == Dest.LOGITS and not 0 < f["limit"] <= f["tiles"] * BLOCK:
            return False
        by_head = f["dest"] in (Dest.QUERY, Dest.KEY, Dest.VALUE) or f["mode"] == Mode.ROPE
        return ((not by_head or 0 < f["head_blocks"] <= config.max_head_blocks)
                and (f["dest"] != Dest.QUERY or f["group"] > 0))
    if opcode is Opcode.ATTEND:
        return f["kv_heads"] > 0 and f["group"] > 0 and 0 < f["head_blocks"] <= config.max_head_blocks
    return True


def legal_signal(m, config, word):
    """A signal that says whether `word` is an instruction this chip can run."""
    linear = {name: field(word, Opcode.LINEAR, name) for name in
              ("tiles", "kblocks", "scale_format", "src", "dest", "mode", "head_blocks", "group", "beats", "bias",
               "residual", "norm", "limit")}
    attend = {name: field(word, Opcode.ATTEND, name) for name in ("kv_heads", "group", "head_blocks")}
    some_beats = field(word, Opcode.LOAD, "bytes") >= config.bus_bytes
    assert FIELDS[Opcode.LOAD]["bytes"] == FIELDS[Opcode.ROPE]["bytes"] == FIELDS[Opcode.EMBED]["bytes"]
    legal = Signal()
    with m.Switch(field(word, Opcode.END, "opcode")):
        with m.Case(Opcode.END):
            m.d.comb += legal.eq(~field(word, Opcode.END, "only_last"))
        with m.Case(Opcode.ROPE):
            m.d.comb += legal.eq(some_beats)
        with m.Case(Opcode.LOAD):
            m.d.comb += legal.eq(some_beats & (field(word, Opcode.LOAD, "load_dest") <= max(LoadDest).value))
        with m.Case(Opcode.EMBED):
            rows = field(word, Opcode.EMBED, "rows")
            m.d.comb += legal.eq(
                some_beats & (rows != 0) & (rows <= config.max_hidden) & (rows[:5] == 0)
                & (field(word, Opcode.EMBED, "dst") + (rows >> 5) <= config.operand_blocks))
        with m.Case(Opcode.LINEAR):
            heads_needed = (linear["dest"] == Dest.QUERY) | (linear["dest"] == Dest.KEY) | (
                linear["dest"] == Dest.VALUE) | (linear["mode"] == Mode.ROPE)
            m.d.comb += legal.eq(
                (linear["tiles"] != 0) & (linear["kblocks"] != 0) & (linear["beats"] != 0)
                & (linear["scale_format"] <= max(ScaleFormat).value)
                & (linear["src"] + linear["kblocks"] <= config.operand_blocks)
                & (linear["dest"] != Dest.NONE) & (linear["dest"] <= max(Dest).value)
                & (linear["mode"] <= max(Mode).value)
                & (~linear["bias"] | (linear["tiles"] <= config.max_rows // BLOCK))
                & (~(linear["residual"] | linear["norm"]) | (linear["tiles"] <= config.max_hidden // BLOCK))
                & ((linear["dest"] != Dest.LOGITS)
                   | ((linear["limit"] != 0) & (linear["limit"] <= linear["tiles"] * BLOCK)))
                & (~heads_needed | ((linear["head_blocks"] != 0)
                                    & (linear["head_blocks"] <= config.max_head_blocks)))
                & ((linear["dest"] != Dest.QUERY) | (linear["group"] != 0)))
        with m.Case(Opcode.ATTEND):
            m.d.comb += legal.eq(
                (attend["kv_heads"] != 0) & (attend["group"] != 0) & (attend["head_blocks"] != 0)
                & (attend["head_blocks"] <= config.max_head_blocks))
    return legal
