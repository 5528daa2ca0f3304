"""The checker: fields of every width against their limits, fields that nobody looks at, and what LINEARs have used."""

from copy import deepcopy

import cocotb
import harness
import pytest
from programs import matrix_beats
from scoville.attention.kv_store import page_offsets
from scoville.config import BLOCK, get_config
from scoville.control.checker import Checker
from scoville.isa import FIELDS, PAGE_SIZE_BITS, Dest, LoadDest, Mode, Opcode, ScaleFormat
from scoville.registers import Status
from test_checker import ILLEGAL, ONE, PLAIN, PROMPT, Broken, System, own_blocks


@cocotb.test()
async def used(dut):
    """What may be loaded without `wait` after LINEARs that wait or not, and use it or not."""
    system = System(dut, 9, 0.0)
    config, rng = system.config, system.rng
    outcomes = []
    for _ in range(60):
        program = Broken(config, rng, ONE).started()
        for _ in range(rng.randrange(1, 4)):
            norm, mode = rng.getrandbits(1), rng.choice([Mode.PLAIN, Mode.ROPE])
            fields = PLAIN | {"norm": norm, "bias": rng.getrandbits(1), "code_bits8": rng.getrandbits(1), "mode": mode,
                              "wait": rng.getrandbits(1), "tiles": 1, "head_blocks": 1, "only_last": 0, "src": 0,
                              "kblocks": rng.choice([1, program.legality.context.result_blocks])}
            if (drawn := program._draw(Opcode.LINEAR, fields)) is not None:
                program.try_add(Opcode.LINEAR, drawn)
        kind = rng.choice([None, *LoadDest])
        program.bad(Opcode.ROPE, wait=0) if kind is None else program.bad(Opcode.LOAD, wait=0, load_dest=kind)
        program.end()
        outcomes.append(await system.run(program.words, ONE))
    assert min(outcomes.count(Status.OK), outcomes.count(ILLEGAL)) > 5, outcomes


@cocotb.test()
async def each_bit_of_what_is_fresh(dut):
    """Blocks that end at a power of two, or are as many, are remembered as fresh behind one more instruction, which
    settles nothing: because it does not wait, or because it takes all but one of them."""
    system = System(dut, 13, 0.0)
    config, rng = system.config, system.rng
    half = config.operand_blocks // 2
    linear = PLAIN | {"mode": Mode.PLAIN, "code_bits8": 1, "src": 0, "kblocks": 1, "wait": 0}
    key = {"dest": Dest.KEY, "kv_heads": 1, "head_blocks": 1, "tiles": 1, "wait": 0, "bias": 0, "mode": Mode.PLAIN,
           "code_bits8": 1}
    bits = range(2, config.operand_blocks.bit_length() - 1)
    # The first's blocks, and what is not as above of the second and of the third, which reads one that is fresh.
    cases = [((1 << bit) - 2, 2, {}, {"src": (1 << bit) - 1}) for bit in bits]
    cases += [(half, 1 << bit, {"wait": 1, "src": half, "kblocks": (1 << bit) - 1}, {"src": half})
              for bit in range(1, half.bit_length())]
    for first in (*(1 << bit for bit in bits), 9, 11):  # right before and right behind the first's blocks
        cases += [(first, 2, {"dst": block}, {"src": block}) for block in (first - 1, first + 2)]
    for first, tiles, second, third in cases:
        program = own_blocks(config, rng, 1).of(Opcode.LOAD, load_dest=LoadDest.BIAS, count=BLOCK)
        program.of(Opcode.LINEAR, **linear | {"tiles": tiles, "dst": first})
        program.of(Opcode.LINEAR, **linear | {"tiles": 1, "dst": 1} | second)
        program.bad(Opcode.LINEAR, **key | {"kblocks": 1} | third)
        assert await system.run(program.words, ONE) is ILLEGAL, (first, tiles, second)


MATRIX = PLAIN | {"mode": Mode.PLAIN, "src": 0, "kblocks": 1, "tiles": 1, "dst": 2, "address": 0, "code_bits8": 1,
                  "scale_format": ScaleFormat.E8M0, "minimum": 0, "high_bits": 0}


def skipped(config, rng, opcode, fields):
    """A program of one instruction, which a pass of PROMPT skips if it is legal by itself."""
    if opcode is Opcode.LINEAR:
        fields = fields | {"beats": matrix_beats(config, fields) % (1 << FIELDS[opcode]["beats"][1])}
    program = Broken(config, rng, PROMPT).bad(opcode, **fields | {"only_last": 1})
    program.end()
    return program


