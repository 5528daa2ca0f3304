"""A host for a chip with many sequences: memory, rings, requests, and what became of them."""

import dataclasses
from types import SimpleNamespace

import numpy as np
from scoville.golden_many import GoldenMany
from scoville.sampler.temperature import inverse_temperature
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

__all__ = ["Host"]


class Host:
    """The driver's side of a `GoldenMany` that runs an image's program.

    Parameters
    ----------
    image : `Image`
    pages : of the pool; its bytes are random at the beginning
    running, vocab, entries : registers RUNNING, VOCAB, and of both rings
    room : bytes for rings, buffers and logits
    sizes : of the configuration, that the image does not depend on
    """

    def __init__(self, image, pages, *, running=None, vocab=None, entries=4, room=1 << 22, seed=0, **sizes):
        config = dataclasses.replace(image.config, **sizes)
        size = image.registers["KV_PAGE_BYTES"]
        self.memory = np.concatenate([image.allocate(), np.zeros(room + pages * size, np.uint8)])
        self.base, self.end, self.vocab = image.base, image.base + image.size, image.vocab
        registers = {"PROGRAM": image.registers["PROGRAM"], "KV_PAGES": pages, "KV_PAGE_BYTES": size,
                     "CONTEXT": image.context, "VOCAB": vocab or image.vocab, "RUNNING": running or config.seats,
                     "SUBMIT_ENTRIES": entries, "COMPLETE_ENTRIES": entries,
                     "KV_BASE": self.place(pages * size), "SUBMIT_BASE": self.place(entries * REQUEST_BYTES),
                     "COMPLETE_BASE": self.place(entries * COMPLETION_BYTES)}
        self.chip = GoldenMany(config, self.memory, registers, base=image.base)
        self.chip.memory.kv_pool[...] = np.random.default_rng(seed).integers(0, 256, (pages, size))
        self.told, self.put, self.preempted = {}, 0, 0

    def place(self, size):
        """The address of so many bytes, a multiple of the widest bus."""
        address, self.end = self.end, self.end + -(-size // 256) * 256
        assert self.end <= self.base + len(self.memory)
        return address

    def words(self, address, count, dtype="<u4"):
        first = address - self.base
        return self.memory[first:first + 4 * count].view(dtype)

    @property
    def open(self):
        return [told for told in self.told.values() if told.final is None]

    def submit(self, name, prompt, limit, *, stops=(), temperature=0.0, **fields):
        """Put a request; outputs and logits come to `told`."""
        stride = -(-4 * self.vocab // 256) * 256
        tokens, logits = self.place(4 * (len(prompt) + limit)), self.place(stride * limit)
        stop_list = self.place(4 * len(stops))
        self.words(tokens, len(prompt))[:] = prompt
        self.words(stop_list, len(stops))[:] = stops
        fields = {"parent": NONE, "context": self.chip.scheduler.setup.context} | fields
        self._put(id=name, kind=Kind.REQUEST, prompt=len(prompt), room=len(prompt) + limit, limit=limit,
                  tokens=tokens, stops=stop_list, stop_count=len(stops), logits=logits, logits_stride=stride,
                  temperature=int(np.float32(inverse_temperature(temperature)).view(np.uint32)), **fields)
        told = SimpleNamespace(prompt=prompt, tokens=[], final=None, gone=False, park=fields.get("flags", 0),
                               at=tokens, logits=logits, stride=stride)
        self.told[name] = told
        return told

    def cancel(self, name):
        self._put(id=name, kind=Kind.CANCEL)

    def _put(self, **fields):
        ring = self.chip.submission
        assert len(ring) < ring.entries
        at = ring.base - self.base + self.put % ring.entries * REQUEST_BYTES
        self.memory[at:at + REQUEST_BYTES] = list(encode(REQUEST, **fields))
        self.put += 1
        self.chip.ring(ring, self.put)

    def hear(self, most=NONE):
        """Take so many completions; each in its turn, by its number."""
        ring = self.chip.completion
        for _ in range(min(most, len(ring))):
            at = ring.base - self.base + ring.head % ring.entries * COMPLETION_BYTES
            done = SimpleNamespace(**decode(COMPLETION, self.memory[at:at + COMPLETION_BYTES].tobytes()))
            assert done.number == ring.head + 1
            self.chip.ring(ring, ring.head + 1)
            told = self.told[done.id]
            assert told.final is None or done.event == Event.EVICTED
            self.preempted += done.event == Event.PREEMPTED
            told.gone |= done.event == Event.EVICTED
            if done.token != NONE and done.event != Event.ERROR:
                told.tokens.append(done.token)
                assert self.words(told.at, done.position).tolist() == [*told.prompt, *told.tokens]
            if done.event in (Event.FINISHED, Event.ERROR):
                told.final = done
                told.gone = done.event == Event.ERROR or done.code == Reason.CANCELLED or not told.park

    def logits(self, told):
        """The rows of logits that a sequence's tokens were chosen from."""
        return np.array([self.words(told.logits + n * told.stride, self.vocab, "<f4")
                         for n in range(len(told.tokens))], np.float32).reshape(-1, self.vocab)
