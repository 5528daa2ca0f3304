"""Everything that can go wrong stops the chip with the right status, and after a soft reset it works again.

Also what a host may do out of the ordinary: leave tokens unread, abort, start again without a reset.
"""

import dataclasses

import numpy as np
import pytest
from llamas import compiled, golden, same_bits
from machine import FAST, IDLE_BUS, SATURATED, Machine
from scoville.config import get_config
from scoville.golden import GoldenChip
from scoville.isa import FIELDS, INSTRUCTION_BYTES, Opcode, decode
from scoville.registers import LOCKED, REGISTERS, Status, address_of
from scoville_host.errors import ChipError
from scoville_host.runtime.driver import DONE, ERROR, INTERRUPTS, NO_TOKEN, RESETTING, RUNNING

CONFIG = get_config("nano")
PROMPT = [3, 39, 0]
DEAD = 1 - 1e-10  # a channel with this chance of a stall never answers
WATCHDOG = 3000


def small():
    return compiled(CONFIG, hidden=32, layers=1, ffn=32, vocab=40)


def machine(**options):
    return Machine(small(), **options)


def recovers(machine):
    """The memory as it was, a soft reset, and a run with the right result."""
    machine.chip.clear_injected_errors()
    machine.chip.set_timing(FAST)
    machine.soft_reset()
    machine.chip.load(0, machine.image.memory)
    wanted = golden(machine.image, PROMPT, 4)
    tokens, logits = machine.run(PROMPT, 4)
    return tokens == wanted.tokens and same_bits(logits, wanted.logits)


def stops(machine, status, address, tokens=0, max_new=4, **settings):
    """Run into the error: status, address, the tokens before it, silence after it, and a good run after a reset."""
    prompt = settings.pop("prompt", PROMPT)
    machine.start(prompt, max_new, **settings)
    assert machine.fail() == (status, address, golden(machine.image, prompt, max_new).tokens[:tokens] if tokens else [])
    assert not machine.chip.interrupt
    assert recovers(machine)


def instructions(machine):
    """(address, fields) of the program."""
    data = machine.region("program")
    for at in range(0, len(data), INSTRUCTION_BYTES):
        fields = decode(data[at:at + INSTRUCTION_BYTES].tobytes())
        yield machine.image.registers["PROGRAM"] + at, fields
        if fields["opcode"] is Opcode.END:
            return


def patch(machine, place, kind, **values):
    """Change fields of the instruction of this kind at address `place` in memory."""
    data = machine.chip.memory[place:place + INSTRUCTION_BYTES]
    word = int.from_bytes(data.tobytes(), "little")
    for name, value in values.items():
        lsb, width = FIELDS[kind][name]
        word = word & ~(((1 << width) - 1) << lsb) | value << lsb
    data[:] = np.frombuffer(word.to_bytes(INSTRUCTION_BYTES, "little"), np.uint8)