@cocotb.test()
async def page_sizes(dut):
    """KV_PAGE_BYTES of every width, and of just a layer's bytes; the instruction is one that the pass skips."""
    system = System(dut, 10, 0.0)
    config, rng = system.config, system.rng
    cases = [(blocks, page_offsets(config, blocks)[1] - less) for blocks in range(1, config.max_head_blocks + 1)
             for less in (0, 1)]
    cases += [(rng.randint(1, config.max_head_blocks), 1 << bit) for bit in range(PAGE_SIZE_BITS)]
    for blocks, page_bytes in cases:
        program = skipped(config, rng, Opcode.LINEAR, MATRIX | {
            "dest": Dest.KEY, "tiles": blocks, "kv_heads": 1, "head_blocks": blocks, "offset": 0,
            "stride": page_offsets(config, blocks)[1], "cache": 0})
        wanted = Status.OK if page_bytes >= page_offsets(config, blocks)[1] else ILLEGAL
        assert await system.run(program.words, PROMPT, page_bytes) is wanted


def far_beyond(config):
    """(opcode, fields): fields that are a power of two, mostly beyond their limit; all of skipped instructions."""
    blocks = config.operand_blocks
    logits = MATRIX | {"dest": Dest.LOGITS, "limit": 1}
    heads = {"kv_heads": 1, "group": 1, "head_blocks": 1, "src": 0, "dst": blocks // 2, "offset": 0,
             "stride": page_offsets(config, 1)[1], "cache": 0, "softmax_scale": 0}
    for opcode, fields, names in (
            (Opcode.LINEAR, MATRIX, ("src", "dst", "kblocks", "tiles")),
            (Opcode.LINEAR, logits | {"bias": 1}, ("tiles",)),
            (Opcode.LINEAR, logits, ("limit",)), (Opcode.ATTEND, heads, ("src", "dst", "kv_heads", "group")),
            (Opcode.LOAD, {"load_dest": LoadDest.NORM, "address": 0}, ("count",)),
            (Opcode.LOAD, {"load_dest": LoadDest.BIAS, "address": 0}, ("count",)),
            (Opcode.EMBED, {"dst": 0, "address": 0}, ("rows",)),
            (Opcode.EMBED, {"rows": BLOCK, "address": 0}, ("dst",))):
        for name in names:
            for bit in range(5, FIELDS[opcode][name][1]):
                yield opcode, fields | {name: 1 << bit}
    for name in ("residual", "bias"):  # heads are what may be many
        for bit in range(5, 8):
            yield Opcode.LINEAR, MATRIX | {"dest": Dest.VALUE, name: 1, "tiles": 1 << bit, "kv_heads": 1 << bit,
                                        "head_blocks": 1, "offset": 0, "cache": 0,
                                        "stride": page_offsets(config, 1)[1]}
    for tiles in (32, 64, 96):
        yield Opcode.LINEAR, MATRIX | {"norm": 1, "src": blocks - 1, "dst": 0, "tiles": min(tiles, blocks - 1)}


@cocotb.test()
async def powers_of_two(dut):
    """Each bit of a field counts where it is compared with a limit."""
    system = System(dut, 11, 0.0)
    config, rng = system.config, system.rng
    outcomes = []
    for opcode, fields in far_beyond(config):
        outcomes.append(await system.run(skipped(config, rng, opcode, fields).words, PROMPT))
    assert min(outcomes.count(Status.OK), outcomes.count(ILLEGAL)) > 5, outcomes


@cocotb.test()
async def unseen_fields(dut):
    """What a kind of instruction does not look at may be anything."""
    system = System(dut, 12, 0.0)
    config, rng = system.config, system.rng
    kinds = [(Opcode.LOAD, {"load_dest": dest}) for dest in LoadDest] + [(Opcode.ROPE, {}), (Opcode.EMBED, {"dst": 0})]
    kinds += [(Opcode.LINEAR, {"dest": dest}) for dest in Dest if dest is not Dest.NONE]
    kinds += [(Opcode.LINEAR, PLAIN | {"mode": mode}) for mode in Mode]
    for fill in (0, 1):
        program = Broken(config, rng, ONE).started()
        for opcode, given in kinds:
            if given.get("dest") is Dest.VALUE:
                x = program.legality.context
                given |= {"kv_heads": x.cache_heads, "head_blocks": x.cache_blocks, "offset": x.offset,
                          "stride": x.stride, "cache": x.cache}
            given = {"only_last": int(given.get("dest") is Dest.LOGITS), "wait": 1} | given
            fields = deepcopy(program).add(opcode, **given)
            names = sorted(fields.keys() - given.keys() - {"tiles", "kblocks", "beats", "dst"})
            for name in rng.sample(names, len(names)):
                other = fields | {name: fill * ((1 << FIELDS[opcode][name][1]) - 1)}
                if deepcopy(program).try_add(opcode, other):
                    fields = other
            assert program.try_add(opcode, fields)
        program.end()
        assert await system.run(program.words, ONE) is Status.OK


@pytest.mark.parametrize("config", ["nano", "slim", "kria"])
def test_checker_limits(sim, config):
    harness.run(Checker(get_config(config)), __name__, sim=sim, parameters=config)
