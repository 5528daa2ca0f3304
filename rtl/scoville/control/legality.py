"""Which instructions a chip can carry out: the rules, and what they know of the pass.

What earlier instructions left behind is the `CONTEXT`, brought up to date by `after`, and a `Tag` an operand block.
Nothing in them outlives a pass. `Legality` is all of it in numbers; the circuit is the `Checker`.
"""

from types import SimpleNamespace

from amaranth.utils import exact_log2

from scoville.control.rules import HEAD_BYTES, RULES, choose, products, query_rows, terms, written_rows
from scoville.isa import FIELDS, Dest, LoadDest, Mode, Opcode
from scoville.registers import Status

__all__ = ["CONTEXT", "Legality", "Refused", "Tag", "after", "reads", "writes"]


class Refused(Exception):
    """An instruction that the chip does not carry out; `status` says why."""

    def __init__(self, status):
        super().__init__(status.name)
        self.status = status


class Tag:
    """What lies in an operand block."""

    NONE = 0  # nothing of this pass
    OWN = 1  # the token's own activations
    QUERY = 2  # queries, spread over the seats


def reads(c, opcode, f):
    """(first block, blocks, `Tag`) of the operand buffer that an instruction reads, or None."""
    return {Opcode.LINEAR: lambda: (f.src, f.kblocks, Tag.OWN),
            Opcode.ATTEND: lambda: (f.src, query_rows(c, f), Tag.QUERY)}.get(opcode, lambda: None)()


def writes(c, opcode, f):
    """(first block, blocks, `Tag`; NONE if it does not) of the operand buffer that an instruction writes, or None."""
    return {Opcode.EMBED: lambda: (f.dst, f.rows >> 5, Tag.OWN),
            Opcode.LINEAR: lambda: (f.dst, written_rows(c, f), choose(
                f.dest == Dest.OPERAND, Tag.OWN, choose(f.dest == Dest.QUERY, Tag.QUERY, Tag.NONE))),
            Opcode.ATTEND: lambda: (f.dst, f.head_rows, Tag.OWN)}.get(opcode, lambda: None)()


_BLOCKS = FIELDS[Opcode.LINEAR]["src"][1] + 1
_PAGES = {name: width for name, (_, width) in FIELDS[Opcode.ATTEND].items()}
CONTEXT = {
    "norm_blocks": _BLOCKS, "bias_blocks": 16, "residual_blocks": _BLOCKS, "rope_blocks": 8,  # loaded; 0 for none
    "codes": 1, "scaled": 1, "logits": 1, "keys": 1, "values": 1,  # whether there was one
    "norm_used": 1, "bias_used": 1, "codes_used": 1, "rope_used": 1,  # since the last wait
    "fresh": _BLOCKS, "fresh_end": _BLOCKS,  # all blocks written since the last wait are from `fresh` to before this
    "result": _BLOCKS, "result_blocks": _BLOCKS,  # the last results
    "query": _BLOCKS, "query_heads": _PAGES["kv_heads"], "query_group": _PAGES["group"],
    "query_blocks": _PAGES["head_blocks"],
    "offset": _PAGES["offset"], "stride": _PAGES["stride"], "cache": _PAGES["cache"],
    "cache_heads": _PAGES["kv_heads"], "cache_blocks": _PAGES["head_blocks"],
}
"""What a pass remembers, 0 at its begin: name to width."""


