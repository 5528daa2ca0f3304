"""Rings and records: bytes counted by hand, every count of a doorbell, wrapping, empty and full."""

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scoville.config import get_config
from scoville.golden_memory import GoldenMemory
from scoville.schedule import records
from scoville.schedule.records import COMPLETION, COMPLETION_BYTES, NONE, REQUEST, REQUEST_BYTES, decode, encode
from scoville.schedule.rings import CompletionRing, SubmissionRing

BASE = 0x1000
DOCS = Path(__file__).resolve().parents[2] / "docs" / "schedule.md"


def memory_of(size):
    return GoldenMemory(get_config("nano"), np.zeros(size, np.uint8), base=BASE, kv_base=BASE, kv_pages=0,
                        kv_page_bytes=0)


@pytest.mark.parametrize("table, size", [(REQUEST, REQUEST_BYTES), (COMPLETION, COMPLETION_BYTES)])
def test_fields_lie_apart_and_aligned(table, size):
    taken = []
    for _, offset, width, _ in table:
        assert offset % width == 0
        taken += range(offset, offset + width)
    assert len(set(taken)) == len(taken) and max(taken) < size


def test_bytes_of_a_request():
    record = encode(REQUEST, id=0x01020304, kind=1, flags=1, priority=9, tokens=0x1122334455, shared=7)
    assert len(record) == 128
    assert record[:8] == bytes([4, 3, 2, 1, 1, 1, 9, 0])
    assert record[32:40] == bytes([0x55, 0x44, 0x33, 0x22, 0x11, 0, 0, 0])
    assert record[76:] == bytes([7]) + bytes(51)
    fields = decode(REQUEST, record)
    assert fields["id"] == 0x01020304 and fields["tokens"] == 0x1122334455 and not fields["rest"]
    for offset in set(range(128)) - {n for _, first, width, _ in REQUEST for n in range(first, first + width)}:
        assert decode(REQUEST, record[:offset] + b"\1" + record[offset + 1:])["rest"]


def test_bytes_of_a_completion():
    record = encode(COMPLETION, number=1, id=2, event=2, code=1, slot=0xFFFF, token=NONE, position=5, cycles=1 << 40,
                    **{"pass": 6})
    assert record.hex(" ", 4) == "02000000 0201ffff ffffffff 05000000 00000000 00010000 06000000 01000000"


@pytest.mark.parametrize("fields, message", [
    ({"token": 1}, "no field 'token'"), ({"priority": 256}, "must fit 8 bits"), ({"priority": -1}, "must fit 8 bits")])
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        encode(REQUEST, **fields)


@pytest.mark.parametrize("entries", [0, 1, 3, 1 << 17])
def test_entries_are_a_power_of_two(entries):
    with pytest.raises(ValueError, match="power of two, 2 to 65536"):
        SubmissionRing(memory_of(0), BASE, entries)


@pytest.mark.parametrize("start", [0, 5, (1 << 32) - 3])
def test_submission_ring(start, run_seed):
    """Random puts and takes, round the ring and round the counts; what cannot be is refused and changes nothing."""
    rng, entries = random.Random(run_seed), 4
    memory = memory_of(entries * REQUEST_BYTES)
    ring = SubmissionRing(memory, BASE, entries)
    ring.head = ring.tail = start
    put, taken = start, start
    for _ in range(300):
        count = rng.randrange(-1, entries + 3)
        tail = put + count
        if count >= 0 and tail - taken <= entries:
            for n in range(put, tail):
                memory.view(BASE + n % entries * REQUEST_BYTES, REQUEST_BYTES)[:] = list(encode(REQUEST, id=n & NONE))
            assert ring.ring(tail & NONE)
            put = tail
        else:
            assert not ring.ring(tail & NONE)
        assert len(ring) == put - taken
        for _ in range(rng.randrange(3)):
            fields = ring.take()
            assert (fields["id"] if fields else None) == (taken & NONE if taken < put else None)
            taken += taken < put
    assert put > start + 8


@pytest.mark.parametrize("start", [0, (1 << 32) - 3])
def test_completion_ring(start, run_seed):
    rng, entries = random.Random(run_seed), 4
    memory = memory_of(entries * COMPLETION_BYTES)
    ring = CompletionRing(memory, BASE, entries)
    ring.head = ring.tail = start
    put, taken, full = start, start, 0
    for _ in range(300):
        for _ in range(rng.randrange(4)):
            full += put - taken == entries
            assert ring.put({"number": put + 1 & NONE}) == (put - taken < entries)
            put += put - taken < entries
        head = taken + rng.randrange(-1, entries + 2)
        for n in range(taken, min(head, put)):
            at = BASE + n % entries * COMPLETION_BYTES
            assert decode(COMPLETION, memory.view(at, COMPLETION_BYTES).tobytes())["number"] == n + 1 & NONE
        assert ring.ring(head & NONE) == (taken <= head <= put)
        taken = head if taken <= head <= put else taken
        assert len(ring) == put - taken
    assert full > 10


def test_c_structs(tmp_path):
    """The compiler puts each field where the table has it, and takes the example of docs/schedule.md."""
    checks = [f"_Static_assert(offsetof(struct scoville_{name}, {field}) == {offset}, \"{field}\");\n"
              for name, table in (("request", REQUEST), ("completion", COMPLETION)) for field, offset, *_ in table]
    source = tmp_path / "records.c"
    (tmp_path / "scoville_records.h").write_text(records.c_header(), encoding="utf-8")
    example = DOCS.read_text(encoding="utf-8").split("```c\n")[1].split("```")[0]
    source.write_text("\n".join(["#include <stddef.h>", example, *checks]), encoding="utf-8")
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", source], check=True)


def test_every_number_is_told():
    text = records.markdown()
    for kind in (records.Kind, records.Event, records.Reason, records.Error):
        for member in kind:
            assert f"| {member.value} | {member.name} |" in text
