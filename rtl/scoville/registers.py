"""The register map, as data: the AXI4-Lite slave, the driver, the C header and the docs are made from this table."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from scoville.config import PAGE_TOKENS, ChipConfig
from scoville.control.instruction_fetch import chunk_bytes
from scoville.isa import PAGE_SIZE_BITS, POSITION_BITS
from scoville.schedule.records import COMPLETION_BYTES, REQUEST_BYTES

__all__ = ["ALL", "IDENTITY", "LOCKED", "REGISTERS", "STALLS", "VERSION", "Bits", "Register", "Status", "address_of",
           "c_header", "fits", "markdown", "usable"]

IDENTITY = 0x53434F56  # "SCOV"
VERSION = 0x0001_0000


class Status(enum.IntEnum):
    """Why the chip stopped, as the STATUS register's `code` field (bits 15..8) shows it."""

    OK = 0
    READ_ERROR = 1  # AXI error response to a read; ERROR_ADDRESS is the burst's
    WRITE_ERROR = 2  # AXI error response to a write
    ILLEGAL_INSTRUCTION = 3  # ERROR_ADDRESS is the instruction's
    WINDOW = 4  # a read or a write that is not wholly in WINDOW_BASE .. WINDOW_LIMIT; ERROR_ADDRESS is the burst's
    PAGE_FAULT = 5  # the sequence has no such KV page; ERROR_ADDRESS is the page's number in the sequence
    CONTEXT = 6  # CONTEXT positions are reached, or those of a ROPE's table: ERROR_ADDRESS is 0, or its address
    WATCHDOG = 7  # no progress for WATCHDOG cycles
    SETTING = 8  # a register write that was refused; ERROR_ADDRESS is the register's
    TOKEN = 9  # a token id that the embedding table has no row for; ERROR_ADDRESS is the EMBED's


STALLS = {
    # The array has a task and room for its results, and no item of the weight stream.
    "memory": "beats that are on their way have not come",
    "kv_write": "nothing is being read: appends to the KV cache have to be written before pages are read",
    "page_lookup": "nothing is being read: a page is looked up",
    "vector": "the beat is of a vector: norm weights, RoPE row, embedding row, bias, code table",
    "header": "the beat is scales, minimums or exponents",
    "bus": "an item takes more beats than one",
    "decoder": "the decoder fills, or its command has not come",
    # The array has an item, and its tile has no room in the drain. Rows wait for:
    "drain_kv": "the KV store",
    "drain_quantiser": "the quantiser",
    "drain_logits": "the sampler, or the writing of logits",
    "drain_rms": "1/rms",
    "drain_norm": "the sums of squares, behind every 32 rows",
    "drain_chain": "nothing: one row a cycle leaves; or the command before, in the chain",
    "operands": "an operand block of a guarded task is still on its way",
    # The array has no task.
    "softmax": "probabilities or shifts are not ready, or the softmax unit takes no scores",
    "dependency_linear": "a LINEAR waits for the instructions before it",
    "dependency_kv": "a LINEAR of queries, keys or values does",
    "dependency_attend": "ATTEND does",
    "dependency_logits": "the LINEAR of the logits does",
    "dependency_load": "LOAD, ROPE or EMBED does",
    "pass_end": "END does: the last results and writes",
    "prompt": "token ids of the prompt are read",
    "sampling": "the token is not sampled, or not taken by the host",
    "fetch": "no instruction, or no read of one, has come from the front end",
    "command": "the back end sends commands",
    "idle": "the rest: the steps between two passes",
}
"""Reasons for a cycle in which the array does no useful work. Every cycle is charged to the first that applies.

Their places are the numbers that STALL_SELECT takes.
"""


@dataclass(frozen=True)
class Bits:
    """What a register can use. A write of a one anywhere else, or of more than `most`, is refused.

    Members
    -------
    text : for the docs
    mask : function ChipConfig -> the usable bits; 64 of them for a pair _LO, _HI
    most : the largest value, or None
    live : whether it may be written while a sequence runs
    """

    text: str
    mask: Callable[[ChipConfig], int]
    most: int | None = None
    live: bool = False


