"""The planner on a bus of streams: random schedules, step by step as the model has them."""

import random
from collections import Counter
from types import SimpleNamespace

import cocotb
import harness
import pytest
from amaranth.lib import data
from cocotb.triggers import RisingEdge
from recorder import Recorder, judged
from scoville.isa import POSITION_BITS
from scoville.kv.layouts import Op, answer_layout, command_layout
from scoville.kv.model import KvModel
from scoville.schedule.completion import news_layout
from scoville.schedule.judge import Judge, judged_layout
from scoville.schedule.planner import Planner, planned_layout, sampled_layout
from scoville.schedule.records import NONE, Event, Flag
from scoville.schedule.slots import State, family, most_positions
from world import VOCAB, World, chip

SIZES = {"4 seats, 8 slots": {"lanes": 4, "slots": 8}, "1 seat, 2 slots": {"lanes": 1, "slots": 2},
         "8 seats, 16 slots": {"lanes": 4, "phases": 2, "slots": 16}}
SPANS = {"1 seat, 2 slots": (40,)}


class Host:
    """Random requests of several tenants, priorities and kin; some are wrong, and some cannot be read."""

    def __init__(self, world, rng):
        self.world, self.rng, self.names = world, rng, []
        self.parks = rng.choice([0.5, 0.9])  # how many stay for others to share

    def parent(self):
        """(id, fields that come with it) of someone who can be shared, or of nobody."""
        held = [slot.request for slot in self.world.scheduler.slots if slot.state is not State.FREE]
        if not held or self.rng.random() < 0.5:
            return NONE, [], self.rng.randrange(2)
        kin = self.rng.choice(held)
        return kin.id, self.world.told[kin.id].words + self.world.told[kin.id].got, kin.tenant

    def ask(self):
        rng, world, name = self.rng, self.world, len(self.names) + 1
        parent, whole, tenant = self.parent()
        shared = rng.randint(0, min(len(whole), 90))
        prompt = whole[:shared] + [rng.randrange(VOCAB) for _ in range(rng.choice([1, 5, rng.randint(1, 100), 90]))]
        if rng.random() < 0.03:
            prompt[-1] = VOCAB + rng.randrange(5)
        stops = [rng.randrange(VOCAB)] * rng.getrandbits(1)
        told = world.request(name, prompt, limit=rng.randint(1, 60), seed=(seed := rng.getrandbits(64)), tenant=tenant,
                             priority=rng.choice([0, 0, 5]), parent=parent, shared=shared, stops=stops,
                             flags=Flag.PARK * (rng.random() < self.parks), **self.sampling(seed))
        self.names.append(name)
        if rng.random() < 0.03:
            world.buffers.broken.add(told.request.tokens + 4 * rng.randrange(len(prompt)))
        if stops and rng.random() < 0.05:
            world.buffers.broken.add(told.request.stops)

    def sampling(self, seed):
        """The fields that the schedule hands on, and does not look at."""
        bus = self.world.config.bus_bytes
        return {"temperature": seed & 0x7FFFFFFF, "logits": (seed & 1) * ((1 << 36) + (seed >> 8 & 0xFFFF) * bus),
                "logits_stride": (seed >> 24 & 0xFFF) * bus}

    def err(self):
        """Something that cannot be served, like a request that was."""
        rng, world = self.rng, self.world
        fields = dict(vars(rng.choice(list(world.told.values())).request)) | {"id": 5000}
        name = rng.choice(self.names)
        fields |= rng.choice([{"id": NONE}, {"id": name}, {"prompt": 0}, {"kind": 7}, {"parent": 4999},
                              {"tenant": 9, "parent": name}, {"stop_count": 999, "id": NONE}])
        kin = family(world.scheduler.slots, SimpleNamespace(**fields))
        if fields["id"] == 5000:
            wrong = Judge.model(world.config, world.setup, fields) or fields["parent"] != NONE and not kin
        else:
            wrong = fields["id"] == NONE or self.held(name)
        if wrong:
            world.scheduler.submit(fields)
            world.listen()

    def held(self, name):
        return any(slot.state is not State.FREE and slot.request.id == name for slot in self.world.scheduler.slots)

    def turn(self, most):
        rng, world = self.rng, self.world
        for _ in range(rng.choice([0, 0, 1, 2, 5])):
            busy = sum(slot.state in (State.WAITING, State.RUNNING) for slot in world.scheduler.slots)
            if len(self.names) < most and busy < world.config.slots:
                self.ask()
            elif self.names and busy == world.config.slots and rng.random() < 0.3:
                fields = vars(rng.choice(list(world.told.values())).request) | {"id": 5000, "parent": NONE, "shared": 0}
                world.scheduler.submit(fields)  # FULL
                world.listen()
        if self.names and rng.random() < 0.1:
            self.err()
        if self.names and rng.random() < 0.05:
            world.cancel(rng.choice(self.names))


def recorded(config, seed, requests, pages=(8, 8, 12, 40), grain=4, spans=None):
    """A world whose scheduler was recorded, often with a quarter of the pages that it would like."""
    rng = random.Random(seed)
    running = rng.choice([min(config.seats, config.slots), config.slots])
    world = World(config, rng.choice(pages), running=running, spans=spans, kind=Recorder)
    world.buffers.grain = grain
    host = Host(world, rng)
    while len(host.names) < requests or world.open:
        host.turn(requests)
        world.step()
    return world


