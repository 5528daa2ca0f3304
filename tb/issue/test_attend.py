"""ATTEND: its commands for every GQA ratio, chunk and number of pages, and the operand map."""

import random

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction, random_runs, with_slots
from scoville.array.array import array_task
from scoville.array.operand import credit_bits
from scoville.config import VALUES_BEHIND
from scoville.epilogue.router import QuantDest
from scoville.epilogue.router import model as route
from scoville.isa import POSITION_BITS, Dest, Opcode
from scoville.issue.attend import COMMANDS, AttendIssuer
from scoville.issue.commands import layouts
from scoville.issue.linear import LinearIssuer
from scoville.program.plan_attend import AttendPlan
from scoville.program.spread import places
from scoville.schedule.seats import PassState, of_run, of_runs

GROUPS = (1, 3, 4)


def one_run(config, tokens, position):
    """A pass of tokens of one sequence."""
    return of_run([0] * tokens, position) if config.slots == 1 else of_runs([
        (position % config.slots, [0] * tokens, position, 0)])


def subset(got, wanted, mask):
    """Whether `got` has all fields of `wanted`; of what is given lane by lane, only the lanes of `mask` count."""
    for name, value in wanted.items():
        if isinstance(value, dict):
            if not subset(got[name], value, mask):
                return False
        elif isinstance(value, list):
            if any(mask >> lane & 1 and got[name][lane] != item for lane, item in enumerate(value)):
                return False
        elif got[name] != value:
            return False
    return True


