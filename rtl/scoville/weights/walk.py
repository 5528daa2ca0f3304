"""How the weight decoder follows commands beat by beat: what the next beat is, and when a group or a command ends."""

from amaranth.hdl import Cat, Const, Mux, Signal, signed
from amaranth.lib import data, enum
from amaranth.utils import exact_log2

from scoville.checks import check
from scoville.config import BLOCK, SUPER_BLOCKS, TILE_ROWS
from scoville.isa import ScaleFormat

__all__ = ["Phase", "WeightCommand", "WeightKind", "header_depths", "walk"]


class WeightKind(enum.Enum, shape=2):
    """What the next beats are."""

    VECTOR = 0  # forwarded as they are
    LINEAR = 1  # tiles of groups of k-blocks, each group behind a header of scales and minimums
    KEY = 2  # a KV page up to V's codes: one tile whose header has the scales of all its k-blocks, then V's exponents
    VALUE = 3  # the rest of the page: tiles of one k-block with scale 1


class WeightCommand(data.Struct):
    """What the next beats are, and how many.

    `tiles` is the number of beats for VECTOR, and the number of dimension blocks for VALUE. KEY and VALUE have 8-bit
    codes whatever the last four fields say.
    """

    kind: WeightKind
    tiles: 24
    kblocks: 12
    code_bits8: 1
    scale_format: 2
    minimum: 1
    high_bits: 2


class Phase(enum.Enum):
    """What the next beat is."""

    IDLE = 0
    VECTOR = 1
    EXPONENTS = 2
    SCALES = 3
    MINIMUMS = 4
    CODES = 5
    INTEGERS = 6  # of scales of two levels
    HIGH = 7  # bits of the codes above their 4 low ones


