"""The checker against the model of the rules; each fault alone is refused, and its limits are not."""

import random
from dataclasses import replace

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import IDS, LegalProgram, encoded, largest_page, matrix_beats, random_instruction, random_state
from scoville.attention.kv_store import page_offsets
from scoville.config import BLOCK, CONFIGS, SUPER_BLOCKS, get_config
from scoville.control import legality
from scoville.control.checker import Checker, checked_layout
from scoville.control.instruction_fetch import instruction_layout
from scoville.control.legality import Legality, Tag
from scoville.control.rules import RULES
from scoville.isa import FIELDS, INSTRUCTION_BYTES, POSITION_BITS, Dest, LoadDest, Mode, Opcode, ScaleFormat, decode
from scoville.registers import Status
from scoville.schedule.seats import PassState, of_run
from scoville_host.checkpoint.formats import FORMATS
from scoville_host.compiler.layout import matrix_bytes

PLAIN = {"dest": Dest.OPERAND, "mode": Mode.PLAIN, "bias": 0, "residual": 0, "norm": 0, "lane_scale": 0}
ILLEGAL = Status.ILLEGAL_INSTRUCTION
SCALES = [ScaleFormat.NONE, ScaleFormat.E8M0, ScaleFormat.FP16]  # of every chip


def patched(word, opcode, name, value):
    """A word with one field changed."""
    lsb, width = FIELDS[opcode][name]
    return word & ~((1 << width) - 1 << lsb) | value << lsb


def extremes(rng, width, value):
    """Values of a field round its own and at its ends."""
    top = (1 << width) - 1
    near = [value + step for step in (-1, 1, -2, 2, 8, -8, 16, -16, 32, -32)]
    return [0, 1, top, top - 1, top // 2, top // 2 + 1, 1 << rng.randrange(width), rng.getrandbits(width),
            value ^ 1 << rng.randrange(width), *(each for each in near if 0 <= each <= top)]


