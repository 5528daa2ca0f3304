"""The legality check of several chips at once: each fault alone is refused, its limits are not; RTL = `is_legal`."""

import cocotb
import harness
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from programs import encoded, random_instruction
from scoville.config import BLOCK, get_config
from scoville.control.legality import is_legal, legal_signal
from scoville.isa import FIELDS, INSTRUCTION_BYTES, Dest, LoadDest, Mode, Opcode, ScaleFormat, decode

CHIPS = ("nano", "slim", "kria", "tangnano20k")  # they differ in every limit
BY_HEAD = ({"dest": Dest.QUERY}, {"dest": Dest.KEY}, {"dest": Dest.VALUE}, {"mode": Mode.ROPE})
PLAIN = {"dest": Dest.OPERAND, "mode": Mode.PLAIN, "bias": 0, "residual": 0, "norm": 0, "src": 0, "limit": 1}


class Checks(wiring.Component):
    """The check of each chip on the same word."""

    def __init__(self):
        super().__init__({"word": In(8 * INSTRUCTION_BYTES)} | {f"legal_{name}": Out(1) for name in CHIPS})

    def elaborate(self, platform):
        m = Module()
        for name in CHIPS:
            m.d.comb += getattr(self, f"legal_{name}").eq(legal_signal(m, get_config(name), self.word))
        return m


def faults(config):
    """(opcode, fields, field, values that are faults, values that are legal) of every fault there is.

    `fields` are those beside it; the rest of the instruction is legal, whatever it is.
    """
    bus, blocks, heads = config.bus_bytes, config.operand_blocks, config.max_head_blocks
    hidden, rows = config.max_hidden // BLOCK, config.max_rows // BLOCK

    def top(opcode, field):
        return (1 << FIELDS[opcode][field][1]) - 1

    yield Opcode.END, {}, "only_last", [1], [0]
    for opcode in (Opcode.LOAD, Opcode.ROPE, Opcode.EMBED):
        yield opcode, {}, "bytes", [0, 1, bus - 1], [bus, bus + 1, top(opcode, "bytes")]
    yield Opcode.LOAD, {}, "load_dest", range(len(LoadDest), 4), LoadDest
    yield (Opcode.EMBED, {"dst": 0}, "rows",
           [0, 1, 31, 33, 63, 32 * hidden - 1, 32 * hidden + 1, 32 * hidden + 32, top(Opcode.EMBED, "rows")],
           [32, 64, 32 * min(hidden, blocks)])
    for count in (1, 2, min(hidden, blocks)):
        yield (Opcode.EMBED, {"rows": BLOCK * count}, "dst", [blocks - count + 1, top(Opcode.EMBED, "dst")],
               [0, blocks - count])
    for count in (1, 2, blocks):
        yield Opcode.LINEAR, {"kblocks": count}, "src", [blocks - count + 1, blocks, 4095], [0, blocks - count]
    for field in ("tiles", "kblocks", "beats"):
        yield Opcode.LINEAR, PLAIN, field, [0], [1]
    yield Opcode.LINEAR, PLAIN, "kblocks", [blocks + 1, 4095], [blocks]
    yield Opcode.LINEAR, PLAIN, "beats", [], [1 << 23, (1 << 24) - 1]
    yield Opcode.LINEAR, PLAIN, "tiles", [], [rows + 1, hidden + 1, top(Opcode.LINEAR, "tiles")]
    yield Opcode.LINEAR, PLAIN, "scale_format", [3], ScaleFormat
    yield Opcode.LINEAR, PLAIN | {"head_blocks": 1}, "mode", [3], Mode
    yield Opcode.LINEAR, PLAIN | {"head_blocks": 1, "group": 1}, "dest", [0, 6, 7], [1, 2, 3, 4, 5]
    yield Opcode.LINEAR, PLAIN | {"bias": 1}, "tiles", [rows + 1, 1 << 19, (1 << 20) - 1], [1, rows]
    yield Opcode.LINEAR, PLAIN | {"tiles": rows + 1}, "bias", [1], [0]
    for field in ("residual", "norm"):
        yield Opcode.LINEAR, PLAIN | {field: 1}, "tiles", [hidden + 1, 1 << 19, (1 << 20) - 1], [1, hidden]
        yield Opcode.LINEAR, PLAIN | {"tiles": hidden + 1}, field, [1], [0]
    for tiles in (1, 2, 1024, 1 << 18):
        yield (Opcode.LINEAR, PLAIN | {"dest": Dest.LOGITS, "tiles": tiles}, "limit",
               [0, tiles * BLOCK + 1, (1 << 24) - 1], [1, tiles * BLOCK - 1, tiles * BLOCK])
        yield Opcode.LINEAR, PLAIN | {"tiles": tiles}, "limit", [], [0, tiles * BLOCK + 1, (1 << 24) - 1]
    yield Opcode.LINEAR, PLAIN | {"dest": Dest.LOGITS, "tiles": 1 << 19}, "limit", [0], [1, (1 << 24) - 1]
    for fields in BY_HEAD:
        yield (Opcode.LINEAR, PLAIN | {"group": 1} | fields, "head_blocks", [0, heads + 1, 8, 15], range(1, heads + 1))
    yield Opcode.LINEAR, PLAIN | {"dest": Dest.QUERY, "head_blocks": 1}, "group", [0], [1, 128, 255]
    for fields in BY_HEAD[1:]:
        yield Opcode.LINEAR, PLAIN | {"head_blocks": 1} | fields, "group", [], [0]
    for dest in (Dest.OPERAND, Dest.LOGITS):
        for field, values in (("head_blocks", [0, heads + 1, 15]), ("group", [0])):
            yield Opcode.LINEAR, PLAIN | {"dest": dest, "tiles": 1}, field, [], values
    yield Opcode.ATTEND, {}, "head_blocks", [0, heads + 1, 8, 15], range(1, heads + 1)
    for field in ("kv_heads", "group"):
        yield Opcode.ATTEND, {}, field, [0], [1, 128, 255]


