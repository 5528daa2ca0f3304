"""ATTEND: its commands for every GQA ratio, chunk and number of pages, and the operand map."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction
from scoville.array.array import array_task
from scoville.array.operand import credit_bits
from scoville.config import VALUES_BEHIND, get_config
from scoville.epilogue.router import QuantDest
from scoville.epilogue.router import model as route
from scoville.isa import POSITION_BITS, Opcode
from scoville.issue.attend import COMMANDS, AttendIssuer
from scoville.issue.commands import layouts
from scoville.schedule.seats import PassState, of_run

GROUPS = (1, 3, 4)


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
        self.config = get_config(harness.parameters())
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
    """Every GQA ratio and number of tokens, on one to four pages."""
    system = System(dut, seed, stalls)
    config, rng = system.config, system.rng
    await system.start()
    for group in GROUPS:
        for tokens in range(1, config.seats + 1):
            pages = rng.randint(1, 4)
            position = rng.choice([max(0, 32 * pages - tokens), 32 * (pages - 1), rng.randrange(100)])
            state = of_run([0] * tokens, position)
            await system.run(state, group=group, kv_heads=rng.randint(1, 2))
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
        state = of_run([0] * system.config.seats, position)
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
        state = of_run([0] * config.seats, position)
        fields = random_instruction(config, rng, Opcode.ATTEND, kv_heads=kv_heads, group=group, head_blocks=1, src=0)
        dut.state.value = harness.pack(PassState(config), state)
        dut.guard.value = 0
        await system.begin(fields)
        await system.tb.wait(100)  # no softmax unit answers, so that the walk stops in front of the first values
        # The same begins with these, whatever is to come.
        near = of_run([0] * config.seats, min(position, 640 + position % 32))
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
    state = of_run([0], 32 * 25 + 7)
    await system.run(state, group=1, kv_heads=1, src=5, dst=9, head_blocks=1)


@pytest.mark.parametrize("config", ["slim", "nano", "duo", "kria"])
def test_attend(sim, config):
    harness.run(AttendIssuer(get_config(config)), __name__, sim=sim, parameters=config)


@pytest.mark.parametrize("config", ["slim", "nano", "duo", "kria"])
@pytest.mark.parametrize("group", GROUPS)
def test_operand_map(config, group):
    """Each lane reads the query blocks that the router wrote for it; each head's output goes to its token's bank."""
    config = get_config(config)
    kv_heads, blocks, src, dst = 2, 2, 3, 40
    for tokens in range(1, config.seats + 1):
        fields = {"head_blocks": blocks, "group": group, "kv_heads": kv_heads, "src": src, "dst": dst,
                  "softmax_scale": 0}
        state = of_run([0] * tokens, 0)
        commands = AttendIssuer.model(config, fields, state, iter(lambda: [0] * config.seats, None))
        query = {"dest": QuantDest.QUERY, "dst": src, "head_blocks": blocks, "group": group}
        written = {}  # (bank, address) -> (token, head, block)
        for token in range(tokens):
            for index in range(kv_heads * group * blocks):
                _, bank, address = route(config, query, token, index)
                assert (bank, address) not in written
                written[bank, address] = (token, *divmod(index, blocks))
        outputs = set()
        scores = [task for task in commands["task"] if task["tag"]]
        finals = [c for c in commands["quantiser"] if c["info"]["dest"] == QuantDest.ATTENTION.value]
        for task, command in zip(scores, finals, strict=True):
            for seat in range(config.seats):
                if not command["mask"] >> seat & 1:
                    continue
                token, head = command["info"]["seat_token"][seat], command["info"]["seat_head"][seat]
                for block in range(blocks):
                    assert written[seat, task["address"] + block] == (token, head, block)
                    kind, bank, address = route(config, command["info"], seat, block)
                    assert (kind, bank, address) == ("operand", token, dst + head * blocks + block)
                    outputs.add((bank, address))
        assert len(outputs) == len(written)
