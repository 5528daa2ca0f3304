"""Nothing outside the window is read or written, whatever a program and the registers say; and the host is told."""

import numpy as np
import pytest
from llamas import compiled, configuration
from machine import Machine
from scoville.golden import GoldenChip
from scoville.memory.axi import BOUNDARY
from scoville.registers import Status
from test_errors import CONFIG, PROMPT, recovers, small

SPARE = 65536
CODES = 32 * 32  # bytes of a page's codes, one block a head
CHUNK = 128  # bytes of a read of the program


def noise(machine):
    """Random bytes in the memory behind the image, and a copy of them."""
    behind = machine.chip.memory[machine.image.size:]
    behind[:] = np.random.default_rng(1).integers(0, 256, behind.size)
    return behind.copy()


def golden_status(image, **registers):
    """What the golden model says to the same registers, in a memory with something behind the image."""
    memory = np.concatenate([image.allocate(), np.zeros(SPARE, np.uint8)])
    chip = GoldenChip(image.config, memory, image.registers | registers, base=image.base)
    chip.run(PROMPT, 4)
    return chip.status


def refused(machine, address, **registers):
    """A run that ends with WINDOW at this address; the refused burst and all beyond the limit stay; then a good run."""
    kept = min(address, registers.get("WINDOW_LIMIT", machine.image.size))
    noise(machine)
    before = machine.chip.memory[kept:].copy()
    machine.start(PROMPT, 4, **registers)
    assert machine.fail() == (Status.WINDOW, address, [])
    assert (machine.chip.memory[kept:] == before).all()
    assert recovers(machine)


def first_refused(start, end, limit):
    """Start of the first burst of a run that is not wholly below the limit; bursts end at 4 KB."""
    while min(end, start // BOUNDARY * BOUNDARY + BOUNDARY) <= limit:
        start = start // BOUNDARY * BOUNDARY + BOUNDARY
    return start


@pytest.mark.parametrize("far", [0, 4096, 1 << 39])
def test_pages_beyond_the_limit(far):
    with Machine(small(), spare=SPARE) as machine:
        base = far if far > SPARE else machine.image.size + far
        # The first write is that of the codes of token 0's key, behind the exponents of one block.
        refused(machine, base + 32, KV_BASE=base)
        assert golden_status(machine.image, KV_BASE=base) == Status.WINDOW


@pytest.mark.parametrize("inside", [CONFIG.bus_bytes, CODES // 2, CODES - CONFIG.bus_bytes])
def test_page_across_the_limit(inside):
    """Keys lie in the window, and the values' codes up to `inside` bytes: none of the burst is written."""
    with Machine(small(), spare=SPARE) as machine:
        registers = machine.image.registers
        codes = registers["KV_BASE"] + 32 + CODES + 32
        limit = codes + inside
        settings = {"WINDOW_LIMIT": limit, "LOGITS": 0}
        burst = first_refused(codes, codes + CODES, limit)
        refused(machine, burst, **settings)
        assert golden_status(machine.image, **settings) == Status.WINDOW


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_program_across_the_limit(chunks):
    """A read of the program, not the first one, whose first half only is in the window."""
    with Machine(small(), spare=SPARE) as machine:
        image = machine.image
        at = image.size + BOUNDARY
        program = machine.region("program").copy()
        machine.chip.load(at, program)
        limit = at + chunks * CHUNK + CHUNK // 2
        noise(machine)
        machine.chip.load(at, program)
        before = machine.chip.memory[limit:].copy()
        machine.start(PROMPT, 4, PROGRAM=at, WINDOW_LIMIT=limit)
        assert machine.fail() == (Status.WINDOW, at + chunks * CHUNK, [])
        assert (machine.chip.memory[limit:] == before).all()
        assert recovers(machine)


def test_prompt_across_the_limit():
    with Machine(small(), spare=SPARE) as machine:
        at = machine.image.size - 8  # the third token's word is the first behind the limit
        machine.chip.load(at, np.array(PROMPT, np.uint32))
        machine.start(PROMPT, 4, PROMPT=at)
        assert machine.fail() == (Status.WINDOW, machine.image.size, [])
        assert recovers(machine)


def test_logits_across_the_limit():
    """Their first burst is refused as a whole."""
    with Machine(small(), spare=SPARE) as machine:
        at = machine.image.size - 96
        refused(machine, at, LOGITS=at, WINDOW_LIMIT=machine.image.size - 32)


@pytest.mark.parametrize("config", [pytest.param("mix", marks=pytest.mark.heavy),
                                    *(pytest.param(name, marks=pytest.mark.slow) for name in ("slim", "kria"))])
def test_other_buses(config):
    """Pages beyond the limit, on a bus narrower and one wider than a row of a page."""
    image = compiled(configuration(config), hidden=32, layers=1, ffn=32, vocab=40)
    with Machine(image, spare=SPARE) as machine:
        before = noise(machine)
        machine.start(PROMPT, 4, KV_BASE=image.size)
        status, address, tokens = machine.fail()
        assert (status, tokens) == (Status.WINDOW, []) and image.size <= address < image.size + SPARE
        assert (machine.chip.memory[image.size:] == before).all()