class System:
    """The issuer between queues and a softmax unit that answers each page of scores some time later."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.stalls = dut, stalls
        self.config = with_slots(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.shift = tb.source("shift", stalls)
        self.layouts = {name: layouts(self.config)[name] for name in (*COMMANDS, "task")}
        self.sinks = {name: tb.sink(name, stalls) for name in self.layouts}
        self.shifts = []
        self.waited = 0

    async def start(self):
        await self.tb.reset()
        cocotb.start_soon(self._softmax())

    async def _softmax(self):
        """A page of scores gives a shift, and a while later its probability blocks; a page is used when it is there."""
        tasks = self.sinks["task"]
        seen = done = used = 0
        pending = []  # cycles in which pages will be done
        while True:
            await RisingEdge(self.dut.clk)
            self.waited += harness.peek(self.dut.waiting_softmax)
            for packed in tasks.received[seen:]:
                seen += 1
                task = harness.unpack(array_task(self.config), packed)
                if task["tag"]:
                    self.shifts.append([self.rng.randrange(256) for _ in range(self.config.seats)])
                    self.shift.send([harness.pack(array_task(self.config)["shift"].shape, self.shifts[-1])])
                    delay = self.rng.randrange(1, 60) if self.stalls else 40
                    pending.append(max([self.tb.cycle + delay, *(cycle + 1 for cycle in pending[-1:])]))
                else:
                    used += task["tile"] == 0
                    assert used <= done, "a page is used before its probability blocks are there"
            self.dut.probability_done.value = 0
            if pending and pending[0] <= self.tb.cycle:
                pending.pop(0)
                done += 1
                self.dut.probability_done.value = 1

    async def begin(self, fields):
        await RisingEdge(self.dut.clk)  # the pass stands before its instructions come
        self.dut.op.value = encoded(Opcode.ATTEND, fields)
        self.dut.start.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.start.value = 0

    async def run(self, state, **given):
        config, dut = self.config, self.dut
        fields = random_instruction(config, self.rng, Opcode.ATTEND, **given)
        dut.state.value = harness.pack(PassState(config), state)
        dut.need.value = need = self.rng.getrandbits(credit_bits(config))
        dut.guard.value = guard = self.rng.getrandbits(1)
        marks = {name: len(sink.received) for name, sink in self.sinks.items()}
        self.shifts.clear()
        await self.begin(fields)
        while not harness.peek(dut.over):
            await RisingEdge(dut.clk)
        assert harness.peek(dut.blocks) == fields["kv_heads"] * fields["group"] * fields["head_blocks"]
        await self.tb.wait(2)
        expected = AttendIssuer.model(config, fields, state, iter(self.shifts), need if guard else None)
        for name, sink in self.sinks.items():
            got = [harness.unpack(self.layouts[name], packed) for packed in sink.received[marks[name]:]]
            assert len(got) == len(expected[name]), name
            for index, (item, wanted) in enumerate(zip(got, expected[name], strict=True)):
                mask = wanted.get("mask", (1 << config.seats) - 1)
                assert subset(item, wanted, mask), f"{name} {index}: {item}, expected {wanted}"
        assert self.shift.idle


async def sweep(dut, seed, stalls):
    """Every GQA ratio and number of tokens, on one to four pages; of several runs, one or many tokens of each."""
    system = System(dut, seed, stalls)
    config, rng = system.config, system.rng
    await system.start()
    for group in GROUPS if config.slots == 1 else (*GROUPS, 5):
        for tokens in range(1, config.seats + 1):
            pages = rng.randint(1, 4)
            position = rng.choice([max(0, 32 * pages - tokens), 32 * (pages - 1), rng.randrange(100)])
            kv_heads = rng.randint(1, 2)
            if config.slots == 1 or rng.random() < 0.2:
                await system.run(one_run(config, tokens, position), group=group, kv_heads=kv_heads, **(
                    {} if config.slots == 1 else {"src": 0}))
            else:
                room = config.operand_blocks - kv_heads * places(config, group) * config.max_head_blocks
                await system.run(random_runs(config, rng, tokens, last_position=150), group=group, kv_heads=kv_heads,
                                 src=rng.randint(0, room))
    return system


@cocotb.test()
async def random_stalls(dut):
    await sweep(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    system = await sweep(dut, 2, 0.0)
    assert system.waited


@cocotb.test()
async def many_heads(dut):
    """As many KV heads, and query heads, as there can be."""
    system = System(dut, 4, 0.0)
    await system.start()
    most = min(255, system.config.operand_blocks - 4)
    for kv_heads, group, position in ((most, 1, 31), (2, most // 2, 40), (most // 7, 7, 5)):
        state = one_run(system.config, system.config.seats, position)
        kv_heads = min(kv_heads, most // places(system.config, group))
        await system.run(state, group=group, kv_heads=kv_heads, src=3, dst=1, head_blocks=1)


@cocotb.test()
async def far_positions(dut):
    """The first pages of contexts and heads too many to be walked here: nothing ends early; positions are exact."""
    system = System(dut, 5, 0.0)
    config, rng = system.config, system.rng
    cases = [(1 << bit, 1, 1) for bit in range(5, POSITION_BITS)]
    cases += [((1 << bit) + 64 - config.seats, 1, 1) for bit in range(7, POSITION_BITS)]
    cases += [(rng.randrange(200, 1 << POSITION_BITS), 1, 1) for _ in range(10)]
    cases += [(64, 1 << bit, 1) for bit in range(8)] + [(64, (1 << bit) + 1, 1) for bit in range(1, 8)]
    cases += [(position, 1, group) for position in (0, 200) for group in (8, 16, 32, 33, 64, 128, 255)]
    for position, kv_heads, group in cases:
        await system.tb.reset()
        position = min(position, (1 << POSITION_BITS) - config.seats)
        state = one_run(config, config.seats, position)
        fields = random_instruction(config, rng, Opcode.ATTEND, kv_heads=kv_heads, group=group, head_blocks=1, src=0)
        dut.state.value = harness.pack(PassState(config), state)
        dut.guard.value = 0
        await system.begin(fields)
        await system.tb.wait(100)  # no softmax unit answers, so that the walk stops in front of the first values
        # The same begins with these, whatever is to come.
        near = one_run(config, config.seats, min(position, 640 + position % 32))
        expected = AttendIssuer.model(config, fields, near, iter(lambda: [0] * config.seats, None))
        if near != state:
            expected["softmax"][0] |= {"pages": (position + config.seats - 1) // 32 + 1, "positions": [
                position + token for token in range(config.seats)]}
        for name, sink in system.sinks.items():
            got = [harness.unpack(system.layouts[name], packed) for packed in sink.received]
            assert len(got) <= len(expected[name]), name
            for item, wanted in zip(got, expected[name], strict=False):
                assert subset(item, wanted, wanted.get("mask", (1 << config.seats) - 1)), (name, item, wanted)
        units = kv_heads * -(-config.seats * group // config.seats) * ((position + config.seats - 1) // 32 + 1)
        assert len(system.sinks["task"].received) == min(units, VALUES_BEHIND + 1)


@cocotb.test()
async def many_pages(dut):
    """A long context: pages alternate between the two probability buffers."""
    system = System(dut, 3, 0.1)
    await system.start()
    await system.run(one_run(system.config, 1, 32 * 25 + 7), group=1, kv_heads=1, src=5, dst=9, head_blocks=1)


@pytest.mark.parametrize("config", ["slim", "nano", "duo", "kria"])
def test_attend(sim, config):
    harness.run(AttendIssuer(with_slots(config)), __name__, sim=sim, parameters=config)


@pytest.mark.parametrize("config", ["duo 4", "kria 16", "slim 2"])
def test_of_many(sim, config):
    harness.run(AttendIssuer(with_slots(config)), __name__, sim=sim, parameters=config)


def passes_of(config, seed):
    """Pass states: every number of tokens; of several slots, runs at random."""
    rng = random.Random(seed)
    for tokens in range(1, config.seats + 1):
        yield one_run(config, tokens, rng.randrange(200))
        for _ in range(10 if config.slots > 1 else 0):
            yield random_runs(config, rng, tokens)


@pytest.mark.parametrize("config", ["slim", "nano", "duo", "kria", "slim 2", "nano 2", "duo 4", "kria 16"])
@pytest.mark.parametrize("group", [*GROUPS, 5, 9])
def test_operand_map(config, group):
    """Each seat reads the query blocks that the router wrote for it, once, with pages of its own run as far as its own
    position; each head's output goes to its token's bank; the last of a KV head credits all."""
    config = with_slots(config)
    kv_heads, blocks, src, dst = 2, 2, 3, 40
    for state in passes_of(config, group):
        fields = {"head_blocks": blocks, "group": group, "kv_heads": kv_heads, "src": src, "dst": dst,
                  "softmax_scale": 0}
        query = linear_query(config, state, dst=src, head_blocks=blocks, group=group)
        commands = AttendIssuer.model(config, fields, state, iter(lambda: [0] * config.seats, None))
        written = {}  # (bank, address) -> (token, head, block)
        for token in range(state["tokens"]):
            for index in range(kv_heads * group * blocks):
                _, bank, address = route(config, query, token, index)
                assert (bank, address) not in written
                assert src <= address < src + kv_heads * places(config, group) * blocks
                written[bank, address] = (token, *divmod(index, blocks))
        read, outputs = set(), set()
        served = [step[:2] for step in AttendPlan.model(config, fields, state)[0] if step and step[2] == 0]
        scores = iter([task for task in commands["task"] if task["tag"]])
        finals = [c for c in commands["quantiser"] if c["info"]["dest"] == QuantDest.ATTENTION.value]
        for (kv_head, one), command, softmax in zip(served, finals, commands["softmax"], strict=True):
            tasks = [next(scores) for _ in range(one.pages)]
            assert len({task["address"] for task in tasks}) == 1 and softmax["mask"] == command["mask"]
            seats = [seat for seat in range(config.seats) if command["mask"] >> seat & 1]
            phases = sorted({seat // config.lanes for seat in seats})
            assert phases == list(range(command["first_phase"], command["last_phase"] + 1))
            for seat in seats:
                token, head = command["info"]["seat_token"][seat], command["info"]["seat_head"][seat]
                mine = state["seats"][token]
                assert head // group == kv_head and mine.get("slot", 0) == one.slot
                assert softmax["positions"][seat] == mine["position"] < 32 * softmax["pages"] == 32 * one.pages
                for block in range(blocks):
                    place = seat, tasks[0]["address"] + block
                    assert written[place] == (token, head, block) and place not in read
                    read.add(place)
                    kind, bank, address = route(config, command["info"], seat, block)
                    assert (kind, bank, address) == ("operand", token, dst + head * blocks + block)
                    outputs.add((bank, address))
        assert next(scores, None) is None and len(outputs) == len(read) == len(written)
        credits = [command["info"]["credit"] for command in finals]
        assert all(credit == (group * blocks if last else 0) for credit, last in zip(
            credits, [*(now[0] != then[0] for now, then in zip(served, served[1:], strict=False)), True], strict=True))


def linear_query(config, state, **given):
    """What a LINEAR to the attending seats tells the router."""
    fields = random_instruction(config, random.Random(1), Opcode.LINEAR, dest=Dest.QUERY, **given)
    return LinearIssuer.model(config, fields, state)["quantiser"][0]["info"]
