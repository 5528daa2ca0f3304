"""The batch controller between a memory, a host and a core without numerics: schedules as the model has them."""

import dataclasses
from collections import Counter, deque

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from recorder import Recorder
from scoville.config import PAGE_TOKENS
from scoville.kv.layouts import page_layout, place_layout
from scoville.kv.model import pages_of
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.schedule.batch import BatchController, batch_settings
from scoville.schedule.records import (
    COMPLETION,
    COMPLETION_BYTES,
    NONE,
    REQUEST,
    REQUEST_BYTES,
    Event,
    decode,
    encode,
)
from scoville.schedule.seats import PassState, Sampling, of_runs
from test_planner import recorded
from world import VOCAB, World, chip, nobody_left

SUBMIT, COMPLETE = 1 << 38, 1 << 39  # where the rings lie
SIZES = {"2 seats, 4 slots, 2 groups": ({"lanes": 2, "slots": 4, "groups": 2}, (8, 10, 12, 40)),
         "8 seats, 8 slots": ({"lanes": 4, "phases": 2, "slots": 8}, (8, 8, 12, 32))}
SEEDS = {"2 seats, 4 slots, 2 groups": (687, 7), "8 seats, 8 slots": (33, 10)}  # of a schedule, and its requests


def sizes():
    chosen, pages = SIZES[harness.parameters()]
    return dataclasses.replace(chip(**chosen), pool_pages=64 if chosen["slots"] == 4 else 32), pages


