"""Programs that no compiler wrote, on a whole chip: refused, or the golden model's bits, and nothing else.

Never a hang, and never a byte outside the window. Each field of each kind of instruction is walked over its extremes
and round its own value, then whole programs are mutated and made up.
"""

import random
from dataclasses import replace

import numpy as np
import pytest
from llamas import compiled, same_bits
from machine import Machine
from programs import LegalProgram, matrix_beats
from scoville.config import get_config
from scoville.control.legality import Legality
from scoville.golden import GoldenChip
from scoville.isa import FIELDS, INSTRUCTION_BYTES, Dest, Element, Opcode, decode
from scoville.registers import Status
from scoville.schedule.seats import of_run
from scoville_host.runtime.driver import DONE, ERROR, RUNNING
from simulators import run_seed

CONFIG = get_config("nano")
PROMPT, NEW = [3, 39, 7], 2
WATCHDOG = 30_000
RESET = 1 << 18  # cycles that a soft reset may take: what is left of a matrix outside the window is read as zeros
BLOB = 1 << 16  # bytes of random data at the end of the window, for made-up programs
SPARE = 1 << 16  # bytes of memory behind the window
SHAPE = {"hidden": 64, "layers": 1, "heads": 4, "kv_heads": 2, "head_dim": 32, "ffn": 64, "vocab": 40, "context": 64,
         "biases": ("q",)}
WRITTEN = ("kv_pool", "logits")


