"""The two records that host and chip exchange, as data: rings, driver, model and docs read these tables.

Little-endian; a field lies at a multiple of its size. What no field covers is 0.
"""

import enum

__all__ = ["COMPLETION", "COMPLETION_BYTES", "MAX_STOPS", "NONE", "NO_SLOT", "REQUEST", "REQUEST_BYTES", "Error",
           "Event", "Flag", "Kind", "Reason", "c_header", "decode", "encode", "markdown"]

REQUEST_BYTES, COMPLETION_BYTES = 128, 32
MAX_STOPS = 256
NONE = 0xFFFFFFFF  # no token, no parent, any number of outputs
NO_SLOT = 0xFFFF


class _Told(enum.IntEnum):
    """A number with a meaning, `text`, for the docs."""

    def __new__(cls, value, text):
        member = int.__new__(cls, value)
        member._value_, member.text = value, text
        return member


class Kind(_Told):
    """What an entry of the submission ring asks for."""

    REQUEST = 1, "a sequence"
    CANCEL = 2, "the sequence, or the parked slot, of this `id` ends; no other field is looked at"


class Flag(enum.IntFlag):
    """Bits of a request's `flags`."""

    PARK = 1  # at the end its pages stay for others to share, until they are needed


class Event(_Told):
    """What a completion reports."""

    TOKEN = 1, "`token` was sampled, and more follow"
    FINISHED = 2, "final: the sequence has ended, `code` is the reason; `token` is its last, none if it was cancelled"
    PREEMPTED = 3, "its pages went to others; it goes on by itself, with the tokens that it would have had anyway"
    EVICTED = 4, "a parked slot is gone: nobody can share it any more"
    ERROR = 5, "final: the request cannot be served, or no longer; `code` is the error"


class Reason(_Told):
    """Why a sequence ended: the first that applies."""

    STOP = 1, "the token is in the stop list"
    LENGTH = 2, "`limit` tokens are sampled, or the token buffer is full"
    CONTEXT = 3, "`context` positions are computed"
    CANCELLED = 4, "as the host said"


class Error(_Told):
    """What is wrong with a request: the first that applies."""

    KIND = 1, "`kind` or a flag is unknown, or a byte that no field covers is not 0"
    ID = 2, "`id` is 0xFFFFFFFF, or that of a sequence or parked slot (which is not touched: `slot` is 0xFFFF)"
    LENGTH = 3, "`prompt` or `limit` is 0, or `room` is not above `prompt`"
    CONTEXT = 4, "`context` is 0 or above the register CONTEXT, or `prompt` is above `context`"
    POOL = 5, "alone in the pool it would not have pages for all the positions that it may come to"
    VALUE = 6, "`temperature` is negative"
    STOPS = 7, f"`stop_count` is above {MAX_STOPS}"
    WINDOW = 8, "token buffer, stop list or rows of logits are not aligned, or not wholly in the window"
    PARENT = 9, "this tenant has no sequence or parked slot `parent`; or `shared` is above `prompt`, or without parent"
    FULL = 10, "every slot has a sequence that has not ended"
    TOKEN = 11, "a token of the prompt is not below the register VOCAB"
    READ = 12, "reading its tokens or its stop list gave a bus error"
    OVERRUN = 13, "a doorbell was rung with an impossible count, and not heard: `id` is 0xFFFFFFFF, `token` the count"