def _number(bits, most=None, **options):
    return Bits(f"0 to {most}" if most is not None else f"{bits} bits", lambda config: (1 << bits) - 1, most, **options)


def _address(text, step):
    return Bits(f"an address, a multiple of {text}", lambda config: (1 << config.addr_bits) - step(config))


def _ring(entry):
    return _address(f"{entry} and of the bus", lambda config: max(entry, config.bus_bytes))


def _bytes(bits):
    return Bits(f"{bits} bits, a multiple of the bus", lambda config: (1 << bits) - config.bus_bytes)


ALL = Bits("", lambda config: (1 << 64) - 1)  # every bit
BUS = _address("the bus", lambda config: config.bus_bytes)
LIVE = Bits("", lambda config: (1 << 64) - 1, live=True)
ENTRIES = Bits("2 to 65,536", lambda config: (1 << 17) - 2)
OF_ONE = frozenset(("TOKEN", "PROMPT", "PROMPT_LENGTH", "POSITION", "MAX_NEW", "STOP_COUNT", "STOP0", "STOP1", "STOP2",
                    "STOP3", "TEMPERATURE", "SEED", "LOGITS", "LOGITS_STRIDE", "GENERATED", "PREFILL_CYCLES"))
"""What a chip of one slot has beside all others: its only sequence."""
OF_MANY = frozenset(("SUBMIT_BASE", "SUBMIT_ENTRIES", "SUBMIT_TAIL", "SUBMIT_HEAD", "COMPLETE_BASE", "COMPLETE_ENTRIES",
                     "COMPLETE_HEAD", "COMPLETE_TAIL", "RUNNING", "VOCAB", "SPAN0"))
"""What a chip of several slots has in place of them (docs/schedule.md)."""


@dataclass(frozen=True)
class Register:
    """One 32-bit register.

    Members
    -------
    access : r, rw, bell (rw, and the chip hears each write), w1c (write ones to clear), w (write only) or pop (reading
        takes)
    bits : what can be written; of a pair _LO, _HI that of both
    shift : the place of this word in `bits`, 32 for a _HI
    slots : "one" or "many" if only chips with one slot, or with more, have it
    """

    name: str
    address: int
    access: str
    doc: str
    reset: int = 0
    bits: Bits = ALL
    shift: int = 0
    slots: str = ""

    def there(self, config):
        """Whether a chip has it; where it has not there is a hole, which reads as 0."""
        return self.slots in ("", "one" if config.slots == 1 else "many")

    def mask(self, config):
        """The usable bits of this word."""
        return self.bits.mask(config) >> self.shift & 0xFFFFFFFF