def burst_start(region, address):
    """Where the reader's burst that reads `address` of a region begins."""
    step = CONFIG.stream_beats // 4 * CONFIG.bus_bytes  # bursts end at multiples of it
    return max(region.address, address // step * step)


@pytest.mark.parametrize("decode_error", [False, True])
@pytest.mark.parametrize("name", ["embedding", "rope", "norm", "0.q.weight", "0.down.weight", "lm_head.weight"])
def test_error_response_to_a_stream_read(name, decode_error):
    with machine() as chip:
        region = chip.image.regions[name]
        # A row of a table, or far enough in a matrix to be in its second burst.
        offset = {"embedding": PROMPT[0] * 128, "rope": 0}.get(name, region.size // 2)
        chip.chip.inject_error(region.address + offset, 1, decode=decode_error)
        chip.start(PROMPT, 4)
        status, address, tokens = chip.fail()
        assert status is Status.READ_ERROR and not tokens
        if name not in ("embedding", "rope"):
            assert address == burst_start(region, region.address + offset)
        assert region.address <= address < region.address + region.size
        assert recovers(chip)


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_error_response_to_an_instruction_fetch(chunk):
    with machine() as chip:
        address = chip.image.registers["PROGRAM"] + 128 * chunk
        chip.chip.inject_error(address, 1)
        stops(chip, Status.READ_ERROR, address)


def test_error_response_to_a_prompt_read():
    with machine() as chip:
        address = chip.image.registers["PROMPT"]
        chip.chip.inject_error(address + 16, 1)
        stops(chip, Status.READ_ERROR, address + 16, prompt=[1, 2, 3, 4, 5, 6, 7])


def test_error_response_to_a_kv_write():
    with machine() as chip:
        registers = chip.image.registers
        chip.chip.inject_error(chip.image.regions["kv_pool"].address, chip.image.regions["kv_pool"].size)
        header = 32  # the first write is that of the codes of token 0's key, behind the exponents of one block
        stops(chip, Status.WRITE_ERROR, registers["KV_BASE"] + header)


def test_error_response_to_a_logits_write():
    with machine() as chip:
        address = chip.image.registers["LOGITS"] + chip.image.registers["LOGITS_STRIDE"]
        chip.chip.inject_error(address, 1)
        stops(chip, Status.WRITE_ERROR, address, tokens=1)


@pytest.mark.parametrize("fields", [{"opcode": 15}, {"opcode": 6}, {"tiles": 0}, {"dest": 7},
                                    {"kblocks": CONFIG.operand_blocks + 1}, {"scale_format": 3}, {"dest": 0}])
def test_illegal_instruction(fields):
    with machine() as chip:
        address, _ = [item for item in instructions(chip) if item[1]["opcode"] is Opcode.LINEAR][2]
        patch(chip, address, Opcode.LINEAR, **fields)
        stops(chip, Status.ILLEGAL_INSTRUCTION, address)


@pytest.mark.parametrize("opcode", [Opcode.LINEAR, Opcode.LOAD, Opcode.ROPE, Opcode.EMBED])
def test_read_outside_the_window(opcode):
    with machine(spare=65536) as chip:
        address = next(at for at, fields in instructions(chip) if fields["opcode"] is opcode)
        patch(chip, address, opcode, address=chip.image.size, **({"stride": 0} if opcode is Opcode.EMBED else {}))
        stops(chip, Status.WINDOW, chip.image.size)


@pytest.mark.parametrize("name", ["PROGRAM", "PROMPT", "LOGITS"])
def test_register_outside_the_window(name):
    with machine(spare=65536) as chip:
        before = chip.chip.memory[chip.image.size:].copy()
        stops(chip, Status.WINDOW, chip.image.size, **{name: chip.image.size})
        assert (chip.chip.memory[chip.image.size:] == before).all()


def test_window_base():
    with machine() as chip:
        program = chip.image.registers["PROGRAM"]
        stops(chip, Status.WINDOW, min(region.address for name, region in chip.image.regions.items() if name == "rope"),
              WINDOW_BASE=program)


@pytest.mark.parametrize("pages", [0, 1, 2])
def test_page_that_is_not_there(pages):
    """A pool that is too small for the sequence: the page's number is shown."""
    prompt = [n % 40 for n in range(32 * pages - 2)] or PROMPT
    with machine() as chip:
        stops(chip, Status.PAGE_FAULT, pages, tokens=3 if pages else 0, prompt=prompt, max_new=6, KV_PAGES=pages)


@pytest.mark.parametrize(("context", "tokens"), [(5, 3), (3, 1), (2, 0)])
def test_context_overrun(context, tokens):
    with machine() as chip:
        stops(chip, Status.CONTEXT, 0, tokens=tokens, max_new=6, CONTEXT=context)


def test_empty_prompt():
    with machine() as chip:
        stops(chip, Status.CONTEXT, 0, prompt=[])


@pytest.mark.parametrize("cycles", [0, 777, 2500])
@pytest.mark.parametrize("channel", ["ar", "r", "aw", "w", "b"])
def test_watchdog(channel, cycles):
    """A memory that stops answering, and comes back."""
    with machine() as chip:
        chip.start(PROMPT, 30, watchdog=WATCHDOG)
        chip.chip.step(cycles)
        chip.chip.set_timing(dataclasses.replace(FAST, **{f"stall_{channel}": DEAD}))
        status, address, tokens = chip.fail()
        assert (status, address) == (Status.WATCHDOG, 0)
        assert tokens == golden(chip.image, PROMPT, 30).tokens[:len(tokens)]
        assert recovers(chip)


def test_reset_waits_for_the_bus():
    with machine() as chip:
        chip.start(PROMPT, 30)
        chip.chip.step(1500)
        chip.chip.set_timing(dataclasses.replace(FAST, stall_r=DEAD))
        chip.chip.step(500)
        chip.chip.write("CONTROL", 2)
        chip.chip.step(5000)
        assert chip.chip.read("STATUS") & (RUNNING | IDLE_BUS) == RUNNING
        assert recovers(chip)


@pytest.mark.parametrize("cycles", [1, 50, 400, 1234, 2222, 3333, 4444, 6000, 9000])
def test_soft_reset_of_a_running_sequence(cycles):
    with machine(timing=dataclasses.replace(FAST, read_latency=70)) as chip:
        chip.start(PROMPT, 30)
        chip.chip.step(cycles)
        assert chip.chip.read("STATUS") & RUNNING
        assert recovers(chip)


def beyond(register):
    """Values of a setting that no chip of this configuration can hold: each has one bit too many, or is too large."""
    wrong = [1 << bit for bit in range(32) if not register.mask(CONFIG) >> bit & 1]
    return {*wrong[:1], *wrong[-1:], *([register.bits.most + 1] if register.bits.most else [])}


@pytest.mark.parametrize(("name", "value"), [
    ("WINDOW_LIMIT", 1 << 40), ("WINDOW_LIMIT", 8), ("WINDOW_BASE", 1 << 63), ("PROGRAM", 1 << 41), ("PROGRAM", 64),
    ("KV_BASE", 4), ("KV_PAGES", 2 * CONFIG.pool_pages), ("KV_PAGE_BYTES", 1 << 28), ("LOGITS", 1 << 40),
    ("LOGITS_STRIDE", 4), ("PROMPT", 2), ("CONTEXT", 1 << 24)])
def test_setting_that_does_not_fit(name, value):
    """It is refused, and not cut: 2^40 in WINDOW_LIMIT was 0, and opened the window."""
    with machine(spare=4096) as chip:
        before = chip.chip.memory.copy()
        address = address_of(name) if name in [r.name for r in REGISTERS] else \
            address_of(f"{name}_LO") + 4 * (value >= 1 << 32)
        with pytest.raises(ChipError, match=f"SETTING, it refused a write of register {name}"):
            chip.start(PROMPT, 4, **{name: value})
            chip.wait()
            chip.driver.poll()
        model = GoldenChip(CONFIG, chip.image.allocate(), chip.image.registers | {name: value})
        assert model.run(PROMPT, 4).tokens == [] and model.status is Status.SETTING
        prompt = chip.image.regions["prompt"]
        before[prompt.address:prompt.address + prompt.size] = chip.region("prompt")
        assert (chip.chip.memory == before).all()
        assert chip.driver.read("ERROR_ADDRESS") == address and recovers(chip)


def test_every_setting_refuses_what_it_cannot_hold():
    with machine() as chip:
        for register in [r for r in REGISTERS if r.access == "rw" and r.there(CONFIG)]:
            held = chip.chip.read(register.address)
            for value in beyond(register):
                chip.chip.write(register.address, value)
                status = chip.chip.read("STATUS")
                assert status & ERROR and status >> 8 & 255 == Status.SETTING
                assert chip.driver.read("ERROR_ADDRESS") == register.address
                assert chip.chip.read(register.address) == held
                chip.soft_reset()
            whole = register.bits.most or register.mask(CONFIG)
            chip.chip.write(register.address, whole)
            assert chip.chip.read(register.address) == whole and chip.chip.read("STATUS") == IDLE_BUS
        assert recovers(chip)


@pytest.mark.parametrize("name", sorted(r.name for r in REGISTERS if r.name in LOCKED and r.there(CONFIG)))
def test_setting_while_a_sequence_runs(name):
    """The window, or anything else, cannot be changed under it."""
    with machine() as chip:
        chip.start(PROMPT, 30)
        chip.chip.step(3000)
        held = chip.chip.read(name)
        chip.chip.write(name, 0)
        status, address, tokens = chip.fail()
        assert (status, address) == (Status.SETTING, address_of(name))
        assert chip.chip.read(name) == held
        assert tokens == golden(chip.image, PROMPT, 30).tokens[:len(tokens)]
        chip.chip.write(name, 0)  # nor between the fault and the reset
        assert chip.chip.read(name) == held
        assert recovers(chip)


def test_live_settings_may_change_while_a_sequence_runs():
    with machine() as chip:
        chip.start(PROMPT, 4)
        for turn in range(20):
            chip.chip.write("STALL_SELECT", turn)
            chip.chip.write("IRQ_ENABLE", turn % 8)
            chip.chip.step(100)
        chip.chip.write("IRQ_ENABLE", INTERRUPTS)
        assert chip.finish()[0] == golden(chip.image, PROMPT, 4).tokens


def test_start_while_a_sequence_runs():
    with machine() as chip:
        chip.start(PROMPT, 30)
        chip.chip.step(2000)
        chip.chip.write("CONTROL", 1)
        status, address, _ = chip.fail()
        assert (status, address) == (Status.SETTING, address_of("CONTROL"))
        assert recovers(chip)


@pytest.mark.parametrize("writes", [(2, 1), (3,), (2, 1, 1)])
def test_start_waits_for_a_reset(writes):
    """A start that comes while a soft reset waits for the bus is carried out after it."""
    with machine() as chip:
        chip.start(PROMPT, 30)
        chip.chip.step(1500)
        chip.chip.set_timing(dataclasses.replace(FAST, stall_r=DEAD))
        chip.chip.step(500)
        for value in writes:
            chip.chip.write("CONTROL", value)
        chip.chip.step(2000)
        assert chip.chip.read("STATUS") & (RUNNING | RESETTING | ERROR | DONE) == RUNNING | RESETTING
        chip.chip.write("KV_PAGES", 1)  # settings stand still
        chip.chip.set_timing(FAST)
        while chip.chip.read("STATUS") & RESETTING:  # as long as what was asked for takes to come
            chip.chip.step(10)
        assert chip.fail()[:2] == (Status.SETTING, address_of("KV_PAGES"))
        chip.soft_reset()
        chip.start(PROMPT, 30)
        chip.chip.step(1500)
        chip.chip.set_timing(dataclasses.replace(FAST, stall_r=DEAD))
        chip.chip.step(500)
        for value in writes:
            chip.chip.write("CONTROL", value)
        chip.chip.step(2000)
        chip.chip.set_timing(FAST)
        assert chip.finish()[0] == golden(chip.image, PROMPT, 30).tokens
        assert chip.counters_add_up()


def test_start_with_a_fault():
    """It is dropped, and the error said again."""
    with machine() as chip:
        chip.start([], 4)
        assert chip.fail()[0] is Status.CONTEXT
        assert not chip.chip.interrupt
        chip.chip.write("CONTROL", 1)
        chip.chip.step(1000)
        assert chip.wait() == ERROR
        assert chip.chip.read("STATUS") & (RUNNING | DONE | ERROR) == ERROR
        assert recovers(chip)


def test_tokens_end_with_their_sequence():
    """Unread tokens, events and counts of one sequence are nothing to the next."""
    with machine() as chip:
        chip.start(PROMPT, 20)
        chip.chip.step(400_000)
        assert chip.chip.read("STATUS") >> 16 == 16
        chip.driver.poll()
        chip.chip.step(100_000)
        assert chip.chip.read("STATUS") & DONE and chip.chip.read("STATUS") >> 16
        chip.chip.write("MAX_NEW", 2)
        chip.chip.write("CONTROL", 1)
        assert chip.chip.read("STATUS") & ~IDLE_BUS == RUNNING
        assert chip.chip.read("TOKEN") == NO_TOKEN and chip.chip.read("IRQ_STATUS") == 0
        assert chip.finish()[0] == golden(chip.image, PROMPT, 2).tokens


def test_reset_forgets_unread_tokens():
    with machine() as chip:
        chip.start(PROMPT, 3)
        chip.chip.run(100_000)
        chip.chip.step(100_000)
        assert chip.chip.read("STATUS") >> 16 == 3
        assert recovers(chip)


@pytest.mark.parametrize("extra", [1, 40])
def test_matrix_with_too_many_beats(extra):
    """More data than the decoder takes: the watchdog, if not an error before it; and the reset gets rid of the rest."""
    with machine() as chip:
        address, fields = [item for item in instructions(chip) if item[1]["opcode"] is Opcode.LINEAR][-1]
        patch(chip, address, Opcode.LINEAR, beats=fields["beats"] + extra)
        chip.start(PROMPT, 4, watchdog=WATCHDOG)
        for _ in range(10):
            if chip.wait() & (ERROR | DONE):
                break
        chip.driver.poll() if not chip.chip.read("STATUS") & ERROR else None
        assert recovers(chip)


def test_sequences_without_a_reset_between():
    image = small()
    with machine() as chip:
        for prompt, max_new in ((PROMPT, 5), ([7] * 34, 2), (PROMPT, 1), ([0], 4)):
            wanted = golden(image, prompt, max_new)
            tokens, logits = chip.run(prompt, max_new)
            assert tokens == wanted.tokens
            assert same_bits(logits, wanted.logits)
            assert chip.chip.read("GENERATED") == max_new
            assert chip.counters_add_up()


def test_pages_of_another_pool():
    """Nothing of the last sequence's pages is kept: the same sequence in another place, and not a byte in the old one.
    """
    wanted = golden(small(), PROMPT, 4)
    with machine(spare=1 << 16) as chip:
        registers, size = chip.image.registers, chip.image.registers["KV_PAGE_BYTES"]
        other = chip.image.size + 3 * CONFIG.bus_bytes
        for base in (registers["KV_BASE"], other):
            settings = {"KV_BASE": base, "WINDOW_LIMIT": len(chip.chip.memory)}
            chip.region("kv_pool")[:] = 0xA5
            tokens, logits = chip.run(PROMPT, 4, **settings)
            assert tokens == wanted.tokens and same_bits(logits, wanted.logits)
            assert (chip.region("kv_pool")[:size] != 0xA5).any() == (base != other)


@pytest.mark.parametrize("seed", range(3))
def test_stale_pages_are_not_seen(seed):
    """What other sequences left in the pages, the rows of logits and behind the prompt makes no difference."""
    prompt = [(7 * n + seed) % 40 for n in range(1 + 15 * seed)]
    wanted = golden(small(), prompt, 6)
    with machine() as chip:
        rng = np.random.default_rng(seed)
        for name in ("kv_pool", "logits", "prompt"):
            chip.region(name)[:] = 0xFF if seed == 2 else rng.integers(0, 256, chip.region(name).size, np.uint8)
        tokens, logits = chip.run(prompt, 6)
        assert tokens == wanted.tokens and same_bits(logits, wanted.logits)
        assert chip.chip.read("STATUS") & ~IDLE_BUS == DONE


@pytest.mark.parametrize("register", [0, 1, 2, 3, 5])
def test_stop_tokens(register):
    """The chip has registers for four; behind them the driver ends the sequence, with a reset."""
    result = golden(small(), PROMPT, 8, temperature=1.0, seed=1)
    wanted = result.tokens
    stop = wanted[4]
    others = [token for token in range(40) if token not in wanted]
    with machine() as chip:
        stop_ids = others[:register] + [stop]
        tokens, logits = chip.run(PROMPT, 8, temperature=1.0, seed=1, stop_ids=stop_ids)
        assert tokens == wanted[:wanted.index(stop) + 1] and same_bits(logits, result.logits[:len(tokens)])
        # The register still holds the token, but does not count.
        tokens, _ = chip.run(PROMPT, 8, temperature=1.0, seed=1, stop_ids=stop_ids[:-1])
        assert tokens == wanted


def test_tokens_left_unread():
    """The chip waits with its 17th token, without a watchdog alarm, and goes on when there is room."""
    wanted = golden(small(), PROMPT, 20).tokens
    with machine() as chip:
        chip.start(PROMPT, 20, watchdog=WATCHDOG)
        while chip.chip.read("STATUS") >> 16 < 16:
            chip.chip.step(1000)
        chip.chip.step(5 * WATCHDOG)
        assert chip.chip.read("STATUS") == 16 << 16 | RUNNING | IDLE_BUS
        chip.chip.write("IRQ_STATUS", INTERRUPTS)
        tokens, done = chip.driver.poll()
        assert not done and len(tokens) >= 16
        rest, _ = chip.finish()
        assert tokens + rest == wanted
        assert chip.counters_add_up()


def test_interrupts_are_enabled_one_by_one():
    with machine() as chip:
        chip.start(PROMPT, 2)
        chip.chip.write("IRQ_ENABLE", 2)
        chip.chip.run(100_000)
        assert chip.chip.interrupt and chip.chip.read("IRQ_STATUS") == 3
        assert chip.chip.read("STATUS") == 2 << 16 | IDLE_BUS | DONE
        chip.chip.write("IRQ_STATUS", 2)
        assert not chip.chip.interrupt and chip.chip.read("IRQ_STATUS") == 1
        chip.chip.write("IRQ_ENABLE", 1)
        assert chip.chip.interrupt


def test_without_logits():
    with machine() as chip:
        chip.region("logits")[:] = 0xA5
        tokens, _ = chip.run(PROMPT, 4, logits=False)
        assert tokens == golden(chip.image, PROMPT, 4).tokens
        assert (chip.region("logits") == 0xA5).all()


def test_saturated():
    """Norm weights near the largest FP32: results are clipped, and the flag says so until the next start."""
    image = compiled(CONFIG, hidden=32, layers=1, ffn=32, vocab=40, scale=2e38)
    wanted = golden(image, PROMPT, 2)
    with Machine(image) as chip:
        tokens, logits = chip.run(PROMPT, 2)
        assert tokens == wanted.tokens
        assert same_bits(logits, wanted.logits)
        assert chip.chip.read("STATUS") & SATURATED
    assert not np.isinf(logits).any()