def after(c, opcode, f, x):
    """The context behind an instruction that is carried out: what changes, name to value."""
    # A matrix that takes only some of the last results starts when those are there.
    partial = (f.src == x.result) & (f.kblocks < x.result_blocks) if opcode is Opcode.LINEAR else False
    settled = choose(f.wait, choose(partial, 0, 1), 0)
    new = {}

    def used(name, now):
        new[name] = choose(settled, now, getattr(x, name) | now)

    is_linear = opcode is Opcode.LINEAR
    used("norm_used", f.norm if is_linear else int(opcode is Opcode.EMBED))
    used("bias_used", f.bias if is_linear else 0)
    used("codes_used", f.code_bits8 == 0 if is_linear else 0)
    used("rope_used", f.mode == Mode.ROPE if is_linear else 0)

    place = writes(c, opcode, f)
    first, count, written = place if place else (0, 0, Tag.NONE)
    written = written != Tag.NONE
    # Nothing is compared with what `settled` chooses: both are known late.
    alone = settled | (x.fresh_end == 0)
    lowest = choose(alone | (first < x.fresh), first, x.fresh)
    highest = choose(alone | (first + count > x.fresh_end), first + count, x.fresh_end)
    new["fresh"] = choose(written, lowest, x.fresh)
    new["fresh_end"] = choose(written, highest, choose(settled, 0, x.fresh_end))
    if place:
        new["result"] = choose(written, first, x.result)
        new["result_blocks"] = choose(written, count, x.result_blocks)

    if opcode is Opcode.LOAD:
        new["norm_blocks"] = choose(f.load_dest == LoadDest.NORM, f.count >> 5, x.norm_blocks)
        new["bias_blocks"] = choose(f.load_dest == LoadDest.BIAS, f.count >> 5, x.bias_blocks)
        new["codes"] = choose(f.load_dest == LoadDest.TABLE, 1, x.codes)
    elif opcode is Opcode.ROPE:
        new["rope_blocks"] = f.bytes >> exact_log2(HEAD_BYTES)
    elif opcode is Opcode.EMBED:
        new |= {"residual_blocks": f.rows >> 5, "scaled": 1}
    elif is_linear:
        query, key, value = (f.dest == dest for dest in (Dest.QUERY, Dest.KEY, Dest.VALUE))
        new |= {
            "residual_blocks": choose(f.residual, f.tiles, x.residual_blocks),
            "scaled": choose(f.norm, 1, x.scaled),
            "logits": choose(f.dest == Dest.LOGITS, 1, x.logits),
            "keys": choose(key, 1, x.keys),
            "values": choose(key, 0, choose(value, 1, x.values)),
        }
        for name, field in (("query", "dst"), ("query_heads", "kv_heads"), ("query_group", "group"),
                            ("query_blocks", "head_blocks")):
            new[name] = choose(query, getattr(f, field), getattr(x, name))
        for name, field in (("offset", "offset"), ("stride", "stride"), ("cache", "cache"),
                            ("cache_heads", "kv_heads"), ("cache_blocks", "head_blocks")):
            new[name] = choose(key, getattr(f, field), getattr(x, name))
    return new


class Legality:
    """The check of a pass's instructions, in numbers: what the front end's checker does.

    Parameters
    ----------
    config : ChipConfig
    """

    def __init__(self, config):
        self.config = config
        self.start()

    def start(self):
        """Begin a pass."""
        self.context = SimpleNamespace(**dict.fromkeys(CONTEXT, 0))
        self.tags = [Tag.NONE] * self.config.operand_blocks

    def facts(self, fields, state, page_bytes):
        """The fields, and what follows from them and from the pass."""
        opcode, config = fields["opcode"], self.config
        seats = state["seats"][:state["tokens"]]
        f = SimpleNamespace(**fields, page_bytes=page_bytes, last=state["last"])
        for name, (_, term) in terms(config).get(opcode, {}).items():
            setattr(f, name, int(term(config, f)))
        for name, one, other, _ in products(config).get(opcode, ()):
            setattr(f, name, getattr(f, one) * getattr(f, other))
        if opcode in (Opcode.ROPE, Opcode.EMBED):
            row = "position" if opcode is Opcode.ROPE else "token"
            f.rows_inside = all(seat[row] < f.limit for seat in seats)
        if (source := reads(config, opcode, f)) is not None:
            first, count, tag = source
            f.sources_written = all(found == tag for found in self.tags[first:first + count])
        return f

    def check(self, fields, state, page_bytes):
        """`Status` that an instruction ends with; OK if it is carried out, or skipped, and then remembered.

        Parameters
        ----------
        fields : dict that `isa.decode` returns, or None if there is no such opcode
        state : dict of `PassState`
        page_bytes : the register KV_PAGE_BYTES
        """
        if fields is None:
            return Status.ILLEGAL_INSTRUCTION
        opcode, config = fields["opcode"], self.config
        f = self.facts(fields, state, page_bytes)
        skipped = f.only_last and not f.last
        broken = [rule.status for rule in RULES if opcode in rule.opcodes and (rule.always or not skipped)
                  and not rule.holds(config, f, self.context)]
        if broken:
            return min(broken)  # ILLEGAL_INSTRUCTION before CONTEXT before TOKEN
        if not skipped:
            new = after(config, opcode, f, self.context)
            if (place := writes(config, opcode, f)) is not None and place[2] != Tag.NONE:
                self.tags[place[0]:place[0] + place[1]] = [place[2]] * place[1]
            vars(self.context).update({name: int(value) for name, value in new.items()})
        return Status.OK