def _map():
    # name, access, meaning, bits; a _LO is followed by its _HI
    table = [
        ("ID", "r", 'The word "SCOV".'),
        ("VERSION", "r", "Major (31..16) and minor (15..0) version."),
        ("SHAPE", "r", "Bytes of the bus (31..16), rows (15..8), lanes (7..0)."),
        ("SHAPE2", "r", "dot_width (15..8), act_bits (7..0)."),
        ("CONTROL", "w", "Bit 0: start the sequence; refused while one runs, and waits for a soft reset under way."
                         " Bit 1: soft reset, once STATUS.idle_bus is set. Both: reset, then start.",
         _number(2, live=True)),
        ("STATUS", "r", "Bit 0 running (or a start waits), bit 1 done, bit 2 error, bit 3 saturated (an FP32 result was"
                        " clipped), bit 4 idle_bus, bit 5 resetting (a soft reset is wanted, and waits for the bus),"
                        " bits 15..8 status code, bits 31..16 tokens waiting in TOKEN."),
        ("IRQ_ENABLE", "rw", "Bit 0 token, bit 1 done, bit 2 error.", _number(3, live=True)),
        ("IRQ_STATUS", "w1c", "As IRQ_ENABLE; token is set when a token enters the FIFO. A start clears all."),
        ("TOKEN", "pop", "The next generated token; 0xFFFFFFFF if there is none. A start clears what is unread."),
        ("ERROR_ADDRESS_LO", "r", "Address of the fault, low word."),
        ("PROGRAM_LO", "rw", "Address of the program.",
         _address("a chunk of 4 instructions (128 bytes) and of the bus", chunk_bytes)),
        ("PROMPT_LO", "rw", "Address of the prompt: u32 token ids.", _address("4", lambda config: 4)),
        ("PROMPT_LENGTH", "rw", "Tokens in the prompt, at least 1.", _number(POSITION_BITS)),
        ("POSITION", "rw", "Positions whose keys and values are in the pages already; the prompt begins there.",
         _number(POSITION_BITS)),
        ("MAX_NEW", "rw", "Tokens to generate; 0 counts as 1.", _number(32)),
        ("CONTEXT", "rw", "Positions that a sequence may have.",
         Bits("below 64 · `slot_pages`; a slot has pages for half as many",
              lambda config: 2 * PAGE_TOKENS * config.slot_pages - 1)),
        ("STOP_COUNT", "rw", "How many of STOP0..STOP3 end the sequence.", _number(3, 4)),
        ("STOP0", "rw", "A stop token."),
        ("STOP1", "rw", "A stop token."),
        ("STOP2", "rw", "A stop token."),
        ("STOP3", "rw", "A stop token."),
        ("TEMPERATURE", "rw", "FP32 of 1/(T ln 2); with an exponent field of 0 or 255, arg-max.",
         Bits("not negative", lambda config: 0x7FFFFFFF)),
        ("SEED_LO", "rw", "Seed of the sampler's generator."),
        ("KV_BASE_LO", "rw", "Address of KV page 0.", BUS),
        ("KV_PAGES", "rw", "Pages in the pool.",
         Bits("below 2 · `pool_pages`; no more than those are used", lambda config: 2 * config.pool_pages - 1)),
        ("KV_PAGE_BYTES", "rw", "Bytes from one page to the next.", _bytes(PAGE_SIZE_BITS)),
        ("WINDOW_BASE_LO", "rw", "Reads and writes below this address are refused.", BUS),
        ("WINDOW_LIMIT_LO", "rw", "Reads and writes at or above this address are refused.", BUS),
        ("LOGITS_LO", "rw", "Where the logits of each generated token go, one row after the other; 0 for nowhere.",
         BUS),
        ("LOGITS_STRIDE", "rw", "Bytes from one token's logits to the next.", _bytes(32)),
        ("WATCHDOG", "rw", "Cycles without progress after which the chip stops; 0 for never."),
        ("GENERATED", "r", "Tokens generated in this sequence."),
        ("CYCLES_LO", "r", "Cycles in this sequence."),
        ("PREFILL_CYCLES_LO", "r", "Cycles up to the first generated token."),
        ("BEATS_LO", "r", "Beats that the stream reader received."),
        ("WORK_LO", "r", "Cycles in which the array did useful work."),
        ("STALL_SELECT", "rw", "Which of the stall reasons below STALL shows.",
         _number((len(STALLS) - 1).bit_length(), len(STALLS) - 1, live=True)),
        ("STALL_LO", "r", "Cycles lost to the reason that STALL_SELECT names."),
        ("SUBMIT_BASE_LO", "rw", "Address of the submission ring.", _ring(REQUEST_BYTES)),
        ("SUBMIT_ENTRIES", "rw", "Its entries, a power of two.", ENTRIES),
        ("SUBMIT_TAIL", "bell", "Entries that the host has put, modulo 2^32.", LIVE),
        ("SUBMIT_HEAD", "r", "Entries that the chip has taken, modulo 2^32."),
        ("COMPLETE_BASE_LO", "rw", "Address of the completion ring.", _ring(COMPLETION_BYTES)),
        ("COMPLETE_ENTRIES", "rw", "Its entries, a power of two.", ENTRIES),
        ("COMPLETE_HEAD", "bell", "Entries that the host has taken, modulo 2^32.", LIVE),
        ("COMPLETE_TAIL", "r", "Entries that the chip has put, modulo 2^32."),
        ("RUNNING", "rw", "Sequences that may run at a time, 1 to `slots`.",
         Bits("below 2 · `slots`", lambda config: 2 * config.slots - 1)),
        ("VOCAB", "rw", "Token ids are below it."),
        ("SPAN0", "rw", "Tokens that the layers of cache group 0 look back on, themselves counted; 0 for all.",
         _number(POSITION_BITS)),
    ]
    resets = {"ID": IDENTITY, "VERSION": VERSION}
    found = []
    for name, access, doc, *bits in table:
        stem = name.removesuffix("_LO")
        slots = "one" if stem in OF_ONE else "many" if stem in OF_MANY else ""
        found.append(Register(name, 4 * len(found), access, doc, resets.get(name, 0), *bits, slots=slots))
        if name.endswith("_LO"):
            found.append(Register(f"{stem}_HI", 4 * len(found), access, "High word.", 0, *bits, shift=32, slots=slots))
    return tuple(found)