def roomy_image():
    """A small model's image with the random data behind it.

    No 16 bits of it have bit 14 set, so that they are no infinity in FP16, BF16 or FP32, whatever reads them as what.
    """
    image = compiled(CONFIG, weights="mxfp4", **SHAPE)
    blob = np.random.default_rng(7).integers(0, 1 << 16, BLOB // 2, np.uint16) & 0xBFFF
    memory = np.zeros(image.size + BLOB, np.uint8)
    memory[:len(image.memory)] = image.memory
    memory[image.size:] = blob.view(np.uint8)
    return replace(image, memory=memory, size=len(memory),
                   registers=image.registers | {"WINDOW_LIMIT": len(memory)})


class Runs:
    """A chip that runs one program after the other, each compared with the golden model."""

    def __init__(self, seed):
        self.image = roomy_image()
        self.random = random.Random(seed)
        self.machine = Machine(self.image, spare=SPARE, seed=seed)
        self.spare = np.random.default_rng(seed).integers(0, 256, SPARE, np.uint8)
        self.machine.chip.memory[self.image.size:] = self.spare
        self.start = self.image.registers["PROGRAM"]
        data = self.image.region(self.image.memory, "program")
        self.program = []
        while not self.program or self.program[-1] & 15 != Opcode.END:
            at = INSTRUCTION_BYTES * len(self.program)
            self.program.append(int.from_bytes(data[at:at + INSTRUCTION_BYTES].tobytes(), "little"))
        self.counts = {}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.machine.chip.close()

    def memory(self, program):
        """The memory of a run, up to the end of the window."""
        memory = self.image.memory.copy()
        data = b"".join(word.to_bytes(INSTRUCTION_BYTES, "little") for word in program)
        memory[self.start:self.start + len(data)] = np.frombuffer(data, np.uint8)
        prompt = self.image.registers["PROMPT"]
        memory[prompt:prompt + 4 * len(PROMPT)] = np.array(PROMPT, np.uint32).view(np.uint8)
        return memory

    def golden(self, memory):
        """What the golden model makes of a memory, which it changes as the chip does.

        Returns
        -------
        result : `GoldenResult`
        statuses : `Status` that the chip may end with: the golden model's; and as the checker runs ahead, that of the
            first instruction of the last pass that is refused
        undefined : whether a read depends on when the chip writes, or takes what is no number (an exponent field of
            ones) for one
        """
        chip = GoldenChip(CONFIG, memory, self.image.registers)
        undefined, view, floats, weights = [], chip.memory.view, chip.memory.floats, chip.memory.weights
        places = [self.image.regions[name] for name in WRITTEN]

        def watched(address, size):
            undefined.extend(place for place in places
                             if address < place.address + place.size and place.address < address + size)
            return view(address, size)

        def numbers(*values):
            undefined.extend(True for each in values if each is not None and not np.isfinite(each).all())

        def watched_floats(address, count):
            values = floats(address, count)
            numbers(values)
            return values

        def watched_weights(instruction, table):
            found = weights(instruction, table)
            numbers(found.scales, found.minimums)
            return found

        passes, forward = [], chip.forward

        def recorded(ids, position, *, last):
            passes.append(of_run(ids, position, last=last))
            for i in chip.program:
                if i and i["opcode"] is Opcode.EMBED and i["rows"] and i["element"] == Element.FP32:
                    for token in ids:
                        row = memory[i["address"] + token * i["stride"]:][:4 * i["rows"]]
                        numbers(row[:len(row) // 4 * 4].view(np.float32))
            return forward(ids, position, last=last)

        chip.memory.view, chip.forward = watched, recorded
        chip.memory.floats, chip.memory.weights = watched_floats, watched_weights
        with np.errstate(all="ignore"):
            result = chip.run(PROMPT, NEW, lanes=CONFIG.seats)
        legality = Legality(CONFIG)
        judged = (legality.check(each, passes[-1], chip.page_bytes) for each in chip.program)
        ahead = next((status for status in judged if status is not Status.OK), chip.status)
        return result, {chip.status, ahead} if chip.status is not Status.OK else {Status.OK}, bool(undefined)

    def run(self, program, note):
        """One program on both; returns how it ended."""
        machine, chip = self.machine, self.machine.chip
        expected = self.memory(program)
        chip.load(0, expected)
        initial = expected.copy()
        wanted, statuses, undefined = self.golden(expected)
        machine.start(PROMPT, NEW, watchdog=WATCHDOG)
        tokens, state = [], RUNNING
        while not state & (DONE | ERROR):
            machine.wait()
            state = chip.read("STATUS")
            while (token := chip.read("TOKEN")) != 0xFFFFFFFF:
                tokens.append(token)
        found = Status(state >> 8 & 255) if state & ERROR else Status.OK
        if state & ERROR or self.random.random() < 0.3:  # what a sequence leaves behind is the next one's to ignore
            machine.soft_reset(RESET)
        about = f"{note}: chip {found.name} {tokens}, golden {[each.name for each in statuses]} {wanted.tokens}"
        assert (chip.memory[self.image.size:] == self.spare).all(), f"outside the window: {about}"
        assert found is not Status.WATCHDOG, f"a hang: {about}"
        written = np.zeros(len(initial), bool)
        for name in WRITTEN:
            place = self.image.regions[name]
            written[place.address:place.address + place.size] = True
        now = chip.memory[:self.image.size]
        assert (now == initial)[~written].all(), f"not the program's to write: {about}"
        if not undefined:
            assert found in statuses, about
            assert tokens == list(wanted.tokens), about
            if not tokens:
                return self._count(found)
            rows = self.image.region(now, "logits").reshape(-1, self.image.registers["LOGITS_STRIDE"])[:len(tokens)]
            width = wanted.logits.shape[1]
            logits = np.ascontiguousarray(rows).view(np.float32)[:, :width]
            assert same_bits(np.ascontiguousarray(logits), wanted.logits), f"logits: {about}"
            if found is Status.OK:
                pool = self.image.regions["kv_pool"]
                part = slice(pool.address, pool.address + pool.size)
                assert (now[part] == expected[part]).all(), f"KV pages: {about}"
        return self._count(found)

    def _count(self, found):
        self.counts[found] = self.counts.get(found, 0) + 1
        return found


def patched(word, name, value):
    lsb, width = FIELDS[Opcode(word & 15)][name]
    return word & ~((1 << width) - 1 << lsb) | value << lsb


def extremes(width, value):
    """Values of a field: its ends, round its own, and that with a bit turned over."""
    top = (1 << width) - 1
    near = [value + step for step in (-1, 1, 8, -8, 16, -16, 32, -32)]
    values = [0, 1, top, top >> 1, top + 1 >> 1, *(each for each in near if 0 <= each <= top),
              *(value ^ 1 << bit for bit in range(0, width, max(1, width // 6)))]
    return list(dict.fromkeys(each for each in values if each != value))


def kinds(program):
    """Places of one instruction of each kind."""
    found = {}
    for place, word in enumerate(program):
        fields = decode(word.to_bytes(INSTRUCTION_BYTES, "little"))
        kind = (fields["opcode"], fields.get("dest"), fields.get("load_dest"), fields.get("mode"), fields.get("norm"))
        found.setdefault(kind, place)
    return found.values()


def walk(runs):
    """(program, note) of each field of each kind of instruction with each of its extremes."""
    for place in kinds(runs.program):
        word = runs.program[place]
        opcode = Opcode(word & 15)
        for name, (lsb, width) in FIELDS[opcode].items():
            for value in extremes(width, word >> lsb & (1 << width) - 1):
                program = list(runs.program)
                program[place] = patched(word, name, value) if name != "opcode" else word & ~15 | value
                yield program, f"{place} {opcode.name} {name} = {value:#x}"


def mutated(runs):
    """A program with a few of its fields, or its instructions, changed."""
    rng, program = runs.random, list(runs.program)
    for _ in range(rng.choice([1, 1, 2, 3])):
        place = rng.randrange(len(program) - 1)
        act = rng.randrange(8)
        if act == 0:
            other = rng.randrange(len(program) - 1)
            program[place], program[other] = program[other], program[place]
        elif act == 1:
            program[place] = program[rng.randrange(len(program) - 1)]
        elif act == 2:
            program[place] ^= 1 << rng.randrange(8 * INSTRUCTION_BYTES)
        else:
            opcode = program[place] & 15
            if opcode in list(Opcode):
                name = rng.choice([name for name in FIELDS[Opcode(opcode)] if name != "opcode"])
                lsb, width = FIELDS[Opcode(opcode)][name]
                program[place] = patched(program[place], name, rng.choice(
                    extremes(width, program[place] >> lsb & (1 << width) - 1)))
    return program


class MadeUp(LegalProgram):
    """Random instructions on the random data, with the model's pages."""

    def __init__(self, runs):
        self.image = runs.image
        state = of_run([0] * CONFIG.seats, NEW + len(PROMPT), last=1)
        super().__init__(CONFIG, runs.random, state)
        self.page_bytes = self.image.registers["KV_PAGE_BYTES"]

    def _draw(self, opcode, given):
        if (fields := super()._draw(opcode, given)) is None:
            return None
        rng, bus = self.rng, CONFIG.bus_bytes
        fields["wait"] = given.get("wait", int(rng.random() < 0.7))
        if "address" in fields:
            fields["address"] = self.image.size - BLOB + rng.randrange(BLOB // 2) // bus * bus
        if opcode in (Opcode.ROPE, Opcode.EMBED):
            fields["stride"] = rng.randrange(40) * bus
        if "limit" in fields and opcode is not Opcode.LINEAR:
            fields["limit"] = self.image.vocab
        if fields.get("dest") == Dest.LOGITS and "tiles" not in given:
            fields |= {"tiles": 2, "limit": rng.randint(1, self.image.vocab)}
            fields["beats"] = matrix_beats(CONFIG, fields)
        if fields.get("dest") in (Dest.KEY, Dest.VALUE) and "offset" not in given:
            fields["offset"] = rng.randrange(max(1, self.page_bytes - 3 * fields["stride"])) // bus * bus
        return fields


def made_up(runs):
    """A random program that the rules allow; one in three has a field changed."""
    rng, program = runs.random, MadeUp(runs)
    program.begin()
    for _ in range(rng.randrange(1, 8)):
        opcode = rng.choice([Opcode.LOAD, Opcode.LINEAR, Opcode.LINEAR, Opcode.LINEAR, None])
        try:
            program.layer() if opcode is None else program.add(opcode)
        except ValueError:  # nothing legal was found
            continue
    program.end()
    if rng.random() < 0.3:
        place = rng.randrange(len(program.words))
        name = rng.choice([name for name in FIELDS[Opcode(program.words[place] & 15)] if name != "opcode"])
        program.words[place] = patched(program.words[place], name, rng.choice(extremes(
            FIELDS[Opcode(program.words[place] & 15)][name][1], 0)))
    return program.words


def sample(count, total):
    """`count` numbers below `total`, evenly spread."""
    return {number * total // count for number in range(min(count, total))}


@pytest.fixture(scope="module")
def runs():
    with Runs(run_seed()) as each:
        yield each


def test_the_program_itself(runs):
    assert runs.run(runs.program, "as compiled") is Status.OK


@pytest.mark.parametrize("count", [60, pytest.param(None, marks=pytest.mark.slow)])
def test_every_field(runs, count):
    cases = list(walk(runs))
    for number in sorted(sample(count or len(cases), len(cases))):
        runs.run(*cases[number])


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated(runs, count):
    for number in range(count):
        runs.run(mutated(runs), f"whole mutant {number}")


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_made_up(runs, count):
    for number in range(count):
        runs.run(made_up(runs), f"whole program {number}")
    assert runs.counts[Status.OK] > count // 3