class System:
    """The checks, a word at a time."""

    def __init__(self, dut, seed):
        self.tb, self.dut = harness.Bench(dut, seed), dut
        self.outputs = {name: getattr(dut, f"legal_{name}") for name in CHIPS}

    async def ask(self, word):
        """What each chip says, which is what `is_legal` says."""
        self.dut.word.value = word
        await self.tb.wait(1)
        said = {name: int(output.value) for name, output in self.outputs.items()}
        for name, legal in said.items():
            assert legal == by_the_model(get_config(name), word), f"{name}: {legal} for {word:#066x} ({self.tb.seed})"
        return said


def by_the_model(config, word):
    if word & 15 not in list(Opcode):
        return False
    return is_legal(config, decode(word.to_bytes(INSTRUCTION_BYTES, "little")))


@cocotb.test()
async def each_fault(dut):
    """A legal instruction with one field changed: at its limits, past them, far past them."""
    system = System(dut, 1)
    rng = system.tb.rng
    for name in CHIPS:
        config = get_config(name)
        for opcode, fields, field, wrong, right in faults(config):
            for legal, values in enumerate((wrong, right)):
                for value in values:
                    word = encoded(opcode, random_instruction(config, rng, opcode, **fields | {field: value}))
                    said = (await system.ask(word))[name]
                    assert said == legal, f"{name}, {opcode.name} {fields}: {field} = {value} ({system.tb.seed})"
    for opcode in range(len(Opcode), 16):
        for _ in range(20):
            assert not any((await system.ask(rng.getrandbits(252) << 4 | opcode)).values())


@cocotb.test()
async def legal_instructions(dut):
    """Of all opcodes, for the chip that they are made for; and with one bit of them turned over, as the model says."""
    system = System(dut, 2)
    rng = system.tb.rng
    for number in range(1500):
        opcode, name = rng.choice([*Opcode, *[Opcode.LINEAR] * 4]), CHIPS[number % len(CHIPS)]
        word = encoded(opcode, random_instruction(get_config(name), rng, opcode))
        assert (await system.ask(word))[name], f"{name} refuses {word:#066x}"
        await system.ask(word ^ 1 << rng.randrange(8 * INSTRUCTION_BYTES))


def test_legality(sim):
    harness.run(Checks(), __name__, sim=sim)