class Memory:
    """Words at addresses; reads answer after a while, writes are there when they have their response."""

    def __init__(self, system, latency):
        self.system, self.latency, self.words = system, latency, {}
        bench, stalls = system.tb, system.stalls
        self.requests, self.responses = bench.sink("request", stalls), bench.source("response", stalls)
        self.commands, self.data = bench.sink("write_command", stalls), bench.sink("write_data", stalls)
        bench.each_cycle(self._cycle)
        self.clear()

    def clear(self):
        self.words.clear()
        self.buffers, self.reads, self.writes = None, deque(), deque()
        self.read = self.begun = self.beats = 0
        self.waits = 0  # cycles that a beat has waited to be taken

    def put(self, address, words):
        self.words.update((address + 4 * n, word) for n, word in enumerate(words))

    def get(self, address, count):
        return [self.words.get(address + 4 * n) for n in range(count)]

    def _wait(self):
        return self.system.tb.cycle + (self.system.rng.randrange(2 * self.latency) if self.system.stalls
                                       else self.latency)

    def _cycle(self):
        config, size, now = self.system.config, self.system.config.bus_bytes, self.system.tb.cycle
        held = harness.peek(self.system.dut.response__valid) and not harness.peek(self.system.dut.response__ready)
        self.waits = self.waits + 1 if held else 0
        assert self.waits < 16, "who asks takes what comes: others wait for the fetch port"
        for packed in self.requests.received[self.read:]:
            self.reads.append((self._wait(), harness.unpack(fetch_layout(config), packed)))
            self.read += 1
        while self.reads and self.reads[0][0] <= now:
            asked = self.reads.popleft()[1]
            assert asked["address"] % size == 0 and asked["beats"]
            for beat in range(asked["beats"]):
                address = asked["address"] + beat * size
                failed = self.buffers.fails(address, address + size)
                data = sum((word or 0) << 32 * n for n, word in enumerate(self.get(address, size // 4)))
                self.responses.send([harness.pack(response_layout(config), {
                    "data": 0 if failed else data, "error": failed})])
        while self.begun < len(self.commands.received):
            command = harness.unpack(write_command_layout(config), self.commands.received[self.begun])
            if not self.writes or self.writes[-1][0] != self.begun:
                self.writes.append([self.begun, command, [], None])
                self.system.write_begins(command)
            write = self.writes[-1]
            while len(write[2]) < command["beats"] and self.beats < len(self.data.received):
                write[2].append(harness.unpack(write_data_layout(config), self.data.received[self.beats]))
                self.beats += 1
            if len(write[2]) < command["beats"]:
                break
            write[3] = self._wait()
            self.begun += 1
        while self.writes and self.writes[0][3] is not None and self.writes[0][3] <= now:
            _, command, beats, _ = self.writes.popleft()
            for n, beat in enumerate(beats):
                for word in range(size // 4):
                    strobe = beat["strobe"] >> 4 * word & 0xF
                    assert strobe in (0, 0xF)
                    if strobe:
                        self.put(command["address"] + n * size + 4 * word, [beat["data"] >> 32 * word & NONE])
        self.system.dut.writes_idle.value = int(not self.writes)


class System:
    """Memory, host and core round the controller; what it says is compared with a recorded world."""

    def __init__(self, dut, seed, stalls, latency=10):
        self.dut, self.stalls = dut, stalls
        self.config, self.pages = sizes()
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.memory = Memory(self, latency)
        self.sampled = tb.source("sampled", stalls)
        self.places = {name: tb.source(name, stalls) for name in ("read", "append")}
        self.found = {name: tb.sink(f"{name}_page", stalls) for name in ("read", "append")}
        self.events, self.gaps, self.before = Counter(), [], {}
        self.world, self.lazy = None, 0.0
        self.length = 1  # of a pass, without stalls
        tb.each_cycle(self._host)

    async def start(self, world, entries, lazy):
        """Reset, settings, memory, CONTROL."""
        dut, config, setup = self.dut, self.config, world.setup
        self.world, self.entries, self.lazy = None, entries, lazy
        dut.writes_idle.value, dut.rest.value, dut.pass_done.value = 1, 1, 0
        dut.submit_strobe.value = dut.complete_strobe.value = 0
        await self.tb.reset()
        self.memory.clear()
        self.memory.buffers = world.buffers
        for told in world.told.values():
            self.memory.put(told.request.tokens, told.words)
            self.memory.put(told.request.stops, world.buffers.words[told.request.stops])
        dut.settings.value = harness.pack(batch_settings(config), {
            "submit_base": SUBMIT, "submit_entries": 32, "complete_base": COMPLETE, "complete_entries": entries,
            "running": setup.running, "vocab": setup.vocab, "context": setup.context, "kv_pages": setup.kv_pages,
            "span": list(setup.spans), "window_base": setup.window[0],
            "window_limit": min(setup.window[1], (1 << config.addr_bits) - 1)})
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        await RisingEdge(dut.clk)
        self.world, self.put, self.written, self.taken, self.begun, self.late = world, 0, 0, 0, 0, 0
        self.heard = world.scheduler.heard

    # the host

    async def submit(self, requests):
        for fields in requests:
            given = {name: int(value) for name, value in fields.items() if name != "rest"}
            record = bytearray(encode(REQUEST, **given))
            words = [int.from_bytes(record[at:at + 4], "little") for at in range(0, REQUEST_BYTES, 4)]
            self.memory.put(SUBMIT + self.put % 32 * REQUEST_BYTES, words)
            self.put += 1
        if requests:
            self.dut.submit_count.value, self.dut.submit_strobe.value = self.put, 1
            await RisingEdge(self.dut.clk)
            self.dut.submit_strobe.value = 0
            await RisingEdge(self.dut.clk)

    def write_begins(self, command):
        """When a completion goes to memory, the token that it reports is there."""
        if command["address"] >= COMPLETE:
            done = self.heard[self.begun]
            self.begun += 1
            if done["event"] != Event.ERROR and done["token"] != NONE:
                at = self.world.told[done["id"]].request.tokens + 4 * (done["position"] - 1)
                assert self.memory.get(at, 1) == [done["token"]], "a completion before its token"

    def _host(self):
        """Every completion is the model's next one; the ring's entries are taken now and then."""
        self.dut.complete_strobe.value = 0
        if self.world is None:
            return
        if harness.peek(self.dut.posted):
            words = self.memory.get(COMPLETE + self.written % self.entries * COMPLETION_BYTES, COMPLETION_BYTES // 4)
            got = decode(COMPLETION, b"".join(word.to_bytes(4, "little") for word in words))
            want = self.heard[self.written]
            assert {name: got[name] for name in want} == {name: int(value) for name, value in want.items()}
            assert got["cycles"] >= self.late, "time goes back"
            self.late = got["cycles"]
            self.events[want["event"]] += 1
            self.written += 1
        if self.taken > self.written:  # a host that is wrong
            self.dut.complete_count.value, self.dut.complete_strobe.value, self.taken = self.taken, 1, self.written
        elif self.written != self.taken and self.rng.random() >= self.lazy:
            self.taken = self.rng.randint(self.taken + 1, self.written)
            self.dut.complete_count.value, self.dut.complete_strobe.value = self.taken, 1

    # the core

    async def begins(self):
        since = self.tb.cycle
        while not harness.peek(self.dut.begin):
            await RisingEdge(self.dut.clk)
            if self.tb.cycle - since > 20_000:
                self.tb.fail("no pass begins")

    async def computes(self, step):
        """A pass: as the model's, with its pages."""
        dut, config = self.dut, self.config
        runs = [(run.slot, list(run.tokens), run.first, run.samples) for run in step.plan.runs]
        want, packed = of_runs(runs), (harness.peek(dut.state), harness.peek(dut.sampling))
        state, sampling = harness.unpack(PassState(config), packed[0]), harness.unpack(Sampling(config), packed[1])
        assert state | {"seats": state["seats"][:state["tokens"]]} == want
        seats = [seat for seat, it in enumerate(want["seats"]) if it["samples"]]
        assert [tuple(sampling[seat].values()) for seat in seats] == step.sampling
        dut.rest.value = 0
        await self._look_up(step)
        dut.rest.value = 1
        await RisingEdge(dut.clk)
        assert packed == (harness.peek(dut.state), harness.peek(dut.sampling))

    async def _look_up(self, step):
        """Some places of every run, among them its last, that behind it, and where it appends."""
        wanted = {"read": [], "append": []}
        for run in step.plan.runs:
            kv, end = step.kv[run.slot], run.first + len(run.tokens)
            for group, table in enumerate(kv.tables):
                last = pages_of(end) - 1
                for index in {last, self.rng.randint(0, last), len(table)} & set(range(self.config.slot_pages)):
                    page = table[index] if index < len(table) else None
                    wanted["read"].append((run.slot, group, index, page))
                index = self.rng.choice([run.first // PAGE_TOKENS, last])
                wanted["append"].append((run.slot, group, index, table[index]))
        before = {name: len(sink.received) for name, sink in self.found.items()}
        for name, places in wanted.items():
            self.places[name].send([harness.pack(place_layout(self.config), {
                "slot": slot, "group": group, "index": index}) for slot, group, index, _ in places])
        for name, places in wanted.items():
            while len(self.found[name].received) < before[name] + len(places):
                await RisingEdge(self.dut.clk)
            for packed, place in zip(self.found[name].received[before[name]:], places, strict=True):
                found = harness.unpack(page_layout(self.config), packed)
                assert (None if found["fault"] else found["page"]) == place[3], (name, place)

    async def done(self, step):
        """The pass ends; its tokens come before or after that."""
        tokens = [token for token, *_ in step.sampled]
        early = self.rng.randint(0, len(tokens)) if self.stalls else 0
        self.sampled.send(tokens[:early])
        await self.tb.wait(self.rng.choice([1, 1, 100]) if self.stalls else self.length)
        self.dut.pass_done.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.pass_done.value = 0
        self.ended = self.tb.cycle
        self.sampled.send(tokens[early:])

    async def play(self, world, entries, lazy, passes=None):
        """The schedule, from a reset on, to its end or for so many passes."""
        await self.start(world, entries, lazy)
        requests, count, self.ended = [], 0, None
        pending = None  # the pass under way
        for step in world.scheduler.steps:
            requests += step.requests
            if step.plan is None:
                continue
            await self.submit(requests)
            if pending is not None:
                await self.done(pending)
            quiet, requests = not requests, []
            await self.begins()
            decodes = all(not error and length == 1 for *_, length, error in step.runs)
            if pending and quiet and decodes and len(pending.plan.runs) == len(step.runs):
                self.gaps.append((len(step.runs), self.tb.cycle - self.ended))
            await self.computes(step)
            pending, count = step, count + 1
            if count == passes:
                return
        await self.submit(requests)
        if pending is not None:
            await self.done(pending)
        since = self.tb.cycle
        while self.written < len(self.heard):
            await RisingEdge(self.dut.clk)
            if self.tb.cycle - since > 20_000:
                self.tb.fail("completions do not come")
        await self.tb.wait(100)
        assert harness.peek(self.dut.running) and harness.peek(self.dut.submit_head) == self.put
        assert self.written == len(self.heard) == harness.peek(self.dut.complete_tail)
        for told in world.told.values():
            assert self.memory.get(told.request.tokens, len(told.words) + len(told.got)) == told.words + told.got


def schedule(system, seed, requests):
    spans = (0, 20) if system.config.cache_groups > 1 else None
    return recorded(system.config, seed, requests, system.pages, system.config.bus_bytes, spans)


@cocotb.test()
async def random_stalls(dut):
    """A schedule with whatever comes between, from the middle of another on: behind a soft reset."""
    system = System(dut, 1, 0.3)
    await system.play(schedule(system, 300, 6), 8, 0.5, passes=system.rng.randrange(1, 20))
    await system.play(schedule(system, 301, 6), 2, 0.99)


@cocotb.test()
async def schedules(dut):
    """The same without stalls, with all that can happen; windows give pages back, where there are two groups."""
    system = System(dut, 2, 0.0)
    await system.play(schedule(system, *SEEDS[harness.parameters()]), 16, 0.5)
    assert set(system.events) == set(Event), system.events
    await system.play(nobody_left(system.config, Recorder), 16, 0.0)


@cocotb.test()
async def strange_tokens(dut):
    """A sampled token that is not in the vocabulary ends its sequence when it would be computed, and no other."""
    system = System(dut, 6, 0.0)
    world = World(system.config, 16, running=2, kind=Recorder)
    world.setup = world.scheduler.setup = dataclasses.replace(world.setup, vocab=VOCAB // 2)
    for number in range(4):
        world.request(number, [number], limit=6, seed=8 + number)
    world.finish()
    assert {told.final.event for told in world.told.values()} == {Event.ERROR, Event.FINISHED}
    await system.play(world, 16, 0.0)


@cocotb.test()
async def full_speed(dut):
    """Between two passes of n runs that decode, and need no page: 13 + 16 n cycles, and nothing is read."""
    system = System(dut, 3, 0.0, latency=20)
    system.length = 500  # time for all completions of a pass
    runs = min(system.config.slots, system.config.seats)
    world = World(system.config, 16, running=runs, kind=Recorder)
    for number in range(runs):
        world.request(number, [number], limit=12)
    while world.open:
        world.step()
    await system.play(world, 32, 0.0)
    gaps = {cycles for count, cycles in system.gaps if count == runs}
    assert len(system.gaps) > 8 and gaps == {13 + 16 * runs}, system.gaps
    # So many requests, and the first tokens of each.
    assert len(system.memory.requests.received) == 2 * runs


@cocotb.test()
async def overruns(dut):
    """A count that cannot be, of either doorbell, is a completion like others."""
    system = System(dut, 4, 0.3)
    world = World(system.config, 16, kind=Recorder)
    world.scheduler.overrun(99)
    world.scheduler.overrun(77)
    await system.start(world, 2, 0.0)
    dut.submit_count.value, dut.submit_strobe.value = 99, 1
    await RisingEdge(dut.clk)
    dut.submit_strobe.value = 0
    await system.tb.wait(100)
    system.taken = 77
    await system.tb.wait(100)
    assert system.written == 2


@cocotb.test()
async def held(dut):
    """It waits for the host when it has nothing to do, but not while a request, a token or a completion is on its way:
    the watchdog looks at it.
    """
    system = System(dut, 7, 0.0)
    world = World(system.config, 16, kind=Recorder)
    world.request(1, [1], limit=1)
    world.finish()
    step = world.scheduler.steps[0]
    await system.start(world, 8, 0.0)
    await system.tb.wait(100)
    assert harness.peek(dut.held)
    system.memory.latency = 500
    await system.submit(step.requests)
    await system.tb.wait(5)
    for _ in range(450):
        await RisingEdge(dut.clk)
        assert not harness.peek(dut.held)
    await system.begins()
    await system.done(step)
    since = system.tb.cycle
    while not system.written:
        await RisingEdge(dut.clk)
        assert not harness.peek(dut.held) or system.written
    assert system.tb.cycle - since > 1000  # the token, then its completion
    await system.tb.wait(5)
    assert harness.peek(dut.held)


@cocotb.test()
async def faults(dut):
    """An entry that cannot be read is told; from a halt on nothing begins, whatever is under way."""
    system = System(dut, 5, 0.0)
    for cycles in range(0, 180, 20):
        world = World(system.config, 16, kind=Recorder)
        world.request(1, [1, 2], limit=1000)
        world.step()
        world.step()
        await system.start(world, 8, 0.0)
        await system.submit(world.scheduler.steps[0].requests)
        await system.begins()
        await system.done(world.scheduler.steps[0])
        await system.tb.wait(cycles)
        dut.halt.value = 1
        await system.tb.wait(2)
        written = system.memory.begun
        for _ in range(150):
            await RisingEdge(dut.clk)
            assert not harness.peek(dut.begin) and not harness.peek(dut.running)
        assert system.memory.begun <= written + 1  # what has begun ends
        dut.halt.value = 0
    world.buffers.broken.add(SUBMIT)
    await system.start(world, 8, 0.0)
    await system.submit(world.scheduler.steps[0].requests)
    while not harness.peek(dut.read_error):
        await RisingEdge(dut.clk)
    assert harness.peek(dut.error_address) == SUBMIT


@pytest.mark.parametrize("config", list(SIZES))
def test_batch(sim, config):
    chosen, _ = SIZES[config]
    chosen = dataclasses.replace(chip(**chosen), pool_pages=64 if chosen["slots"] == 4 else 32)
    harness.run(BatchController(chosen), __name__, sim=sim, parameters=config)