REQUEST = (  # name, offset, bytes, meaning
    ("id", 0, 4, "names the sequence in completions; the host's choice"),
    ("kind", 4, 1, "1 request, 2 cancel"),
    ("flags", 5, 1, "bit 0: park at the end"),
    ("priority", 6, 1, "0 to 255; higher goes first"),
    ("tenant", 8, 4, "pages are shared within a tenant only"),
    ("prompt", 12, 4, "tokens in the buffer, at least 1"),
    ("room", 16, 4, "tokens that the buffer has room for, prompt and outputs; above `prompt`"),
    ("limit", 20, 4, "tokens to sample at most, at least 1; 0xFFFFFFFF for as many as there is room for"),
    ("context", 24, 4, "positions that may be computed: 1 to the register CONTEXT"),
    ("temperature", 28, 4, "FP32 of 1/(T ln 2), not negative; arg-max with an exponent field of 0 or 255"),
    ("tokens", 32, 8, "address of the token buffer: u32 each, a multiple of 4"),
    ("seed", 40, 8, "of the sampler's noise"),
    ("stops", 48, 8, "address of the stop list: u32 each, a multiple of 4; not looked at if there are none"),
    ("stop_count", 56, 4, f"tokens in the stop list, 0 to {MAX_STOPS}"),
    ("parent", 60, 4, "`id` of the sequence or parked slot that begins with the same tokens; 0xFFFFFFFF for none"),
    ("logits", 64, 8, "address of a row of FP32 for each sampled token, a multiple of the bus; 0 for nowhere"),
    ("logits_stride", 72, 4, "bytes from one row to the next, a multiple of the bus"),
    ("shared", 76, 4, "how many of the prompt's first tokens are the parent's first tokens; 0 without a parent"),
)
COMPLETION = (
    ("id", 0, 4, "of the request"),
    ("event", 4, 1, "1 token, 2 finished, 3 preempted, 4 evicted, 5 error"),
    ("code", 5, 1, "finished: the reason; error: which; else 0"),
    ("slot", 6, 2, "where the sequence is or was; 0xFFFF if it never had a slot"),
    ("token", 8, 4, "the sampled token; 0xFFFFFFFF if there is none"),
    ("position", 12, 4, "tokens of the sequence in its buffer, this one counted"),
    ("cycles", 16, 8, "cycles since the start"),
    ("pass", 24, 4, "passes completed since the start, modulo 2^32"),
    ("number", 28, 4, "completions since the start, this one counted, modulo 2^32; it is in memory after all else"),
)
_SIZE = {REQUEST: REQUEST_BYTES, COMPLETION: COMPLETION_BYTES}


def encode(table, **fields):
    """A record as bytes; fields that are not given are 0.

    Raises
    ------
    ValueError
        If a field is unknown, or its value does not fit.
    """
    places = {name: (offset, size) for name, offset, size, _ in table}
    record = bytearray(_SIZE[table])
    for name, value in fields.items():
        if name not in places:
            raise ValueError(f"no field {name!r}; there are: {', '.join(places)}")
        offset, size = places[name]
        if not 0 <= int(value) < 1 << 8 * size:
            raise ValueError(f"{name} is {value}; it must fit {8 * size} bits")
        record[offset:offset + size] = int(value).to_bytes(size, "little")
    return bytes(record)


def decode(table, record):
    """The fields of a record, name to int; ``rest`` tells whether a byte that no field covers is not 0."""
    fields, rest = {}, bytearray(record)
    for name, offset, size, _ in table:
        fields[name] = int.from_bytes(record[offset:offset + size], "little")
        rest[offset:offset + size] = bytes(size)
    return fields | {"rest": any(rest)}


def c_header():
    """The records as C structs, and the numbers in them."""
    lines = ["#include <stdint.h>", ""]
    for name, table in (("request", REQUEST), ("completion", COMPLETION)):
        lines.append(f"struct scoville_{name} {{")
        end = 0
        for field, offset, size, meaning in (*table, ("", _SIZE[table], 0, "")):
            if offset > end:
                lines.append(f"    uint8_t reserved_{end}[{offset - end}]; /* 0 */")
            if size:
                lines.append(f"    uint{8 * size}_t {field}; /* {meaning} */")
            end = offset + size
        lines += ["};", f"_Static_assert(sizeof(struct scoville_{name}) == {_SIZE[table]}, \"layout\");", ""]
    for kind in (Kind, Event, Reason, Error):
        lines += [f"#define SCOVILLE_{kind.__name__.upper()}_{member.name:<20} {member.value}u" for member in kind]
        lines.append("")
    return "\n".join([*lines, f"#define SCOVILLE_{'NONE':<24} 0x{NONE:08x}u"])


def markdown():
    """The tables of docs/schedule.md."""
    lines = []
    for title, table in (("Request", REQUEST), ("Completion", COMPLETION)):
        lines += ["", f"### {title}: {_SIZE[table]} bytes", "",
                  "| byte | bytes | field | meaning |", "|---|---|---|---|"]
        lines += [f"| {offset} | {size} | `{name}` | {meaning} |" for name, offset, size, meaning in table]
    for kind in (Kind, Event, Reason, Error):
        lines += ["", f"### {kind.__name__}: {kind.__doc__[0].lower()}{kind.__doc__[1:].rstrip('.')}", "",
                  "| value | name | meaning |", "|---|---|---|"]
        lines += [f"| {member.value} | {member.name} | {member.text} |" for member in kind]
    return "\n".join(lines[1:])
