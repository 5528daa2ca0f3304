"""The submission ring on a bus: records word by word, every count of a doorbell, wrapping, errors, speed."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from rings import FIRST, MODULUS, Doorbell
from scoville.config import get_config
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.schedule.records import REQUEST_BYTES
from scoville.schedule.rings import SubmissionRing as Model
from scoville.schedule.submission import WORDS, SubmissionRing, word_layout


class System(Doorbell):
    """The ring between a host that writes records and doorbells, a memory, and who takes the words."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.stalls = dut, stalls
        self.config = get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.request, self.response = tb.sink("request", stalls), tb.source("response", stalls)
        self.words, self.overruns = tb.sink("o", stalls), tb.sink("overrun", stalls)
        self.broken = set()  # addresses of beats that cannot be read, to whether the window refused them
        tb.each_cycle(self._serve)

    async def start(self, entries):
        rng, config = self.rng, self.config
        size = entries * REQUEST_BYTES
        step = max(REQUEST_BYTES, config.bus_bytes)
        self.base = rng.randrange((1 << config.addr_bits) // step - size // step - 1) * step
        if rng.random() < 0.3:  # the last bytes of the address space
            self.base = ((1 << config.addr_bits) - max(size, step)) // step * step
        self.memory = bytearray(rng.randbytes(max(size, step)))
        self.entries, self.served = entries, 0
        self.dut.room.value = 1
        self.dut.base.value, self.dut.entries.value = self.base, entries
        await self.tb.reset()

    def _serve(self):
        size = self.config.bus_bytes
        self.served = min(self.served, len(self.request.received))  # a reset empties the list
        for packed in self.request.received[self.served:]:
            self.served += 1
            asked = harness.unpack(fetch_layout(self.config), packed)
            assert asked["address"] % size == 0 and asked["beats"] == max(1, REQUEST_BYTES // size)
            for beat in range(asked["beats"]):
                at = asked["address"] + beat * size
                assert self.base <= at and at + size <= self.base + len(self.memory)
                error = at in self.broken
                self.response.send([harness.pack(response_layout(self.config), {
                    "data": int.from_bytes(self.memory[at - self.base:][:size], "little"), "error": error,
                    "refused": error and self.refused})])

    def record(self, number):
        place = (FIRST + number) % self.entries * REQUEST_BYTES
        return bytes(self.memory[place:place + REQUEST_BYTES])

    def put(self, number):
        place = (FIRST + number) % self.entries * REQUEST_BYTES
        self.memory[place:place + REQUEST_BYTES] = self.rng.randbytes(REQUEST_BYTES)

    def taken(self):
        """The records that came, as bytes."""
        found = [harness.unpack(word_layout(), packed) for packed in self.words.received]
        assert [word["index"] for word in found] == [n % WORDS for n in range(len(found))]
        data = b"".join(word["word"].to_bytes(4, "little") for word in found)
        return [data[at:at + REQUEST_BYTES] for at in range(0, len(data), REQUEST_BYTES)]


async def traffic(dut, seed, stalls):
    """Records of a host that puts as many as there is room for, and rings counts that cannot be in between."""
    system = System(dut, seed, stalls)
    rng = system.rng
    for entries in (2, 4, 16):
        await system.start(entries)
        wanted, overruns, tail = [], [], 0
        while tail < 5 * entries:
            head = system.head
            model = Model(None, 0, entries)
            model.head, model.tail = head, tail
            new = rng.choice([tail + rng.randint(0, entries - (tail - head)), tail + rng.randint(0, 2), tail - 1,
                              head + entries + 1, rng.getrandbits(32)])
            if new % MODULUS == new and new - tail in range(entries - (tail - head) + 1):
                for number in range(tail, new):
                    system.put(number)
                    wanted.append(system.record(number))
            # The head may move until the bell is heard: a count that becomes possible by that is left out.
            elif (new - head) % MODULUS in range(entries + 1, 2 * entries + 1):
                continue
            heard = model.ring(new % MODULUS)
            if not heard and len(system.overruns.received) == len(overruns):
                overruns.append((FIRST + new) % MODULUS)
            await system.ring(new)
            tail = new if heard else tail
            await RisingEdge(dut.clk)
            assert system.tail == tail
            for _ in range(rng.choice([0, 20, 200])):
                await RisingEdge(dut.clk)
            while not heard and len(system.overruns.received) < len(overruns):
                await RisingEdge(dut.clk)
        while system.head != tail:
            await RisingEdge(dut.clk)
        assert system.taken() == wanted and system.overruns.received == overruns
        assert overruns
    return system


@cocotb.test()
async def random_stalls(dut):
    await traffic(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls: a word in every cycle, and the next entry behind this memory's answer."""
    system = await traffic(dut, 2, 0.0)
    await system.start(4)
    await system.ring(4)
    await system.words.receive(4 * WORDS)
    cycles = system.words.cycles[-4 * WORDS:]
    for first in range(0, 4 * WORDS, WORDS):
        assert cycles[first + WORDS - 1] - cycles[first] == WORDS - 1
    gaps = {cycles[n * WORDS] - cycles[n * WORDS - 1] for n in range(1, 4)}
    assert gaps == {4}, gaps


@cocotb.test()
async def impossible(dut):
    """What lies behind, before or far ahead is no count of this ring."""
    system = System(dut, 3, 0.2)
    await system.start(4)
    for count in (4, MODULUS - 3, MODULUS - 1, 5, 4):
        await system.ring(count)
        await RisingEdge(dut.clk)
        assert system.tail == 4
    await system.words.receive(4 * WORDS)
    assert system.taken() == [system.record(n) for n in range(4)]


@cocotb.test()
async def one_overrun_at_a_time(dut):
    """One that comes while the first waits to be told is that one."""
    system = System(dut, 4, 0.0)
    await system.start(2)
    for count in (7, 8, 9):  # the sink takes the first in the cycle behind it, while the second is rung
        await system.ring(count)
    await system.tb.wait(40)
    assert system.overruns.received == [(FIRST + count) % MODULUS for count in (7, 9)] and system.tail == 0


@cocotb.test()
async def every_size(dut):
    """The places in rings of every size, which may be full."""
    system = System(dut, 6, 0.0)
    for entries in (1 << n for n in range(4, 17)):
        await system.start(entries)
        for count in (entries + 1, entries, entries + 1):
            await system.ring(count)
            await system.tb.wait(2)
        assert system.tail == entries and len(system.overruns.received) == 2
        await system.words.receive(10 * WORDS)
        assert system.taken()[:10] == [system.record(n) for n in range(10)]
        dut.room.value = 0
        await system.tb.wait(100)  # what was asked for has come
        taken = system.head
        for count in (entries + taken + 1, entries + taken):
            await system.ring(count)
            await system.tb.wait(2)
        assert system.tail == entries + taken and len(system.overruns.received) == 3
        await system.tb.reset()


@cocotb.test()
async def no_room(dut):
    """No entry is asked for while its words would not be taken, and the next one is when they would."""
    system = System(dut, 7, 0.0)
    await system.start(4)
    for number in range(3):
        dut.room.value = 0
        await system.ring(number + 1)
        await system.tb.wait(100)
        assert len(system.request.received) == number
        dut.room.value = 1
        await system.words.receive(WORDS)
    assert system.taken() == [system.record(n) for n in range(3)]


@cocotb.test()
async def read_error(dut):
    """An entry that cannot be read is told once, by its address, and none is read after it."""
    system = System(dut, 5, 0.2)
    size = system.config.bus_bytes
    for refused in (0, 1):
        for beat in range(max(1, REQUEST_BYTES // size)):
            await system.start(4)
            at = system.base + (FIRST + 1) % 4 * REQUEST_BYTES
            system.broken, system.refused = {at // size * size + beat * size}, refused
            await system.ring(3)
            errors = []
            for _ in range(600):
                await RisingEdge(dut.clk)
                if harness.peek(dut.error):
                    errors.append((harness.peek(dut.refused), harness.peek(dut.error_address)))
            first = size <= REQUEST_BYTES or at % size == 0
            wanted = (refused, at if first else system.base)
            assert len(errors) == 1 and (errors[0] == wanted or size > REQUEST_BYTES), (errors, wanted)
            assert len(system.request.received) <= 2
            system.broken = set()


@pytest.mark.parametrize("config", ["slim", "nano", "wide", "kria"])
def test_submission(sim, config):
    harness.run(SubmissionRing(get_config(config), first=FIRST), __name__, sim=sim, parameters=config)
