"""The judge of requests: every error beside what is just right, several at once, cancels, against `slots.judge`."""

from dataclasses import replace
from types import SimpleNamespace

import cocotb
import harness
import pytest
from scoville.config import get_config
from scoville.schedule.judge import Judge, judge_settings, judged_layout
from scoville.schedule.records import MAX_STOPS, NONE, REQUEST, REQUEST_BYTES, Error, Kind, decode, encode
from scoville.schedule.slots import Setup, most_positions
from scoville.schedule.submission import WORDS, word_layout

OFFSETS = {name: (offset, size) for name, offset, size, _ in REQUEST}
UNCOVERED = sorted(set(range(REQUEST_BYTES)) - {n for offset, size in OFFSETS.values()
                                                for n in range(offset, offset + size)})


def configured():
    name, groups = harness.parameters().split()
    return chip(name, groups)


def chip(name, groups):
    """With room for sequences of 2^19 tokens."""
    return replace(get_config(name), cache_groups=int(groups), slots=4, pool_pages=1 << 16)


class Requests:
    """Random requests: good ones, and such as are wrong by a little, or in a bit."""

    def __init__(self, config, rng):
        self.config, self.rng = config, rng
        low = rng.randrange(1 << 30) * 256
        self.setup = Setup(kv_pages=rng.choice([20, 8 | rng.getrandbits(rng.randint(4, 16))]),
                           context=rng.choice([100, 600, 4000, rng.randint(100, 1 << rng.randint(12, 22))]),
                           vocab=rng.randint(1, 1 << 17), running=4, window=(low, low + (1 << 36)))

    def place(self, size, step):
        """An address in the window, often the first or the last."""
        low, high = self.setup.window
        last = (high - size) // step * step
        return self.rng.choice([low, last, self.rng.randrange(low // step, last // step) * step])

    def good(self):
        rng, setup, bus = self.rng, self.setup, self.config.bus_bytes
        most = min(setup.context, 32 * (setup.kv_pages // self.config.cache_groups))
        prompt = rng.choice([1, rng.randint(1, most - 1)])
        context = rng.choice([setup.context, most, rng.randint(prompt, most)])
        end = rng.randint(prompt, min(most, context)) if context > most or rng.random() < 0.7 else context
        if rng.random() < 0.2:  # rows of logits are a power of two in number
            end = prompt + (1 << max(0, (end - prompt).bit_length() - 1))
            end = min(end, most, context)
        more = end + 1 - prompt | rng.getrandbits(rng.randint(0, 32))
        room, limit = rng.choice([(end + 1, NONE), (rng.randint(end + 1, 1 << 23), end + 1 - prompt), (end + 1, more)])
        fields = {name: rng.getrandbits(8 * size) for name, (_, size) in OFFSETS.items()}
        fields |= {"kind": 1, "flags": rng.getrandbits(1), "prompt": prompt, "room": room, "limit": limit,
                   "context": context, "temperature": rng.getrandbits(31), "stop_count": rng.choice([0, 1, MAX_STOPS]),
                   "logits_stride": bus * rng.randrange(1 << rng.randint(1, 16))}
        shared = rng.choice([NONE, rng.getrandbits(31)])
        fields |= {"parent": shared, "shared": 0 if shared == NONE else rng.choice([0, prompt, rng.randint(0, prompt)])}
        fields["tokens"] = self.place(4 * room, 4)
        if fields["stop_count"]:
            fields["stops"] = self.place(4 * fields["stop_count"], 4)
        rows = min(prompt + limit - 1, room - 1, context) - prompt
        size = rows * fields["logits_stride"] + 4 * setup.vocab
        fields["logits"] = rng.choice([0, self.place(size, bus) if size < 1 << 36 else 0])
        return fields

    def worse(self, fields):
        """Something about it changed by a little or by a bit; perhaps it is still good."""
        rng = self.rng
        if rng.random() < 0.1:  # more than the pool has, perhaps
            return fields | {"context": self.setup.context, "room": rng.getrandbits(23),
                             "limit": NONE}
        name = rng.choice(["kind", "flags", "prompt", "room", "limit", "context", "temperature", "tokens", "stops",
                           "stop_count", "logits", "logits_stride", "shared", "parent"])
        size = 8 * OFFSETS[name][1]
        near, bit = rng.choice([-1, 1, -4, 4, -256, 256]), 1 << rng.randrange(size)
        value = rng.choice([fields[name] + near, fields[name] ^ bit, 0, (1 << size) - 1, rng.getrandbits(size),
                            MAX_STOPS + 1, 1 << rng.randrange(size)])
        return fields | {name: value % (1 << size)}

    def record(self):
        fields = self.good()
        for _ in range(self.rng.choice([0, 1, 1, 1, 2, 3])):
            fields = self.worse(fields)
        record = bytearray(encode(REQUEST, **fields))
        if self.rng.random() < 0.05:
            record[self.rng.choice(UNCOVERED)] ^= 1 << self.rng.randrange(8)
        return bytes(record)


async def judged(dut, seed, stalls, count):
    tb = harness.Bench(dut, seed)
    config = configured()
    words, verdicts = tb.source("i", stalls), tb.sink("o", stalls)
    seen, good = {}, 0
    for _ in range(25):
        requests = Requests(config, tb.rng)
        setup = requests.setup
        await tb.reset()
        dut.settings.value = harness.pack(judge_settings(config), {
            "context": setup.context, "vocab": setup.vocab, "kv_pages": setup.kv_pages,
            "window_base": setup.window[0], "window_limit": setup.window[1]})
        records = [requests.record() for _ in range(count // 25)]
        for record in records:
            content = [int.from_bytes(record[4 * n:4 * n + 4], "little") for n in range(WORDS)]
            words.send(harness.pack(word_layout(), {"word": word, "index": n}) for n, word in enumerate(content))
        for record, packed in zip(records, await verdicts.receive(len(records)), strict=True):
            fields, got = decode(REQUEST, record), harness.unpack(judged_layout(), packed)
            wanted = Judge.model(config, setup, fields)
            assert got["error"] == (wanted or 0), (fields, setup, wanted)
            for name in ("kind", "flags", "priority", "id", "tenant", "prompt", "room", "limit", "parent", "shared"):
                assert got[name] == fields[name]
            if wanted is None and fields["kind"] == Kind.REQUEST:
                assert got["most"] == most_positions(SimpleNamespace(**fields))
                fewer = min(fields["prompt"] + fields["limit"], fields["room"])
                assert got["lengthy"] == (fewer == got["most"] + 1)
                good += 1
            seen[wanted] = seen.get(wanted, 0) + 1
    assert count < 700 or set(seen) == {None, *Error} - {Error.ID, Error.FULL, Error.TOKEN, Error.READ, Error.OVERRUN}
    assert good > count // 5
    return words


@cocotb.test()
async def random_stalls(dut):
    await judged(dut, 1, 0.3, 150)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; a word is taken in every cycle, and the next request 28 cycles behind the last."""
    words = await judged(dut, 2, 0.0, 700)
    cycles = words.cycles[-2 * WORDS:]
    assert cycles[WORDS - 1] - cycles[0] == WORDS - 1 and cycles[WORDS] - cycles[WORDS - 1] == 28


@pytest.mark.parametrize("config", ["nano 1", "kria 2", "slim 4"])
def test_judge(sim, config):
    harness.run(Judge(chip(*config.split())), __name__, sim=sim, parameters=config)