class System:
    """The planner, a KV controller in numbers, and who gives and takes the rest."""

    def __init__(self, dut, config, seed, stalls):
        self.dut, self.config = dut, config
        self.tb = tb = harness.Bench(dut, seed)
        self.request, self.verdict = tb.source("request", stalls), tb.source("verdict", stalls)
        self.sampled = tb.source("sampled", stalls)
        self.runs, self.news = tb.sink("run", stalls), tb.sink("news", stalls)
        self.commands, self.answers = tb.sink("command", stalls), tb.source("answer", stalls)
        self.gaps = []  # (runs, cycles between passes) where all that run decode
        tb.each_cycle(self._controller)

    async def start(self, setup):
        self.kv, self.done = KvModel(self.config, setup.kv_pages), 0
        self.dut.running.value, self.dut.free.value = setup.running, setup.kv_pages
        self.dut.span.value = harness.pack(data.ArrayLayout(POSITION_BITS, self.config.cache_groups), setup.spans)
        await self.tb.reset()

    def _controller(self):
        self.done = min(self.done, len(self.commands.received))
        for packed in self.commands.received[self.done:]:
            self.done += 1
            it = SimpleNamespace(**harness.unpack(command_layout(self.config), packed))
            kv, op, pages = self.kv, Op(it.op), 0
            if op is Op.OPEN:
                ok = kv.open(it.slot, it.tenant)
            elif op is Op.FORK:
                ok = kv.fork(it.slot, it.parent, it.amount)
            elif op is Op.RESERVE:
                pages = kv.missing(it.slot, it.amount)
                ok = kv.reserve(it.slot, it.amount)
            elif op is Op.COMMIT:
                ok = kv.commit(it.slot, it.amount)
            elif op is Op.LEAVE:
                ok = kv.leave(it.slot, it.group, it.amount)
                assert kv.moved, "a window that gives nothing back"
            else:
                ok = kv.release(it.slot)
            self.dut.free.value = kv.free
            self.answers.send([harness.pack(answer_layout(self.config), {"ok": int(bool(ok is None or ok)),
                                                                         "pages": pages})])


async def plays(dut, seed, stalls, schedules, requests):
    """Each schedule of the model, played to the RTL: runs, completions and pages are the same after every step."""
    config = chip(**SIZES[harness.parameters()])
    system = System(dut, config, seed, stalls)
    events = Counter()
    for number in range(schedules):
        world = recorded(config, 100 * seed + number, requests, spans=SPANS.get(harness.parameters()))
        setup, steps = world.setup, world.scheduler.steps
        await system.start(setup)
        seen = began = 0
        for step in steps:
            for fields in step.requests:
                request = SimpleNamespace(**fields)
                full = hasattr(request, "prompt")
                error = Judge.model(config, setup, fields) if full else None
                most = most_positions(request) if full else 0
                system.request.send([harness.pack(judged_layout(), judged(fields, error, most, int(
                    full and min(request.prompt + request.limit, request.room) <= request.context + 1)))])
            dut.more.value = 1
            while not system.request.idle:
                await RisingEdge(dut.clk)
            dut.more.value = 0
            for slot, first, count, error in step.runs:
                got = harness.unpack(planned_layout(config), await next_run(system, seen))
                seen += 1
                assert (got["slot"], got["first"], got["count"]) == (slot, first, count), (number, step)
                system.verdict.send([error])
            if step.plan is None:
                await system.tb.wait(100)
                assert len(system.runs.received) == seen
                continue
            while not harness.peek(dut.begin):
                await RisingEdge(dut.clk)
            if not step.requests and all(count == 1 and not error for *_, count, error in step.runs):
                system.gaps.append((len(step.runs), system.tb.cycle - began))
            await system.tb.wait(system.tb.rng.randrange(1, 5))
            dut.done.value = 1
            await RisingEdge(dut.clk)
            dut.done.value = 0
            began = system.tb.cycle
            for token, stop, failed in step.sampled:
                system.sampled.send([harness.pack(sampled_layout(), {"token": token, "stop": stop, "failed": failed})])
        await system.tb.wait(200)
        assert system.kv.free == world.kv.free
        expected = [{name: done[name] for name in ("id", "event", "code", "slot", "token", "position")}
                    for done in world.scheduler.heard]
        events.update((each["event"], each["code"]) for each in expected)
        got = [harness.unpack(news_layout(), packed) for packed in system.news.received]
        assert got == [{name: int(value) for name, value in each.items()} for each in expected]


    return events, system.gaps


async def next_run(system, seen):
    while len(system.runs.received) <= seen:
        await RisingEdge(system.dut.clk)
    return system.runs.received[seen]


@cocotb.test()
async def random_stalls(dut):
    await plays(dut, 1, 0.3, 2, 10)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls: between two passes of n runs that decode, and need no page, 22 + 14 n cycles."""
    events, gaps = await plays(dut, 2, 0.0, 6, 12)
    kinds = {event for event, _ in events}
    assert kinds >= {Event.TOKEN, Event.FINISHED, Event.EVICTED, Event.ERROR}
    assert Event.PREEMPTED in kinds or not harness.parameters().startswith("4")
    assert min(cycles - 14 * runs for runs, cycles in gaps) <= 22


@pytest.mark.parametrize("config", list(SIZES))
def test_planner(sim, config):
    harness.run(Planner(chip(**SIZES[config])), __name__, sim=sim, parameters=config)
