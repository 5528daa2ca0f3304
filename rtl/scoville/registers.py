"""The register map, as data: the AXI4-Lite slave, the driver, the C header and the docs are made from this table."""

import enum
from dataclasses import dataclass

__all__ = ["REGISTERS", "STALLS", "Register", "Status", "address_of", "c_header", "markdown"]

IDENTITY = 0x53434F56  # "SCOV"
VERSION = 0x0001_0000


class Status(enum.IntEnum):
    """Why the chip stopped, as the STATUS register's `code` field (bits 15..8) shows it."""

    OK = 0
    READ_ERROR = 1  # AXI error response to a read; ERROR_ADDRESS is the burst's
    WRITE_ERROR = 2  # AXI error response to a write
    ILLEGAL_INSTRUCTION = 3  # ERROR_ADDRESS is the instruction's
    WINDOW = 4  # a read, or a write of logits, outside WINDOW_BASE .. WINDOW_LIMIT; ERROR_ADDRESS is the burst's
    PAGE_FAULT = 5  # a KV page that is not mapped, or whose entry cannot be read; ERROR_ADDRESS is the page-table row's
    CONTEXT = 6  # CONTEXT positions are reached, or those of an instruction's table: ERROR_ADDRESS is 0, or its address
    WATCHDOG = 7  # no progress for WATCHDOG cycles
    TOKEN = 8  # a token id that the embedding table has no row for; ERROR_ADDRESS is the EMBED's


STALLS = {
    # The array has a task and room for its results, and no item of the weight stream.
    "memory": "beats that are on their way have not come",
    "kv_write": "nothing is being read: appends to the KV cache have to be written before pages are read",
    "page_walk": "nothing is being read: the page table is looked up",
    "vector": "the beat is of a vector: norm weights, RoPE row, embedding row, bias, code table",
    "header": "the beat is scales, minimums or exponents",
    "bus": "an item takes more beats than one",
    "decoder": "the decoder fills, or its command has not come",
    # The array has an item, and its tile has no room in the drain. Rows wait for:
    "drain_kv": "the KV store",
    "drain_quantiser": "the quantiser",
    "drain_logits": "the sampler, or the writing of logits",
    "drain_rms": "1/rms",
    "drain_norm": "the sum of squares: 4 cycles a row",
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
class Register:
    """One 32-bit register. `access` is r, rw, w1c (write ones to clear), w (write only) or pop (reading takes)."""

    name: str
    address: int
    access: str
    doc: str
    reset: int = 0


def _map():
    table = [
        ("ID", "r", 'The word "SCOV".'),
        ("VERSION", "r", "Major (31..16) and minor (15..0) version."),
        ("SHAPE", "r", "Bytes of the bus (31..16), rows (15..8), lanes (7..0)."),
        ("SHAPE2", "r", "dot_width (15..8), act_bits (7..0)."),
        ("CONTROL", "w", "Bit 0: start the sequence. Bit 1: soft reset, once STATUS.idle_bus is set."),
        ("STATUS", "r", "Bit 0 running, bit 1 done, bit 2 error, bit 3 saturated (an FP32 result was clipped),"
                        " bit 4 idle_bus,"
                        " bits 15..8 status code, bits 31..16 tokens waiting in TOKEN."),
        ("IRQ_ENABLE", "rw", "Bit 0 token, bit 1 done, bit 2 error."),
        ("IRQ_STATUS", "w1c", "As IRQ_ENABLE; token is set when a token enters the FIFO."),
        ("TOKEN", "pop", "The next generated token; 0xFFFFFFFF if there is none."),
        ("ERROR_ADDRESS_LO", "r", "Address of the fault, low word."),
        ("ERROR_ADDRESS_HI", "r", "Address of the fault, high word."),
        ("PROGRAM_LO", "rw", "Address of the program."),
        ("PROGRAM_HI", "rw", "High word."),
        ("PROMPT_LO", "rw", "Address of the prompt: u32 token ids."),
        ("PROMPT_HI", "rw", "High word."),
        ("PROMPT_LENGTH", "rw", "Tokens in the prompt, at least 1."),
        ("POSITION", "rw", "Positions whose keys and values are in the pages already; the prompt begins there."),
        ("MAX_NEW", "rw", "Tokens to generate, at least 1."),
        ("CONTEXT", "rw", "Positions that the page table has room for."),
        ("STOP_COUNT", "rw", "How many of STOP0..STOP3 end the sequence."),
        ("STOP0", "rw", "A stop token."),
        ("STOP1", "rw", "A stop token."),
        ("STOP2", "rw", "A stop token."),
        ("STOP3", "rw", "A stop token."),
        ("TEMPERATURE", "rw", "FP32 of 1/(T ln 2); 0 for arg-max."),
        ("SEED_LO", "rw", "Seed of the sampler's generator."),
        ("SEED_HI", "rw", "High word."),
        ("KV_BASE_LO", "rw", "Address of KV page 0."),
        ("KV_BASE_HI", "rw", "High word."),
        ("KV_PAGES", "rw", "Pages in the pool; a page number at or above it is a fault."),
        ("KV_PAGE_BYTES", "rw", "Bytes from one page to the next."),
        ("WINDOW_BASE_LO", "rw", "Reads, and writes of logits, below this address are refused."),
        ("WINDOW_BASE_HI", "rw", "High word."),
        ("WINDOW_LIMIT_LO", "rw", "Reads, and writes of logits, at or above this address are refused."),
        ("WINDOW_LIMIT_HI", "rw", "High word."),
        ("LOGITS_LO", "rw", "Where the logits of each generated token go, one row after the other; 0 for nowhere."),
        ("LOGITS_HI", "rw", "High word."),
        ("LOGITS_STRIDE", "rw", "Bytes from one token's logits to the next."),
        ("WATCHDOG", "rw", "Cycles without progress after which the chip stops; 0 for never."),
        ("GENERATED", "r", "Tokens generated in this sequence."),
        ("CYCLES_LO", "r", "Cycles in this sequence."),
        ("CYCLES_HI", "r", "High word."),
        ("PREFILL_CYCLES_LO", "r", "Cycles up to the first generated token."),
        ("PREFILL_CYCLES_HI", "r", "High word."),
        ("BEATS_LO", "r", "Beats that the stream reader received."),
        ("BEATS_HI", "r", "High word."),
        ("WORK_LO", "r", "Cycles in which the array did useful work."),
        ("WORK_HI", "r", "High word."),
        ("STALL_SELECT", "rw", "Which of the stall reasons below STALL shows."),
        ("STALL_LO", "r", "Cycles lost to the reason that STALL_SELECT names."),
        ("STALL_HI", "r", "High word."),
    ]
    resets = {"ID": IDENTITY, "VERSION": VERSION}
    return tuple(Register(name, 4 * index, access, doc, resets.get(name, 0))
                 for index, (name, access, doc) in enumerate(table))


REGISTERS = _map()
_ADDRESSES = {register.name: register.address for register in REGISTERS}


def address_of(name):
    """Byte address of a register; KeyError if there is none of that name."""
    return _ADDRESSES[name]


def markdown():
    """The register map as a Markdown page."""
    rows = [f"| `0x{r.address:03x}` | {r.name} | {r.access} | {r.doc} |" for r in REGISTERS]
    codes = [f"| {s.value} | {s.name} |" for s in Status]
    reasons = [f"| {index} | {name} | {doc} |" for index, (name, doc) in enumerate(STALLS.items())]
    return "\n".join(["# Registers", "", "Made from `rtl/scoville/registers.py`; do not edit.", "",
                      "| address | name | access | meaning |", "|---|---|---|---|", *rows, "",
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
