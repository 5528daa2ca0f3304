"""The rules of legality: one table, from which the circuit, its model and the docs are made.

A rule is written once, over fields that are numbers or HDL values alike. What follows from the fields by sums (`terms`)
and products (`products`) has names of its own, so that a circuit can work it out over some cycles. What earlier
instructions of the pass left behind is in `legality.CONTEXT`.
"""

from collections.abc import Callable
from typing import NamedTuple

from amaranth.hdl import Mux, Value
from amaranth.utils import exact_log2

from scoville.config import BLOCK, SUPER_BLOCKS, TILE_ROWS
from scoville.isa import Dest, LoadDest, Mode, Opcode, ScaleFormat
from scoville.program.spread import places
from scoville.registers import Status

__all__ = ["HEAD_BYTES", "RULES", "Rule", "choose", "markdown", "products", "query_rows", "terms", "tile_beats",
           "written_rows"]

PAIR_BYTES = 8  # FP32 cosine and sine
HEAD_BYTES = BLOCK // 2 * PAIR_BYTES  # of a RoPE row, for a block of the head
TABLE_BYTES = 16
HEADS = 256  # query heads that the router counts
NOT_FINITE = 255  # FP32 exponent field


class Rule(NamedTuple):
    """What must hold of an instruction.

    Parameters
    ----------
    opcodes : those it is about
    holds : function (config, fields, context) -> bool, or 1-bit value
    text : for the documentation
    status : how the chip stops if it does not hold
    always : it is judged of instructions that the pass skips, too (`only_last`); it knows no context then
    """

    opcodes: tuple
    holds: Callable
    text: str
    status: Status = Status.ILLEGAL_INSTRUCTION
    always: bool = True


def choose(condition, yes, no):
    """`Mux` that takes numbers, too."""
    return Mux(condition, yes, no) if isinstance(condition, Value) else (yes if condition else no)


def implies(condition, then):
    return (condition == 0) | then


def one_of(value, choices):
    found = value == choices[0]
    for choice in choices[1:]:
        found = found | (value == choice)
    return found


def _bus_shift(c):
    return exact_log2(c.bus_bytes)


def multiple(value, step):
    """Whether a value is a multiple of a power of two."""
    return (value & (step - 1)) == 0


def aligned(c, value):
    return multiple(value, c.bus_bytes)


def beats_of(c, size):
    """Whole beats for `size` bytes, in bytes."""
    return (size + (c.bus_bytes - 1)) >> _bus_shift(c) << _bus_shift(c)


def fits(c, first, count):
    return first + count <= c.operand_blocks


def apart(first, count, other, others):
    return (first + count <= other) | (other + others <= first)


def page_size(c, head_blocks):
    """Bytes of a KV head's parts in a page."""
    return (beats_of(c, head_blocks << 5) + (head_blocks << 10)) << 1


def paged(f):
    return (f.dest == Dest.KEY) | (f.dest == Dest.VALUE)


def by_head(f):
    return paged(f) | (f.dest == Dest.QUERY)


def to_operands(f):
    return (f.dest == Dest.OPERAND) | (f.dest == Dest.QUERY)