REGISTERS = _map()
LOCKED = frozenset(r.name for r in REGISTERS if r.access == "rw" and not r.bits.live)
"""Settings that may be written only while no sequence runs, no soft reset is under way and no fault is shown."""
_REGISTERS = {register.name: register for register in REGISTERS}


def address_of(name):
    """Byte address of a register; KeyError if there is none of that name."""
    return _REGISTERS[name].address


def usable(config, name):
    """The bits that a register, or a pair _LO, _HI, can hold; KeyError if there is none of that name."""
    return _REGISTERS[name].mask(config) if name in _REGISTERS else _REGISTERS[f"{name}_LO"].bits.mask(config)


def fits(config, name, value):
    """Whether a register, or a pair _LO, _HI, takes a value; what does not fit is refused with `Status.SETTING`."""
    most = (_REGISTERS.get(name) or _REGISTERS[f"{name}_LO"]).bits.most
    return value >= 0 and not value & ~usable(config, name) and (most is None or value <= most)


def markdown():
    """The register map as a Markdown page."""
    rows = [f"| `0x{r.address:03x}` | {r.name} | {r.access} | {r.doc} | {'' if r.shift else r.bits.text} | {r.slots} |"
            for r in REGISTERS]
    codes = [f"| {s.value} | {s.name} |" for s in Status]
    reasons = [f"| {index} | {name} | {doc} |" for index, (name, doc) in enumerate(STALLS.items())]
    live = ", ".join(r.name for r in REGISTERS if r.bits.live)
    return "\n".join([
        "# Registers", "", "Made from `rtl/scoville/registers.py`; do not edit.", "",
        "A register holds what it can use, and reads back what it holds. A write of anything else changes nothing and"
        " raises the status SETTING, with the register's address in ERROR_ADDRESS. So does a write of a setting while a"
        f" sequence runs, a soft reset is under way or a fault is shown; {live} may be written at any time.", "",
        "Chips of one slot have no registers of `many`, and the reverse: there is a hole, which reads as 0.", "",
        "Reading the low word of a pair of r registers holds its high word, until another low word is read.", "",
        "| address | name | access | meaning | can be written | slots |", "|---|---|---|---|---|---|", *rows, "",
        "| status code | name |", "|---|---|", *codes, "",
        "| STALL_SELECT | reason | the array did no useful work in a cycle, because … |",
        "|---|---|---|", *reasons, ""])


def c_header():
    """The register map as a C header."""
    lines = ["/* Made from rtl/scoville/registers.py; do not edit. */",
             "#ifndef SCOVILLE_REGS_H", "#define SCOVILLE_REGS_H", ""]
    lines += [f"#define SCOVILLE_{r.name:<24} 0x{r.address:03x}u /* {r.access}: {r.doc} */" for r in REGISTERS]
    lines += [""] + [f"#define SCOVILLE_STATUS_{s.name:<20} {s.value}u" for s in Status]
    lines += [""] + [f"#define SCOVILLE_STALL_{name.upper():<20} {index}u" for index, name in enumerate(STALLS)]
    return "\n".join([*lines, "", "#endif", ""])