def faults(config):
    """(opcode, fields beside, field, values that are faults, values that are legal, what they end with)."""
    bus, blocks, heads = config.bus_bytes, config.operand_blocks, config.max_head_blocks
    half = min(config.max_hidden // BLOCK, blocks) // 2  # blocks that `begin` writes
    memory = 1 << config.addr_bits

    def top(opcode, field):
        return (1 << FIELDS[opcode][field][1]) - 1

    yield Opcode.END, {}, "only_last", [1], [0], ILLEGAL
    for opcode in (Opcode.LOAD, Opcode.ROPE, Opcode.EMBED, Opcode.LINEAR):
        yield opcode, {}, "address", [1, bus - 1, bus + 1, memory - bus // 2], [0, bus], ILLEGAL
    yield Opcode.LOAD, {"load_dest": LoadDest.NORM, "count": BLOCK * 8}, "address", [memory - BLOCK * 32 + bus], [
        memory - BLOCK * 32], ILLEGAL
    for opcode in (Opcode.LOAD, Opcode.ROPE, Opcode.EMBED):
        yield opcode, {}, "bytes", [0, 1, bus - 1, top(opcode, "bytes")], [], ILLEGAL
    for opcode in (Opcode.ROPE, Opcode.EMBED):
        yield opcode, {}, "stride", [1, bus - 1, bus + 1], [0, bus, (1 << 24) - bus], ILLEGAL
    yield Opcode.LOAD, {}, "load_dest", [3], LoadDest, ILLEGAL
    for dest, depth in ((LoadDest.NORM, config.max_hidden), (LoadDest.BIAS, config.max_rows)):
        beats = {"load_dest": dest, "wait": 1}
        yield Opcode.LOAD, beats, "count", [0, 1, 31, depth + BLOCK, depth - 1, top(Opcode.LOAD, "count")], [
            BLOCK, depth], ILLEGAL
        yield Opcode.LOAD, beats | {"count": 64}, "bytes", [256 - bus, 256 + bus], [], ILLEGAL
    yield Opcode.LOAD, {"load_dest": LoadDest.NORM}, "wait", [0], [1], ILLEGAL
    yield Opcode.LOAD, {"load_dest": LoadDest.TABLE}, "count", [0, 8, 15, 17, 32], [16], ILLEGAL
    yield Opcode.LOAD, {"load_dest": LoadDest.TABLE}, "bytes", [max(16, bus) + bus], [max(16, bus)], ILLEGAL
    yield Opcode.ROPE, {}, "bytes", [128 - bus, max(128 * heads, bus) + bus], [max(128, bus)], ILLEGAL
    yield Opcode.EMBED, {"dst": 0}, "rows", [0, 1, 31, 33, 63, 32 * half + 1, config.max_hidden + 32], [32], ILLEGAL
    for count in (1, 2, half):
        yield Opcode.EMBED, {"rows": BLOCK * count}, "dst", [blocks - count + 1, top(Opcode.EMBED, "dst")], [
            0, blocks - count], ILLEGAL
    for name in ("inv_n", "epsilon"):
        finite = [0, 1, (255 << 23) - 1], [255 << 23, (1 << 31), (1 << 32) - 1]
        yield Opcode.EMBED, {}, name, finite[1], finite[0], ILLEGAL
        yield Opcode.LINEAR, PLAIN | {"norm": 1, "tiles": 2}, name, finite[1], finite[0], ILLEGAL
    yield Opcode.EMBED, {}, "limit", [0, 1], [IDS], Status.TOKEN
    yield Opcode.ROPE, {}, "limit", [0, 1, 39, 40], [41, 1000], Status.CONTEXT

    for count in (1, 2, half):
        yield Opcode.LINEAR, {"kblocks": count}, "src", [half - count + 1, blocks - count + 1, blocks, 4095], [
            0, half - count], ILLEGAL
    yield Opcode.LINEAR, PLAIN | {"tiles": 4, "kblocks": 2, "src": 1}, "dst", [
        0, 1, 2, blocks - 3, blocks, 4095], [3, blocks - 4], ILLEGAL
    yield Opcode.LINEAR, PLAIN | {"tiles": 2, "kblocks": 2, "src": 2}, "dst", [1, 2, 3], [0, 4], ILLEGAL
    for field in ("tiles", "kblocks"):
        yield Opcode.LINEAR, PLAIN, field, [0, 4095], [1], ILLEGAL
    for shape in ({"code_bits8": 1, "scale_format": ScaleFormat.E8M0, "minimum": 0, "kblocks": 3, "tiles": 3},
                  {"code_bits8": 0, "scale_format": ScaleFormat.FP16, "minimum": 1, "tiles": 1,
                   "kblocks": min(5, half)},
                  {"code_bits8": 0, "scale_format": ScaleFormat.NONE, "minimum": 0, "kblocks": 1, "tiles": 2}):
        right = matrix_beats(config, shape)
        yield Opcode.LINEAR, PLAIN | shape, "beats", [
            0, 1, right - 1, right + 1, right + (1 << 20), (1 << 24) - 1], [right], ILLEGAL
    yield Opcode.LINEAR, PLAIN, "tiles", [config.max_rows // BLOCK + 1, 1 << 19, (1 << 20) - 1], [], ILLEGAL
    if config.k_quants and half >= SUPER_BLOCKS:
        two_level = PLAIN | {"scale_format": ScaleFormat.TWO_LEVEL, "code_bits8": 0, "minimum": 0, "src": 0, "tiles": 1}
        yield Opcode.LINEAR, two_level | {"high_bits": 2}, "kblocks", [1, 4, 7, 9, 12], [8, 16][:half // 8], ILLEGAL
        for shape in (two_level | {"high_bits": 2}, two_level | {"high_bits": 1, "minimum": 1}):
            right = matrix_beats(config, shape | {"kblocks": 8})
            yield Opcode.LINEAR, shape | {"kblocks": 8}, "beats", [right - 1, right + 1], [right], ILLEGAL
    if config.k_quants:
        yield Opcode.LINEAR, PLAIN | {"code_bits8": 1}, "high_bits", [1, 2, 3], [0], ILLEGAL
        yield Opcode.LINEAR, PLAIN | {"code_bits8": 0}, "high_bits", [3], [0, 1, 2], ILLEGAL
    else:
        yield Opcode.LINEAR, PLAIN, "scale_format", [3], SCALES, ILLEGAL
        yield Opcode.LINEAR, PLAIN | {"code_bits8": 0}, "high_bits", [1, 2, 3], [0], ILLEGAL
    yield Opcode.LINEAR, PLAIN | {"head_blocks": 1, "tiles": 2}, "mode", [3], Mode, ILLEGAL
    yield Opcode.LINEAR, {}, "dest", [0, 6, 7], [1, 2, 3], ILLEGAL
    for name, loaded in (("bias", 32), ("residual", half), ("norm", half)):
        rows = PLAIN | {name: 1, "wait": 1, "kblocks": 1, "src": 0}
        if loaded + 1 < blocks:
            yield Opcode.LINEAR, rows | {"tiles": 1}, "tiles", [loaded + 1], [min(loaded, blocks - 1)], ILLEGAL
    glu = PLAIN | {"mode": Mode.GLU, "tiles": 4}
    yield Opcode.LINEAR, glu, "tiles", [1, 3], [2, 4], ILLEGAL
    yield Opcode.LINEAR, glu, "dest", [2, 3, 4, 5], [1], ILLEGAL
    for name in ("norm", "residual"):
        yield Opcode.LINEAR, glu, name, [1], [0], ILLEGAL
    logits = {"dest": Dest.LOGITS, "tiles": 3, "only_last": 1}
    yield Opcode.LINEAR, logits, "limit", [0, 97, (1 << 24) - 1], [1, 95, 96], ILLEGAL
    yield Opcode.LINEAR, logits, "only_last", [0], [1], ILLEGAL
    yield Opcode.LINEAR, logits, "mode", [1, 2], [0], ILLEGAL
    for name in ("norm", "residual"):
        yield Opcode.LINEAR, logits, name, [1], [0], ILLEGAL
    for dest in (Dest.QUERY, Dest.KEY):
        yield Opcode.LINEAR, {"dest": dest}, "head_blocks", [0, heads + 1, 15], range(1, heads + 1), ILLEGAL
        yield Opcode.LINEAR, {"dest": dest, "head_blocks": 1}, "kv_heads", [0, 4, 255], [1, 2, 3], ILLEGAL
        yield Opcode.LINEAR, {"dest": dest}, "norm", [1], [0], ILLEGAL
    yield Opcode.LINEAR, PLAIN | {"mode": Mode.ROPE}, "head_blocks", [0, heads + 1], range(1, heads + 1), ILLEGAL
    yield Opcode.LINEAR, {"dest": Dest.QUERY}, "group", [0, 2, 5, 255], [1, 3], ILLEGAL
    size, page = page_offsets(config, 1)[1], largest_page(config)
    key = {"dest": Dest.KEY, "offset": bus, "kv_heads": 3, "head_blocks": 1}
    yield Opcode.LINEAR, key, "stride", [0, size + 1, size + bus // 2, size - bus], [size, size + bus], ILLEGAL
    yield Opcode.LINEAR, key | {"stride": size}, "offset", [
        1, page - 1, page - 3 * size + bus], [page - 3 * size], ILLEGAL
    yield Opcode.LINEAR, key, "cache", [config.cache_groups, 15], range(config.cache_groups), ILLEGAL


ONE = of_run([1], 40, last=1)
PROMPT = ONE | {"last": 0}
IN_VAIN = {
    "`lane_scale`: a norm came before": "the blocks that are read are of an EMBED, or made from them, and it is a norm",
}
"""Rules that hold if the others do; each with its reason."""


class Broken(LegalProgram):
    """A program whose last instruction breaks a rule: its fields agree with each other, but nothing asks whether they
    are allowed."""

    def bad(self, opcode, **given):
        fields = {"only_last": 0, "wait": 1} | given
        if (drawn := self._draw(opcode, fields)) is None:
            drawn = random_instruction(self.config, self.rng, opcode, **fields)
        self.words.append(encoded(opcode, drawn | given))
        return self

    def of(self, opcode, **given):
        self.add(opcode, **{"only_last": 0, "wait": 1} | given)
        return self

    def started(self):
        self.begin()
        return self

    def attended(self):
        """KEY, VALUE and QUERY of 2 KV heads and groups of 3; ATTEND's fields are in `heads`."""
        self.begin()
        self.of(Opcode.LINEAR, dest=Dest.KEY, kv_heads=2, head_blocks=1, tiles=2)
        self.heads = {"kv_heads": 2, "head_blocks": 1} | {
            name: self.fields[-1][name] for name in ("offset", "stride", "cache")}
        self.of(Opcode.LINEAR, dest=Dest.VALUE, tiles=2, **self.heads)
        queries = self.config.operand_blocks - 6
        self.of(Opcode.LINEAR, dest=Dest.QUERY, kv_heads=2, head_blocks=1, group=3, tiles=6, dst=queries)
        self.heads |= {"src": queries, "group": 3}
        return self


def alone(config, rng):
    """(program, state, status, KV_PAGE_BYTES or None): faults that need more than one field, or an instruction before.

    Rules that are judged of skipped instructions are broken by one, where others would refuse it if it were not.
    """
    load, rope, embed, linear, attend = Opcode.LOAD, Opcode.ROPE, Opcode.EMBED, Opcode.LINEAR, Opcode.ATTEND
    bus, blocks, memory = config.bus_bytes, config.operand_blocks, 1 << config.addr_bits
    logits = {"dest": Dest.LOGITS, "only_last": 1}

    def new(state=ONE):
        return Broken(config, rng, state)

    def fault(program, status=ILLEGAL, state=ONE, page_bytes=None):
        return program, state, status, page_bytes

    yield fault(new().bad(rope, bytes=128 + bus // 2))
    yield fault(new().started().bad(embed, rows=33, dst=0))
    yield fault(new().started().bad(embed, rows=32, dst=0, element=0, bytes=-(-128 // bus) * bus + bus))
    yield fault(new().started().bad(linear, **PLAIN | {"tiles": 0, "dst": 0, "src": 1, "kblocks": 1, "code_bits8": 1}))
    yield fault(new().started().bad(linear, address=memory - bus, **PLAIN | {
        "tiles": 1, "src": 1, "kblocks": 1, "dst": 0}))
    size, page = page_offsets(config, 1)[1], largest_page(config)
    for name, most in (("bias", config.max_rows), ("residual", config.max_hidden)):
        rows = {"kv_heads": most // BLOCK + 1, "tiles": most // BLOCK + 1, "head_blocks": 1}
        yield fault(new(PROMPT).started().bad(linear, only_last=1, src=0, kblocks=1, **rows | {
            "dest": Dest.VALUE, "mode": Mode.PLAIN, "offset": 0, "cache": 0, "stride": size, "bias": 0, "residual": 0,
            } | {name: 1}), state=PROMPT)
    skipped = {"only_last": 1, "kv_heads": 1, "group": 1, "head_blocks": 1, "src": 0, "dst": 8, "offset": 0,
               "stride": size, "cache": 0, "softmax_scale": 0}
    for fields in ({"offset": 1}, {"stride": size + 1}, {"stride": size - bus}, {"offset": page + bus - size},
                   {"cache": config.cache_groups}, {"kv_heads": 0},
                   {"group": 0}, {"head_blocks": 0}, {"head_blocks": config.max_head_blocks + 1, "dst": 16},
                   {"src": blocks}, {"dst": blocks}, {"dst": 0}, {"softmax_scale": 255 << 23},
                   {"softmax_scale": 511 << 23}):
        yield fault(new(PROMPT).bad(attend, **skipped | fields), state=PROMPT)
    key = {"dest": Dest.KEY, "kv_heads": 2, "head_blocks": 1, "tiles": 2}
    yield fault(new().started().bad(linear, **key), page_bytes=page_offsets(config, 1)[1] - 1)
    yield fault(new().started().of(linear, **PLAIN | {"mode": Mode.ROPE, "head_blocks": 1}).bad(rope, wait=0))
    yield fault(new().of(load, load_dest=LoadDest.NORM, count=32).bad(embed, rows=64, dst=0))
    small = {"tiles": 2, "src": 0, "kblocks": 1, "dst": 2, "mode": Mode.PLAIN}
    yield fault(new().started().of(load, load_dest=LoadDest.NORM, count=32).bad(linear, **PLAIN | small | {"norm": 1}))
    yield fault(new().started().of(load, load_dest=LoadDest.BIAS, count=32).bad(linear, **PLAIN | small | {"bias": 1}))
    for name, opcode, before in (("norm", load, LoadDest.NORM), ("bias", load, LoadDest.BIAS)):
        yield fault(new().started().of(linear, **PLAIN | small | {name: 1}).bad(opcode, load_dest=before, wait=0))
    yield fault(new().started().of(linear, **PLAIN | small | {"code_bits8": 0}).bad(
        load, load_dest=LoadDest.TABLE, wait=0))
    yield fault(new().of(load, load_dest=LoadDest.NORM, count=64).of(embed, rows=32, dst=0).bad(
        linear, **PLAIN | small | {"residual": 1, "code_bits8": 1}))
    if config.max_head_blocks > 1 and bus <= 128:
        yield fault(new().started().of(rope, bytes=128).bad(linear, **PLAIN | small | {
            "mode": Mode.ROPE, "head_blocks": 2}))
    yield fault(new().of(load, load_dest=LoadDest.NORM, count=64).of(embed, rows=64, dst=0).bad(
        linear, **PLAIN | small | {"code_bits8": 0}))
    yield fault(new().started().of(linear, **PLAIN | small | {"src": 1, "dst": 2}).bad(
        linear, **PLAIN | small | {"src": 2, "kblocks": 2, "dst": 0, "wait": 0}))
    yield fault(new().started().of(linear, **PLAIN | small | {"tiles": 2}).of(
        linear, **PLAIN | small | {"src": 2, "kblocks": 1, "dst": 0, "tiles": 1}).bad(
        linear, **PLAIN | small | {"src": 3, "kblocks": 1, "dst": 1, "tiles": 1, "wait": 0}))  # of half the results
    program = new().attended()
    yield fault(program.bad(attend, wait=0, dst=0, **program.heads))
    yield fault(new().started().of(linear, **logits).bad(linear, **logits))
    yield fault(new().started().bad(linear, **key | {"dest": Dest.VALUE}))
    for change in ({"offset": bus}, {"stride": size + 31 * bus}, {"kv_heads": 1, "tiles": 1}):
        program = new().attended()
        pages = {"dest": Dest.VALUE, "tiles": 2} | {name: value for name, value in program.heads.items()
                                                     if name not in ("src", "group")}
        yield fault(program.bad(linear, **pages | change))
    for change in ({"offset": bus}, {"stride": size + 31 * bus}, {"group": 1}, {"src": blocks - 5, "group": 1}):
        program = new().attended()
        yield fault(program.bad(attend, dst=0, **program.heads | change))
    program = new().attended()
    pages = {name: value for name, value in program.heads.items() if name not in ("src", "group")}
    yield fault(program.of(linear, dest=Dest.KEY, tiles=2, **pages).bad(attend, dst=0, **program.heads))
    yield fault(new().started().bad(Opcode.END))


def by_the_model(config, words, state, page_bytes):
    """(word, status) that leave the checker."""
    legality, out = Legality(config), []
    for word in words:
        fields = decode(word.to_bytes(INSTRUCTION_BYTES, "little")) if word & 15 in list(Opcode) else None
        status = legality.check(fields, state, page_bytes)
        if status is not Status.OK or not fields["only_last"] or state["last"]:
            out.append((word, int(status)))
        if status is not Status.OK:
            break
    return out


class System:
    """The checker, a pass at a time."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.config = dut, get_config(harness.parameters())
        self.tb = harness.Bench(dut, seed)
        self.rng = self.tb.rng
        self.source, self.sink = self.tb.source("i", stalls), self.tb.sink("o", stalls)
        self.page_bytes = largest_page(self.config)
        self.refused = True

    async def run(self, words, state, page_bytes=None):
        """One pass; what comes is what the model says. Returns how it ended."""
        dut, page_bytes = self.dut, page_bytes or self.page_bytes
        ends = [number for number, word in enumerate(words) if word & 15 == Opcode.END]
        words = words[:ends[0] + 1] if ends else words  # what is behind an END is the next pass's
        if self.refused:
            await self.tb.reset()
        dut.state.value = harness.pack(PassState(self.config), state)
        dut.page_bytes.value = page_bytes
        await RisingEdge(dut.clk)
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        expected = by_the_model(self.config, words, state, page_bytes)
        sent = [{"word": word, "address": self.rng.getrandbits(self.config.addr_bits)} for word in words]
        mark = len(self.source.accepted)
        self.source.send(harness.pack(instruction_layout(self.config), each) for each in sent)
        shown = [harness.unpack(checked_layout(self.config), item) for item in await self.sink.receive(len(expected))]
        assert [(item["word"], item["status"]) for item in shown] == expected, f"seed {self.tb.seed}"
        origins = {each["word"]: each["address"] for each in sent}
        assert all(item["address"] == origins[item["word"]] for item in shown if words.count(item["word"]) == 1)
        self.refused = expected[-1][1] != Status.OK
        await self.tb.wait(3)
        assert len(self.source.accepted) - mark == words.index(expected[-1][0]) + 1 or len(set(words)) < len(words)
        return Status(expected[-1][1])


def program_for(config, rng, state):
    program = LegalProgram(config, rng, state)
    program.begin()
    return program


@cocotb.test()
async def each_fault(dut):
    """A legal instruction with one field changed: at its limits, past them, far past them."""
    system = System(dut, 1, 0.0)
    config, rng = system.config, system.rng
    state, cases = ONE, list(faults(config))
    rng.shuffle(cases)  # whatever is wrong is met soon
    for opcode, fields, field, wrong, right, status in cases:
        if opcode is not Opcode.END:
            fields = {"only_last": 0} | fields
        for value in right:
            program = program_for(config, rng, state)
            if opcode is not Opcode.END:
                program.add(opcode, **fields | {field: value})
            program.end()
            assert await system.run(program.words, state) is Status.OK
        for value in wrong:
            program = program_for(config, rng, state)
            if opcode is Opcode.END:
                program.end()
            else:
                program.add(opcode, **{name: each for name, each in fields.items() if name != field})
            program.words[-1] = patched(program.words[-1], opcode, field, value)
            found = await system.run(program.words, state)
            assert found is status, f"{opcode.name} {fields}: {field} = {value} is {found.name} ({system.tb.seed})"
    for opcode in range(len(Opcode), 16):
        assert await system.run([rng.getrandbits(252) << 4 | opcode], state) is ILLEGAL


@cocotb.test()
async def each_fault_alone(dut):
    """Faults of which no other rule knows."""
    system = System(dut, 4, 0.0)
    for program, state, status, page_bytes in alone(system.config, system.rng):
        assert await system.run(program.words, state, page_bytes) is status, decode(
            program.words[-1].to_bytes(INSTRUCTION_BYTES, "little"))


def wide(rng, bits, least=1):
    """A number of any width."""
    return max(least, rng.choice([1 << rng.randrange(bits), rng.getrandbits(rng.randint(1, bits)), (1 << bits) - 1]))


def wide_cache(config, rng):
    """KV heads of any number and parts of any size, anywhere in a page."""
    bus, page, head_blocks = config.bus_bytes, largest_page(config), rng.randint(1, config.max_head_blocks)
    kv_heads, shift = wide(rng, 8), bus.bit_length() - 1
    stride = bus * wide(rng, FIELDS[Opcode.ATTEND]["stride"][1] - shift)
    stride = max(min(stride, page // kv_heads & -bus), page_offsets(config, head_blocks)[1])
    offset = rng.choice([page - kv_heads * stride, rng.randrange(page - kv_heads * stride + 1) & -bus])
    return {"kv_heads": kv_heads, "head_blocks": head_blocks, "offset": offset, "stride": stride,
            "cache": rng.randrange(config.cache_groups)}


def own_blocks(config, rng, count=8, state=ONE):
    """A program that has written so many operand blocks, and no more."""
    program = Broken(config, rng, state).of(Opcode.LOAD, load_dest=LoadDest.NORM, count=BLOCK * count)
    return program.of(Opcode.EMBED, rows=BLOCK * count, dst=0)


@cocotb.test()
async def remembered(dut):
    """Of a KEY and a QUERY all bits are compared with what comes after."""
    system = System(dut, 5, 0.0)
    config, rng = system.config, system.rng
    plain = {"mode": Mode.PLAIN, "bias": 0, "code_bits8": 1, "src": 0, "kblocks": 1}

    def linear(program, dest, heads, add=Broken.of):
        tiles = heads["kv_heads"] * heads["head_blocks"] * heads.get("group", 1)
        return add(program, Opcode.LINEAR, dest=dest, tiles=tiles, **plain | heads)

    for _ in range(6):
        program = own_blocks(config, rng)
        for _ in range(6):
            cache = wide_cache(config, rng)
            linear(linear(program, Dest.KEY, cache), Dest.VALUE, cache)
        program.end()
        assert await system.run(program.words, ONE) is Status.OK
    flips = [(name, bit) for name, (_, width) in FIELDS[Opcode.ATTEND].items()
             for bit in range(width) if name in ("offset", "stride", "cache", "kv_heads")]
    for name, bit in flips:
        cache = wide_cache(config, rng)
        program = linear(own_blocks(config, rng), Dest.KEY, cache)
        linear(program, Dest.VALUE, cache | {name: cache[name] ^ 1 << bit}, add=Broken.bad)
        assert await system.run(program.words, ONE) is not Status.OK
    # As many queries as there is room for, and attention to them, or to some of them.
    outcomes = []
    for number in range(400):
        if number >= 40 and {Status.OK, ILLEGAL} <= set(outcomes):
            break
        cache = wide_cache(config, rng)
        head_blocks, room = cache["head_blocks"], config.operand_blocks - 8
        kv_heads = min(cache["kv_heads"], room // head_blocks)
        group = rng.randint(1, room // head_blocks // kv_heads)
        blocks = kv_heads * group * head_blocks
        cache |= {"kv_heads": kv_heads}
        program = linear(linear(own_blocks(config, rng), Dest.KEY, cache), Dest.VALUE, cache)
        at = rng.randint(8, config.operand_blocks - blocks)
        program.of(Opcode.LINEAR, dest=Dest.QUERY, tiles=blocks, dst=at, kv_heads=kv_heads, group=group,
                   head_blocks=head_blocks, **plain)
        heads = cache | {"src": at, "group": group, "dst": at + blocks if at + 2 * blocks <= config.operand_blocks
                         else at - blocks}
        if heads["dst"] < 0:
            continue
        if number % 2:
            name = rng.choice(["src", "group", "offset", "stride"])
            heads |= {"src": {"src": at + rng.randrange(1, blocks + 1), "group": rng.randint(1, group)},
                      "group": {"group": rng.randint(1, group)},
                      "offset": {"offset": heads["offset"] ^ config.bus_bytes << rng.randrange(20)},
                      "stride": {"stride": heads["stride"] ^ config.bus_bytes << rng.randrange(12)},
                      }[name]
        program.bad(Opcode.ATTEND, **heads)
        program.end()
        outcomes.append(await system.run(program.words, ONE))
    assert {Status.OK, ILLEGAL} <= set(outcomes)


@cocotb.test()
async def long_contexts(dut):
    """Positions of every width: the last one that ROPE's limit has room for, and the next, in any seat."""
    system = System(dut, 8, 0.0)
    config, rng = system.config, system.rng
    for bit in range(POSITION_BITS):
        limit = rng.randrange(1 << bit, 2 << bit)
        for over, wanted in ((0, Status.OK), (1, Status.CONTEXT)):
            tokens = min(rng.randint(1, config.seats), limit)
            state = of_run([1] * tokens, limit + over - tokens)
            rng.shuffle(state["seats"])
            if limit + over < 1 << POSITION_BITS:
                program = Broken(config, rng, state).bad(Opcode.ROPE, limit=limit)
                program.end()
                assert await system.run(program.words, state) is wanted


@cocotb.test()
async def settling(dut):
    """Without `wait`, what reads blocks near those that are not settled: the first and the last of them, and beside."""
    system = System(dut, 6, 0.0)
    config, rng = system.config, system.rng
    outcomes = []
    own = min(16, config.max_hidden // BLOCK)
    for _ in range(80):
        program = own_blocks(config, rng, own)
        linear = PLAIN | {"mode": Mode.PLAIN, "kblocks": 1, "code_bits8": 1, "src": 0}
        x = program.legality.context
        # The first takes some of what EMBED wrote, and so settles nothing.
        for wait in (1, *rng.choice([(), (1,), (1,), (1, 0), (1, 0, 0), (0, 0)])):
            tiles = rng.randrange(1, 4)
            dst = rng.randrange(1, own - tiles if rng.random() < 0.8 else config.operand_blocks - tiles)
            if rng.random() < 0.2:  # they end at a power of two
                dst = (1 << rng.randrange(3, config.operand_blocks.bit_length())) - tiles
            # Of the last results, all but one, all, or one more: where it waits, that is whether it settles the others.
            src, kblocks = 0, 1
            more = x.result_blocks + rng.randrange(-1, 2)
            if rng.random() < 0.5 and more > 0 and program.legality.tags[x.result:x.result + more] == [Tag.OWN] * more:
                src, kblocks = x.result, more
            fields = linear | {"tiles": tiles, "dst": dst, "wait": wait, "src": src, "kblocks": kblocks}
            if (drawn := program._draw(Opcode.LINEAR, fields | {"only_last": 0})) is not None:
                program.try_add(Opcode.LINEAR, drawn)
            if rng.random() < 0.3:  # settles them and writes none
                program.of(Opcode.LOAD, load_dest=LoadDest.BIAS, count=BLOCK)
        # A KEY writes none of these blocks. Those that read beside them go on, the one that reads one of them does not.
        kblocks = rng.randrange(1, 4)
        reads = [(x.fresh - kblocks, kblocks), (x.fresh_end, kblocks)]
        if rng.random() < 0.8:
            reads += [rng.choice([(x.fresh, 1), (x.fresh_end - 1, 1), (x.fresh + 1 - kblocks, kblocks),
                                  (x.fresh_end - 1, kblocks)])]
        for src, count in reads:
            if src >= 0 and program.legality.tags[src:src + count] == [Tag.OWN] * count:
                program.bad(Opcode.LINEAR, dest=Dest.KEY, kv_heads=1, head_blocks=1, tiles=1, wait=0, bias=0,
                            mode=Mode.PLAIN, code_bits8=1, src=src, kblocks=count)
        program.end()
        outcomes.append(await system.run(program.words, ONE))
    assert min(outcomes.count(Status.OK), outcomes.count(ILLEGAL)) > 5, outcomes


@cocotb.test()
async def wide_products(dut):
    """Factors of all widths, of instructions that are skipped: only what they say by themselves is judged."""
    system = System(dut, 7, 0.0)
    config, rng, bus = system.config, system.rng, system.config.bus_bytes
    beats_bits = FIELDS[Opcode.LINEAR]["beats"][1]
    matrix = {"mode": Mode.PLAIN, "norm": 0, "residual": 0, "minimum": 0, "src": 0, "only_last": 1, "bias": 0,
              "address": 0, "code_bits8": 1, "scale_format": ScaleFormat.E8M0, "high_bits": 0}
    outcomes = []
    for number in range(90):
        program = Broken(config, rng, PROMPT)
        for judged in (0, 0, 0, 1):  # the last may be refused
            cache = wide_cache(config, rng)
            if judged and number % 2:
                cache["offset"] += bus << rng.randrange(3)
            kind = rng.randrange(3)
            if kind == 0:
                half = config.operand_blocks // 2
                cache["kv_heads"] = min(cache["kv_heads"], half // cache["head_blocks"])
                program.bad(Opcode.ATTEND, only_last=1, src=0, dst=half, softmax_scale=0, group=1, **cache)
            elif kind == 1:
                fields = matrix | {"kblocks": 1, "tiles": cache["kv_heads"] * cache["head_blocks"]}
                program.bad(Opcode.LINEAR, dest=rng.choice([Dest.KEY, Dest.VALUE]), **fields | cache,
                            beats=matrix_beats(config, fields))
            else:
                kblocks = rng.randint(1, config.operand_blocks)
                fields = matrix | {"dest": Dest.LOGITS, "kblocks": kblocks, "limit": 1,
                                   "code_bits8": rng.getrandbits(1), "scale_format": rng.choice(SCALES)}
                one = matrix_beats(config, fields | {"tiles": 1})
                tiles = wide(rng, 19)
                if not judged or number % 2:
                    tiles = min(tiles, (1 << beats_bits) // one - 1)  # else more beats than the field can say
                beats = tiles * one
                if judged and number % 2:
                    beats ^= 1 << rng.randrange(beats_bits)
                program.bad(Opcode.LINEAR, **fields | {"tiles": tiles, "beats": beats % (1 << beats_bits)})
        program.end()
        outcomes.append(await system.run(program.words, PROMPT))
    assert min(outcomes.count(Status.OK), outcomes.count(ILLEGAL)) > 20, outcomes


async def random_passes(dut, seed, stalls, count):
    """Legal passes, and passes with one field of one instruction changed."""
    system = System(dut, seed, stalls)
    config, rng = system.config, system.rng
    ends = set()
    for number in range(count):
        state = random_state(config, rng)
        program = program_for(config, rng, state)
        for _ in range(rng.randrange(6)):
            opcode = rng.choice([Opcode.LOAD, Opcode.ROPE, Opcode.EMBED, Opcode.LINEAR, Opcode.LINEAR, None])
            program.layer() if opcode is None else program.add(opcode)
        program.end()
        words = list(program.words)
        if number % 3:
            place = rng.randrange(len(words))
            opcode = Opcode(words[place] & 15)
            name = rng.choice([name for name in FIELDS[opcode] if number % 7 == 0 or name != "opcode"])
            lsb, width = FIELDS[opcode][name]
            words[place] = patched(words[place], opcode, name,
                                   rng.choice(extremes(rng, width, words[place] >> lsb & (1 << width) - 1)))
        page_bytes = rng.randrange(largest_page(config)) if number % 5 == 0 else None
        end = await system.run(words, state, page_bytes)
        assert number % 3 or page_bytes or end is Status.OK
        ends.add(end)
    assert {Status.OK, ILLEGAL} <= ends
    return system


@cocotb.test()
async def random_stalls(dut):
    await random_passes(dut, 2, 0.3, 150)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; three cycles an instruction that has no products."""
    system = await random_passes(dut, 3, 0.0, 150)
    state = of_run([1], 40)
    program = LegalProgram(system.config, system.rng, state)
    for _ in range(10):
        program.add(Opcode.LOAD, wait=1, only_last=0)
    program.end()
    assert await system.run(program.words, state) is Status.OK
    assert system.sink.cycles[-1] - system.sink.cycles[-11] == 3 * 10


@pytest.mark.parametrize("config", ["nano", "slim", "kria", "ulx3s_bram"])
def test_checker(sim, config):
    harness.run(Checker(get_config(config)), __name__, sim=sim, parameters=config)


@pytest.mark.parametrize("name", CONFIGS)
def test_beats_are_those_of_the_layout(name):
    """The beats that a LINEAR must have are those that the compiler's layout makes."""
    config = get_config(name)
    for fmt in FORMATS.values():
        if (fmt.two_level or fmt.high_bits) and not config.k_quants:
            continue
        for kblocks in (8, 16, 24) if fmt.two_level else range(1, 2 * config.group + 3):
            shape = {"kblocks": kblocks, "tiles": 3, "code_bits8": int(fmt.code_bits == 8),
                     "scale_format": fmt.scale_format, "minimum": int(fmt.minimum), "high_bits": fmt.high_bits}
            assert matrix_beats(config, shape) * config.bus_bytes == matrix_bytes(fmt, 3, kblocks, config)


def broken_programs(config, rng):
    """(words, state, status, KV_PAGE_BYTES) of every fault of `faults` and `alone`."""
    for opcode, fields, field, wrong, _, status in faults(config):
        for value in wrong:
            program = program_for(config, rng, ONE)
            if opcode is Opcode.END:
                program.end()
            else:
                beside = {"only_last": 0} | fields
                program.add(opcode, **{name: each for name, each in beside.items() if name != field})
            program.words[-1] = patched(program.words[-1], opcode, field, value)
            yield program.words, ONE, status, largest_page(config)
    for program, state, status, page_bytes in alone(config, rng):
        yield program.words, state, status, page_bytes or largest_page(config)


def test_no_rule_is_in_vain(monkeypatch):
    """Without any one rule, some fault is let pass: each is broken by itself."""
    nano, rng = get_config("nano"), random.Random(1)
    cases = [(nano, *case) for case in broken_programs(nano, rng)]
    wide = replace(nano, bus_bytes=256)  # 2^24 rows are fewer than 2^24 beats
    many = {"tiles": 1 << 19, "kblocks": 1, "src": 0, "dest": Dest.LOGITS, "only_last": 1, "mode": Mode.PLAIN,
            "code_bits8": 0, "minimum": 0, "scale_format": ScaleFormat.NONE, "bias": 0, "address": 0, "limit": 1,
            "high_bits": 0}
    cases.append((wide, Broken(wide, rng, PROMPT).bad(Opcode.LINEAR, **many, beats=1 << 20, residual=0, norm=0).words,
                  PROMPT, ILLEGAL, largest_page(wide)))
    roomy = replace(nano, operand_blocks=1024)
    heads = {"only_last": 1, "kv_heads": 200, "group": 2, "head_blocks": 1, "src": 0, "dst": 512, "offset": 0,
             "stride": page_offsets(nano, 1)[1], "cache": 0, "softmax_scale": 0}
    cases.append((roomy, Broken(roomy, rng, PROMPT).bad(Opcode.ATTEND, **heads).words, PROMPT, ILLEGAL,
                  largest_page(roomy)))

    def unnoticed():
        return all(by_the_model(config, words, state, page_bytes)[-1:] == [(words[-1], status)]
                   for config, words, state, status, page_bytes in cases)

    for config, words, state, status, page_bytes in cases:
        fields = decode(words[-1].to_bytes(INSTRUCTION_BYTES, "little"))
        assert by_the_model(config, words, state, page_bytes)[-1:] == [(words[-1], status)], fields
    found = set()
    for rule in RULES:
        monkeypatch.setattr(legality, "RULES", tuple(other for other in RULES if other is not rule))
        if unnoticed():
            found.add(rule.text)
    assert found == set(IN_VAIN)