def tile_beats(c, f):
    """Beats of a tile: for each group of k-blocks a header of scales, one of minimums, and the codes."""
    codes8 = f.kblocks * (BLOCK * BLOCK // c.bus_bytes)
    codes = choose(f.code_bits8, codes8, codes8 >> 1)
    halves, bytes_ = f.scale_format == ScaleFormat.FP16, f.scale_format == ScaleFormat.E8M0
    shift = c.group.bit_length() - 1
    groups, rest = f.kblocks >> shift, f.kblocks & (c.group - 1)
    wide = max(0, (BLOCK // c.bus_bytes).bit_length() - 1)  # beats of 32 bytes
    one, two = groups << wide, groups << (wide + 1)
    if c.group > 1:  # the last group may be shorter, and its headers are padded
        one, two = one + (rest != 0), two + ((rest != 0) + (rest > c.group // 2))
    headers = choose(halves, two, choose(bytes_, one, 0)) + choose(f.minimum, two, 0)
    if not c.k_quants:
        return codes + headers
    factor, both, signed = (-(-TILE_ROWS * size // c.bus_bytes) for size in (2, 12, 16))  # of a super-block
    supers = f.kblocks >> exact_log2(SUPER_BLOCKS)
    headers = choose(f.scale_format == ScaleFormat.TWO_LEVEL,
                     choose(f.minimum, supers * (2 * factor + both), supers * (factor + signed)), headers)
    planes = choose(f.high_bits == 2, f.kblocks << 1, choose(f.high_bits == 1, f.kblocks, 0))  # of 128 bytes
    step = c.bus_bytes // 128
    high = (planes + (step - 1)) >> exact_log2(step) if step else planes * (128 // c.bus_bytes)
    return codes + headers + high


def terms(c):
    """Sums: opcode to name to (width, function of the fields)."""
    spread = {"spread": (9, lambda c, f: places(c, f.group))} if c.slots > 1 else {}
    return {
        Opcode.LINEAR: {
            "blocks": (20, lambda c, f: choose(f.mode == Mode.GLU, f.tiles >> 1, f.tiles)),
            "tile_beats": (24, tile_beats),
            "grouped": (8, lambda c, f: choose(f.dest == Dest.QUERY, f.group, 1)),
        } | spread,
        Opcode.ATTEND: spread,
    }


def products(c):
    """Products, in order: opcode to (name, factor, other factor, width); as many steps as the first factor has bits."""
    both = (("head_rows", "head_blocks", "heads", 20), ("layer_bytes", "kv_heads", "stride", 32))
    if c.slots > 1:
        both += (("query_heads", "kv_heads", "spread", 17), ("query_rows", "head_blocks", "query_heads", 20))
    return {
        Opcode.LINEAR: (("matrix_beats", "tiles", "tile_beats", 44), ("heads", "kv_heads", "grouped", 16), *both),
        Opcode.ATTEND: (("heads", "kv_heads", "group", 16), *both),
    }


def query_rows(c, f):
    """Blocks that all queries take in the operand buffer, of ATTEND and of LINEAR to QUERY."""
    return f.query_rows if c.slots > 1 else f.head_rows


def written_rows(c, f):
    """Blocks that a LINEAR takes in the operand buffer, if it goes there."""
    return choose(f.dest == Dest.QUERY, f.query_rows, f.blocks) if c.slots > 1 else f.blocks


def _static():
    """Rules of an instruction by itself."""
    load, rope, embed, linear, attend = Opcode.LOAD, Opcode.ROPE, Opcode.EMBED, Opcode.LINEAR, Opcode.ATTEND

    def rule(opcodes, text, holds):
        return Rule(opcodes if isinstance(opcodes, tuple) else (opcodes,), lambda c, f, x: holds(c, f), text)

    def norm_inputs(f):
        return (f.inv_n >> 23 < NOT_FINITE) & (f.epsilon >> 23 < NOT_FINITE)

    def vector(c, f, dest, depth):
        good = (f.count != 0) & (f.count <= depth) & multiple(f.count, BLOCK) & (f.bytes == beats_of(c, f.count << 2))
        return implies(f.load_dest == dest, good)

    return (
        rule(Opcode.END, "`only_last` is 0", lambda c, f: f.only_last == 0),
        rule((load, rope, embed, linear), "`address` is a multiple of the bus", lambda c, f: aligned(c, f.address)),
        rule((load, rope, embed), "`bytes` is a multiple of the bus, and not 0",
             lambda c, f: aligned(c, f.bytes) & (f.bytes != 0)),
        rule((load, rope, embed), "`address` + `bytes` are within the address space",
             lambda c, f: f.address + f.bytes <= 1 << c.addr_bits),
        rule((rope, embed), "`stride` is a multiple of the bus", lambda c, f: aligned(c, f.stride)),
        rule(load, "`load_dest` is known", lambda c, f: one_of(f.load_dest, list(LoadDest))),
        rule(load, "NORM: `count` is whole blocks, at most `max_hidden`, and `bytes` their beats",
             lambda c, f: vector(c, f, LoadDest.NORM, c.max_hidden)),
        rule(load, "BIAS: `count` is whole blocks, at most `max_rows`, and `bytes` their beats",
             lambda c, f: vector(c, f, LoadDest.BIAS, c.max_rows)),
        rule(load, "TABLE: `count` is 16, and `bytes` its beats", lambda c, f: implies(
            f.load_dest == LoadDest.TABLE,
            (f.count == TABLE_BYTES) & (f.bytes == max(TABLE_BYTES, c.bus_bytes)))),
        rule(rope, "`bytes` hold the pairs of a block at least, and of a head at most", lambda c, f: (
            f.bytes >= HEAD_BYTES) & (f.bytes <= max(c.max_head_blocks * HEAD_BYTES, c.bus_bytes))),
        rule(embed, "`rows` is whole blocks, at most `max_hidden`, and not 0", lambda c, f: (
            f.rows != 0) & (f.rows <= c.max_hidden) & multiple(f.rows, BLOCK)),
        rule(embed, "`bytes` is the row's beats", lambda c, f: f.bytes == beats_of(
            c, choose(f.element, f.rows << 1, f.rows << 2))),
        rule(embed, "`dst` and its blocks are in the operand buffer", lambda c, f: fits(c, f.dst, f.rows >> 5)),
        rule(embed, "`inv_n` and `epsilon` are finite and not negative", lambda c, f: norm_inputs(f)),
        rule(linear, "`tiles` and `kblocks` are not 0", lambda c, f: (f.tiles != 0) & (f.kblocks != 0)),
        rule(linear, "fewer than 2^24 rows", lambda c, f: f.tiles < 1 << 19),
        rule(linear, "`scale_format`, `mode` and `dest` are known, and `dest` is not NONE", lambda c, f: (
            f.scale_format <= (max(ScaleFormat) if c.k_quants else ScaleFormat.FP16).value)
            & (f.mode <= max(Mode).value) & (f.dest != Dest.NONE) & (f.dest <= max(Dest).value)),
        rule(linear, "`high_bits`: at most 2, of 4-bit codes; scales of two levels: of whole super-blocks; both with "
                     "`k_quants` alone", lambda c, f: (f.high_bits <= (2 if c.k_quants else 0))
             & implies(f.code_bits8, f.high_bits == 0)
             & implies(f.scale_format == ScaleFormat.TWO_LEVEL, multiple(f.kblocks, SUPER_BLOCKS))),
        rule(linear, "`beats` is the matrix's: tiles of groups of k-blocks, each header padded to the bus",
             lambda c, f: f.beats == f.matrix_beats),
        rule(linear, "`address` and its beats are within the address space",
             lambda c, f: f.address + (f.beats << _bus_shift(c)) <= 1 << c.addr_bits),
        rule(linear, "`src` and `kblocks` are in the operand buffer", lambda c, f: fits(c, f.src, f.kblocks)),
        rule(linear, "OPERAND, QUERY: `dst` and its blocks are in the operand buffer, and apart from `src`",
             lambda c, f: implies(to_operands(f), fits(c, f.dst, written_rows(c, f)) & apart(
                 f.src, f.kblocks, f.dst, written_rows(c, f)))),
        rule(linear, "`bias`: at most `max_rows` rows",
             lambda c, f: implies(f.bias, f.tiles <= c.max_rows // BLOCK)),
        rule(linear, "`residual`, `norm`: at most `max_hidden` rows",
             lambda c, f: implies(f.residual | f.norm, f.tiles <= c.max_hidden // BLOCK)),
        rule(linear, "`norm`: to OPERAND; `inv_n` and `epsilon` are finite and not negative",
             lambda c, f: implies(f.norm, (f.dest == Dest.OPERAND) & norm_inputs(f))),
        rule(linear, "GLU: to OPERAND, of an even number of tiles, without `residual` and `norm`",
             lambda c, f: implies(f.mode == Mode.GLU, (f.dest == Dest.OPERAND) & multiple(f.tiles, 2)
                                  & (f.residual == 0) & (f.norm == 0))),
        rule(linear, "ROPE, QUERY, KEY, VALUE: `head_blocks` is 1 to `max_head_blocks`",
             lambda c, f: implies(by_head(f) | (f.mode == Mode.ROPE),
                                  (f.head_blocks != 0) & (f.head_blocks <= c.max_head_blocks))),
        rule(linear, "KEY, VALUE: `tiles` = `kv_heads` · `head_blocks`; QUERY: `kv_heads` · `group` · `head_blocks`",
             lambda c, f: implies(by_head(f), f.tiles == f.head_rows)),
        rule((linear, attend), f"QUERY, ATTEND: at most {HEADS} heads", lambda c, f: f.heads <= HEADS),
        rule(linear, "LOGITS: `only_last`, PLAIN, without `residual`; `limit` is 1 to the matrix's rows",
             lambda c, f: implies(f.dest == Dest.LOGITS, f.only_last & (f.mode == Mode.PLAIN) & (f.residual == 0)
                                  & (f.limit != 0) & (f.limit <= f.tiles * BLOCK))),
        rule(linear, "KEY, VALUE: `offset`, `stride` are multiples of the bus; a `stride` holds a KV head's parts, "
                     "KV_PAGE_BYTES `offset` and `kv_heads` · `stride`; there is such a `cache`",
             lambda c, f: implies(paged(f), _place(c, f))),
        rule(attend, "`offset`, `stride` are multiples of the bus; a `stride` holds a KV head's parts, "
                     "KV_PAGE_BYTES `offset` and `kv_heads` · `stride`; there is such a `cache`", _place),
        rule(attend, "`kv_heads` and `group` are not 0; `head_blocks` is 1 to `max_head_blocks`", lambda c, f: (
            f.kv_heads != 0) & (f.group != 0) & (f.head_blocks != 0) & (f.head_blocks <= c.max_head_blocks)),
        rule(attend, "`src` and `dst`, each with `kv_heads` · `group` · `head_blocks` blocks (`src`, with several "
                     "slots, as many as their spread takes), are in the operand buffer, and apart",
             lambda c, f: fits(c, f.src, query_rows(c, f)) & fits(c, f.dst, f.head_rows)
             & apart(f.src, query_rows(c, f), f.dst, f.head_rows)),
        rule(attend, "`softmax_scale` is finite", lambda c, f: ((f.softmax_scale >> 23) & 255) != NOT_FINITE),
    )


def _place(c, f):
    return (aligned(c, f.offset) & aligned(c, f.stride) & (page_size(c, f.head_blocks) <= f.stride)
            & (f.offset + f.layer_bytes <= f.page_bytes) & (f.cache < c.cache_groups))


def _unsettled(x, first, count):
    """Whether one of these blocks may still be on its way."""
    return (first < x.fresh_end) & (x.fresh < first + count)


def _same_cache(f, x):
    return ((f.offset == x.offset) & (f.stride == x.stride) & (f.cache == x.cache)
            & (f.kv_heads == x.cache_heads) & (f.head_blocks == x.cache_blocks))


def _contextual():
    """Rules about what earlier instructions of the pass did."""
    load, rope, embed, linear, attend = Opcode.LOAD, Opcode.ROPE, Opcode.EMBED, Opcode.LINEAR, Opcode.ATTEND

    def rule(opcodes, text, holds, status=Status.ILLEGAL_INSTRUCTION):
        return Rule(opcodes if isinstance(opcodes, tuple) else (opcodes,), holds, text, status, always=False)

    return (
        rule(load, "`wait`, or nothing before, since the last wait, uses what it overwrites", lambda c, f, x: f.wait | (
            implies(f.load_dest == LoadDest.NORM, x.norm_used == 0)
            & implies(f.load_dest == LoadDest.BIAS, x.bias_used == 0)
            & implies(f.load_dest == LoadDest.TABLE, x.codes_used == 0))),
        rule(rope, "`wait`, or no rotation before, since the last wait", lambda c, f, x: f.wait | (x.rope_used == 0)),
        rule(rope, "the pass's positions are below `limit`",
             lambda c, f, x: f.rows_inside, Status.CONTEXT),
        rule(embed, "norm weights for all `rows` are loaded", lambda c, f, x: f.rows >> 5 <= x.norm_blocks),
        rule(embed, "the pass's token ids are below `limit`", lambda c, f, x: f.rows_inside, Status.TOKEN),
        rule(linear, "`norm`: norm weights for all rows are loaded",
             lambda c, f, x: implies(f.norm, f.tiles <= x.norm_blocks)),
        rule(linear, "`bias`: a bias for all rows is loaded",
             lambda c, f, x: implies(f.bias, f.tiles <= x.bias_blocks)),
        rule(linear, "`residual`: all rows have one",
             lambda c, f, x: implies(f.residual, f.tiles <= x.residual_blocks)),
        rule(linear, "ROPE: pairs for `head_blocks` are loaded",
             lambda c, f, x: implies(f.mode == Mode.ROPE, f.head_blocks <= x.rope_blocks)),
        rule(linear, "`lane_scale`: a norm came before", lambda c, f, x: implies(f.lane_scale, x.scaled)),
        rule(linear, "4-bit codes: a table is loaded", lambda c, f, x: f.code_bits8 | x.codes),
        rule((linear, attend), "the blocks read are this pass's: the token's own, or (ATTEND) queries",
             lambda c, f, x: f.sources_written),
        rule(linear, "`wait`, or the blocks read were written before the last wait",
             lambda c, f, x: f.wait | (_unsettled(x, f.src, f.kblocks) == 0)),
        rule(attend, "`wait`, or the queries were written before the last wait",
             lambda c, f, x: f.wait | (_unsettled(x, f.src, query_rows(c, f)) == 0)),
        rule(linear, "LOGITS: the first of the pass", lambda c, f, x: implies(f.dest == Dest.LOGITS, x.logits == 0)),
        rule(linear, "VALUE: of the pages of the KEY before",
             lambda c, f, x: implies(f.dest == Dest.VALUE, x.keys & _same_cache(f, x))),
        rule(attend, "of the pages of the KEY and VALUE before", lambda c, f, x: x.values & _same_cache(f, x)),
        rule(attend, "`src`, `kv_heads`, `group`, `head_blocks` are those of the last QUERY", lambda c, f, x: (
            f.src == x.query) & (f.kv_heads == x.query_heads) & (f.group == x.query_group)
            & (f.head_blocks == x.query_blocks)),
        rule(Opcode.END, "a pass that produces a token had LOGITS", lambda c, f, x: implies(f.last, x.logits)),
    )


RULES = (*_static(), *_contextual())


def markdown(opcode):
    """The rules of an opcode as lines of Markdown."""
    return [f"- {rule.text}{'' if rule.status is Status.ILLEGAL_INSTRUCTION else f' (else {rule.status.name})'}"
            for rule in RULES if opcode in rule.opcodes]
