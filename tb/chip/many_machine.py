"""Chips of several slots, Verilated and golden, with requests put by hand; and what each sequence is alone."""

import dataclasses
from types import SimpleNamespace

import numpy as np
from llamas import compiled, same_bits
from machine import FAST
from scoville.config import get_config
from scoville.golden import GoldenChip
from scoville.sampler import sampler
from scoville.schedule.records import (
    COMPLETION,
    COMPLETION_BYTES,
    NONE,
    REQUEST,
    REQUEST_BYTES,
    Event,
    Kind,
    Reason,
    decode,
    encode,
)
from scoville_host.runtime.driver import ERROR, START, temperature_bits
from scoville_host.runtime.many.heap import Heap
from scoville_host.runtime.many.plan import plan_memory
from scoville_host.runtime.many.rtl import RtlMachine

__all__ = ["NANO", "SHAPE", "Alone", "Host", "image_of", "planned", "rtl", "tokens_for"]

NANO = dataclasses.replace(get_config("nano"), slots=4, pool_pages=32, slot_pages=8)  # one build for all of its tests
SHAPE = {"hidden": 32, "layers": 1, "heads": 3, "kv_heads": 1, "ffn": 32, "vocab": 40}
PATIENCE = 200_000  # cycles without a completion: many passes


def image_of(config=NANO, **shape):
    return compiled(config, **(SHAPE | shape))


def planned(image, *, settings=None, **options):
    """A plan of memory; `settings` are registers that are other than planned."""
    plan = plan_memory(image, rows=True, **options)
    plan.registers.update(settings or {})
    return plan


def rtl(plan, timing=FAST, seed=0, patience=PATIENCE, watched=()):
    return RtlMachine(plan, timing, seed, patience, watched)


class Alone:
    """What a sequence is on a golden chip of one slot, checked row by row: the same tokens give the same logits, which
    give the same token.
    """

    def __init__(self, config, **shape):
        self.image = compiled(dataclasses.replace(config, slots=1), **(SHAPE | shape))
        self.chip = GoldenChip(self.image.config, self.image.allocate(), self.image.registers, base=self.image.base)

    def same(self, sequence):
        """Whether tokens, logits and the reason of its end are those of the sequence alone.

        It has prompt, limit, temperature, seed, stops, tokens, logits and reason, as `many.sequence.Sequence`.
        """
        tokens, stops = sequence.tokens, sequence.stops
        whole = {Reason.LENGTH: len(tokens) == sequence.limit and not set(tokens[:-1]) & set(stops),
                 Reason.STOP: bool(tokens) and tokens[-1] in stops and not set(tokens[:-1]) & set(stops),
                 Reason.CANCELLED: not set(tokens) & set(stops)}.get(sequence.reason, False)
        if not tokens:
            return whole
        rows = self.chip.logits([*sequence.prompt, *tokens[:-1]])[len(sequence.prompt) - 1:]
        invt = np.array(temperature_bits(sequence.temperature), np.uint32).view(np.float32)
        wanted = [sampler.model(row, invt, sequence.seed, len(sequence.prompt) - 1 + n) for n, row in enumerate(rows)]
        return whole and same_bits(sequence.logits, rows) and tokens == wanted