def header_beats(config, n, half):
    """Beats of a header of n * 32 scales, of one byte each or two."""
    per_beat = config.bus_bytes // BLOCK
    count = Mux(half, n << 1, n)
    if per_beat:
        return (count + (per_beat - 1))[exact_log2(per_beat):]
    return count * (BLOCK // config.bus_bytes)


def integer_beats(config, minimum):
    """Beats of a super-block's integers: two bytes a row and block, or, with minimums, 12 bits for both."""
    signed, both = (-(-TILE_ROWS * SUPER_BLOCKS * bits // config.bus_bits) for bits in (16, 12))
    return Mux(minimum, both, signed)


def high_beats(config, n, high_bits):
    """Beats of the high bits of n k-blocks' codes, one or two a code."""
    count = Mux(high_bits[1], n << 1, n)  # of 128 bytes
    shift = exact_log2(max(1, config.bus_bytes // 128))
    return (count * max(1, 128 // config.bus_bytes) + ((1 << shift) - 1))[shift:]


def header_depths(config):
    """Beats of the largest header of each phase that has any."""
    bus, group = config.bus_bytes, config.group
    scales = max(1, 2 * BLOCK * group // bus, BLOCK * config.max_head_blocks // bus)
    depths = {Phase.SCALES: scales, Phase.MINIMUMS: scales}
    if config.k_quants:
        depths |= {Phase.INTEGERS: 2 * TILE_ROWS * SUPER_BLOCKS // bus, Phase.HIGH: max(1, 256 * group // bus)}
    return depths


def _plan(m, config):
    """What the next group of k-blocks is made of, worked out while the present group's beats come.

    Returns
    -------
    plan : register; `left`, `codes` and the others are beats less two; `fresh`: its headers are new, if it has any
    source : comb, the command that it is made from, with what its kind implies
    blocks : comb, k-blocks that are left of its tile
    """
    count = signed(26)
    layout = {"phase": Phase, "left": count, "codes": count, "other": count, "rest": 12, "fresh": 1}
    if config.k_quants:
        layout |= {"integers": count, "high": count}
    plan = Signal(data.StructLayout(layout), reset_less=True)
    source, blocks = Signal(WeightCommand), Signal(12)
    size = Signal(range(max(config.group, config.max_head_blocks) + 1))
    key = source.kind == WeightKind.KEY  # its header is not cut into groups, and has at most max_head_blocks
    m.d.comb += size.eq(Mux(key | (blocks < config.group), blocks, config.group))
    two_level = source.scale_format == ScaleFormat.TWO_LEVEL if config.k_quants else Const(0)
    inside = two_level & (blocks[:exact_log2(SUPER_BLOCKS)] != 0)  # a super-block's headers have come
    headers = Mux(two_level, 1, size)  # k-blocks' worth of scales
    scales = header_beats(config, headers, two_level | (source.scale_format == ScaleFormat.FP16)) - 2
    minimums = header_beats(config, headers, Const(1)) - 2
    codes4 = size * (TILE_ROWS * BLOCK // 2 // config.bus_bytes)
    m.d.sync += [
        plan.rest.eq(blocks - size),
        plan.codes.eq(Mux(source.code_bits8, codes4 << 1, codes4) - 2),
        plan.other.eq(Mux(key, scales, minimums)),  # V's exponents are as many as K's
        plan.fresh.eq(~inside),
    ]
    if config.k_quants:
        high = high_beats(config, size, source.high_bits) - 2
        m.d.sync += [plan.integers.eq(integer_beats(config, source.minimum) - 2), plan.high.eq(high)]
    with m.If(source.kind == WeightKind.VECTOR):
        m.d.sync += [plan.phase.eq(Phase.VECTOR), plan.left.eq(source.tiles - 2)]
    with m.Elif((source.scale_format != ScaleFormat.NONE) & ~inside):
        m.d.sync += [plan.phase.eq(Phase.SCALES), plan.left.eq(scales)]
    with m.Elif(source.minimum & ~inside):
        m.d.sync += [plan.phase.eq(Phase.MINIMUMS), plan.left.eq(minimums)]
    if config.k_quants:
        with m.Elif(source.high_bits != 0):
            m.d.sync += [plan.phase.eq(Phase.HIGH), plan.left.eq(high)]
    with m.Else():
        m.d.sync += [plan.phase.eq(Phase.CODES), plan.left.eq(Mux(source.code_bits8, codes4 << 1, codes4) - 2)]
    return plan, source, blocks


def walk(m, unit):
    """Follow the commands of the decoder `unit` beat by beat.

    Returns
    -------
    registers: the phase, the header slot, that of the high bits, the beat of the header, the command, whether a group's
    codes begin, and whether the headers are new ones
    """
    head, held = Signal(WeightCommand, reset_less=True), Signal()  # the next command, with what its kind implies
    m.d.comb += unit.command.ready.eq(~held)
    with m.If(unit.command.valid & unit.command.ready):
        m.d.sync += [head.eq(unit.command.payload), held.eq(1)]
        with m.If((unit.command.p.kind == WeightKind.KEY) | (unit.command.p.kind == WeightKind.VALUE)):
            m.d.sync += [head.code_bits8.eq(1), head.minimum.eq(0), head.high_bits.eq(0),
                         head.scale_format.eq(ScaleFormat.NONE)]
            with m.If(unit.command.p.kind == WeightKind.KEY):
                m.d.sync += [head.tiles.eq(1), head.scale_format.eq(ScaleFormat.E8M0)]
            with m.Else():
                m.d.sync += head.kblocks.eq(1)

    plan, source, blocks = _plan(m, unit.config)
    phase = Signal(Phase)
    command = Signal(WeightCommand, reset_less=True)
    tiles = Signal(24, reset_less=True)  # tiles from this one on
    lone, whole = Signal(reset_less=True), Signal(reset_less=True)  # it is the last, and this is its last group
    rest = Signal(12, reset_less=True)  # k-blocks of the tile after this group
    left = Signal.like(plan.left, reset_less=True)  # beats of the phase after this one, less one
    # Beats of the group's later phases
    codes, other, integers, high = (Signal.like(left, name=name) for name in ("codes", "other", "integers", "high"))
    index = Signal(range(max(2, *header_depths(unit.config).values())), reset_less=True)  # beat of the phase
    slot, high_slot, first, fresh = Signal(), Signal(), Signal(reset_less=True), Signal(reset_less=True)
    take, last, done, accept, begin, begin_codes = (
        Signal(name=name) for name in ("take", "last", "done", "accept", "begin", "begin_codes"))

    # The next group is the next command's first, or this one's. A group has at least two beats, so the plan that is
    # made from the cycle after its beginning on is there at its end.
    ends, ended, planned = Signal(), Signal(), Signal()
    m.d.comb += [
        ends.eq((phase == Phase.IDLE) | (phase == Phase.VECTOR) | (phase == Phase.EXPONENTS)
                | whole & lone),
        source.eq(Mux(ends, head.as_value(), command.as_value())),
        blocks.eq(Mux(ends, head.kblocks, Mux(whole, command.kblocks, rest))),
    ]
    m.d.sync += [ended.eq(ends), planned.eq(ends & held & ~begin)]

    m.d.comb += [
        take.eq(unit.i.valid & unit.i.ready),
        last.eq(take & (left < 0)),
        accept.eq((phase == Phase.IDLE) | done),
        unit.waiting.eq(unit.i.ready & ~unit.i.valid),
        unit.header.eq(take & (phase != Phase.CODES)),
    ]
    with m.If(take):
        m.d.sync += [left.eq(left - 1), index.eq(index + 1), first.eq(0)]
    with m.If(last):
        m.d.sync += index.eq(0)
        with m.Switch(phase):
            with m.Case(Phase.VECTOR, Phase.EXPONENTS):
                m.d.comb += done.eq(1)
            with m.Case(Phase.CODES):
                with m.If(~ended):
                    m.d.comb += begin.eq(1)
                with m.Elif(command.kind == WeightKind.KEY):
                    m.d.sync += [phase.eq(Phase.EXPONENTS), left.eq(other)]
                with m.Else():
                    m.d.comb += done.eq(1)
                with m.If(whole):
                    m.d.sync += [tiles.eq(tiles - 1), lone.eq(tiles == 2)]
        follow = [(Phase.MINIMUMS, command.minimum, other)]  # of headers, in order: which are there, their beats
        if unit.config.k_quants:
            two_level = command.scale_format == ScaleFormat.TWO_LEVEL
            follow = [(Phase.INTEGERS, two_level, integers), *follow, (Phase.HIGH, command.high_bits != 0, high)]
        for number, header in enumerate([Phase.SCALES, *(each for each, _, _ in follow)]):
            with m.If(phase == header):
                later = follow[number:]
                m.d.comb += begin_codes.eq(~Cat(there for _, there, _ in later).any())
                for following, there, beats in reversed(later):
                    with m.If(there):
                        m.d.sync += [phase.eq(following), left.eq(beats)]
    with m.If(begin_codes):
        m.d.sync += [phase.eq(Phase.CODES), left.eq(codes), first.eq(1)]
    with m.If(accept):
        m.d.sync += phase.eq(Phase.IDLE)
        with m.If(planned):
            m.d.comb += begin.eq(1)
            m.d.sync += [command.eq(head), tiles.eq(head.tiles), lone.eq(head.tiles == 1), held.eq(0)]
    with m.If(begin):
        m.d.sync += [phase.eq(plan.phase), left.eq(plan.left), codes.eq(plan.codes), other.eq(plan.other),
                     rest.eq(plan.rest), whole.eq(plan.rest == 0), index.eq(0), first.eq(1), fresh.eq(plan.fresh),
                     slot.eq(slot ^ (plan.fresh & (plan.phase != Phase.VECTOR)))]
        if unit.config.k_quants:
            m.d.sync += [integers.eq(plan.integers), high.eq(plan.high),
                         high_slot.eq(high_slot ^ (plan.phase != Phase.VECTOR))]
    began = Signal()
    m.d.sync += began.eq(begin)
    check(m, ~(began & begin), "walk: a plan is made from the cycle after the group's beginning on")
    check(m, ~(accept & planned) | held, "walk: what begins is a command that waits")
    check(m, ~take | (phase != Phase.IDLE), "walk: a beat is of a command")
    return phase, slot, high_slot, index, command, first, fresh