class Host:
    """Entries that are put one by one, and doorbells that are rung when a test wants them.

    Parameters
    ----------
    machine : RtlMachine or GoldenMachine, not started
    plan : Plan of its memory

    Members
    -------
    told : what became of each request, by id; prompt, limit, temperature, seed, stops, tokens, reason, error, logits
    done : all completions, as namespaces of the fields of their record
    """

    def __init__(self, machine, plan):
        self.machine, self.plan = machine, plan
        self.start()

    def start(self):
        """Registers and the start, of a chip that is as after a reset."""
        self.heap = Heap(*self.plan.heap)
        self.told, self.done, self.put, self.taken = {}, [], 0, 0
        registers = self.plan.registers
        self.machine.store(registers["COMPLETE_BASE"], bytes(registers["COMPLETE_ENTRIES"] * COMPLETION_BYTES))
        for name, value in registers.items():
            self.machine.write(name, value)
        self.machine.write("CONTROL", START)

    def _entry(self, **fields):
        registers = self.plan.registers
        place = registers["SUBMIT_BASE"] + self.put % registers["SUBMIT_ENTRIES"] * REQUEST_BYTES
        self.machine.store(place, encode(REQUEST, **fields))
        self.put += 1

    def request(self, name, prompt, limit, *, stops=(), temperature=0.0, seed=0, **fields):
        """An entry; the doorbell is not rung. Of an id that is told already nothing is forgotten."""
        stride, room = self.plan.row_bytes, len(prompt) + limit
        logits = self.heap.take(self.plan.buffer_bytes(room, len(stops)))
        assert logits is not None
        tokens = logits + room * stride
        self.machine.store(tokens, np.array(prompt, "<u4").tobytes())
        self.machine.store(tokens + 4 * room, np.array(stops, "<u4").tobytes())
        self._entry(**{"id": name, "kind": Kind.REQUEST, "prompt": len(prompt), "room": room, "limit": limit,
                       "context": self.plan.image.context, "temperature": temperature_bits(temperature),
                       "tokens": tokens, "seed": seed, "stops": tokens + 4 * room, "stop_count": len(stops),
                       "parent": NONE, "logits": logits, "logits_stride": stride} | fields)
        told = SimpleNamespace(prompt=prompt, limit=limit, temperature=temperature, seed=seed, stops=stops, tokens=[],
                               reason=None, error=None, preempted=0, rows=logits, at=tokens,
                               parks=bool(fields.get("flags", 0)))
        return self.told.setdefault(name, told)

    def cancel(self, name):
        self._entry(id=name, kind=Kind.CANCEL)

    def ring(self):
        self.machine.write("SUBMIT_TAIL", self.put)

    @property
    def open(self):
        return [told for told in self.told.values() if told.reason is None and told.error is None]

    def hear(self, acknowledge=True):
        """Take the completions that are in the ring; how many."""
        registers, before = self.plan.registers, self.taken
        while self.taken - before < registers["COMPLETE_ENTRIES"]:
            place = registers["COMPLETE_BASE"] + self.taken % registers["COMPLETE_ENTRIES"] * COMPLETION_BYTES
            done = SimpleNamespace(**decode(COMPLETION, self.machine.fetch(place, COMPLETION_BYTES)))
            if done.number != self.taken + 1:
                break
            self.taken += 1
            self._hear(done)
        if acknowledge and self.taken != before:
            self.machine.write("COMPLETE_HEAD", self.taken)
        return self.taken - before

    def _hear(self, done):
        self.done.append(done)
        told = self.told.get(done.id)
        if done.event == Event.ERROR:
            if told is not None and done.slot != NONE >> 16 or told in self.open:
                told.error = done.code
        elif done.event == Event.PREEMPTED:
            told.preempted += 1
        elif done.event != Event.EVICTED:
            assert told.reason is None and told.error is None
            if done.token != NONE:
                told.tokens.append(done.token)
                buffer = np.frombuffer(self.machine.fetch(told.at, 4 * done.position), "<u4").tolist()
                assert buffer == [*told.prompt, *told.tokens]
            if done.event == Event.FINISHED:
                told.reason = Reason(done.code)

    def serve(self):
        """Let the chip go on until every request has ended; then their logits are in `told`."""
        while self.open:
            more = self.machine.wait()
            assert not self.machine.read("STATUS") & ERROR, self.fault()
            assert self.hear() or more, f"nothing comes of {len(self.open)} requests"
        for told in self.told.values():
            told.logits = self.logits(told)

    def forget(self):
        """All have ended: their memory is free again."""
        assert not self.open
        self.told, self.heap = {}, Heap(*self.plan.heap)

    def logits(self, told):
        stride, count = self.plan.row_bytes, len(told.tokens)
        rows = np.frombuffer(self.machine.fetch(told.rows, count * stride), "<f4")
        return rows.reshape(count, stride // 4)[:, :self.plan.image.vocab].copy()

    def fault(self):
        return self.machine.read("STATUS") >> 8 & 255, self.machine.read("ERROR_ADDRESS")


def tokens_for(rng, count, vocab=SHAPE["vocab"]):
    return rng.integers(0, vocab, count).tolist()
