"""The issuers: the commands of random programs against its model, `wait`, and the end of a pass."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction, random_state
from scoville.array.array import array_task
from scoville.array.operand import credit_bits
from scoville.config import get_config
from scoville.isa import FIELDS, POSITION_BITS, Dest, Mode, Opcode
from scoville.issue.commands import layouts
from scoville.issue.issue import Issue
from scoville.issue.promises import Promises
from scoville.schedule.seats import PassState, of_run
from test_attend import subset

DEST = FIELDS[Opcode.LINEAR]["dest"][0]
BODY = [opcode for opcode in Opcode if opcode is not Opcode.END]


class System:
    """The issuers between queues, with a softmax unit that answers each page of scores, and a moody datapath."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.stalls = dut, stalls
        self.config = get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.source, self.shift = tb.source("i", stalls), tb.source("shift", stalls)
        self.layouts = layouts(self.config)
        self.sinks = {name: tb.sink(name, stalls) for name in self.layouts}
        self.shifts, self.dones, self.promises = [], 0, Promises.Model(self.config)
        self.softmax_waits = 0  # cycles

    async def start(self):
        await self.tb.reset()
        cocotb.start_soon(self._softmax())
        cocotb.start_soon(self._watch())

    async def _watch(self):
        """`opcode` and `dest` are those of the instruction that was taken last; only an ATTEND waits for softmax."""
        dut, word = self.dut, None
        while True:
            await RisingEdge(dut.clk)
            if harness.peek(dut.rst):
                word = None
                continue
            if word is not None:
                assert (harness.peek(dut.opcode), harness.peek(dut.dest)) == (word & 15, word >> DEST & 7)
            if harness.peek(dut.waiting_softmax):
                assert word is not None and word & 15 == Opcode.ATTEND
                self.softmax_waits += 1
            if harness.peek(dut.i__valid) and harness.peek(dut.i__ready):
                word = harness.peek(dut.i__payload)

    async def _softmax(self):
        tasks, seen, due = self.sinks["task"], 0, 0
        layout = array_task(self.config)
        while True:
            await RisingEdge(self.dut.clk)
            self.dones += harness.peek(self.dut.done)
            for packed in tasks.received[seen:]:
                seen += 1
                if harness.unpack(layout, packed)["tag"]:
                    self.shifts.append([self.rng.randrange(256) for _ in range(self.config.seats)])
                    self.shift.send([harness.pack(layout["shift"].shape, self.shifts[-1])])
                    due += 1
            pulse = due and self.rng.random() < (0.05 if self.stalls else 0.2)
            due -= int(pulse)
            self.dut.probability_done.value = int(pulse)
            if self.stalls:
                self.dut.quiet.value = int(self.rng.random() < 0.3)
                self.dut.settled.value = int(self.rng.random() < 0.3)

    def marks(self):
        return {name: len(sink.received) for name, sink in self.sinks.items()}

    def check(self, marks, program, state, *, whole=True):
        """What came since the marks is what the model says, or, if not the whole of it, as many tasks of it."""
        config = self.config
        expected = Issue.model(config, program, state, iter(self.shifts), promises=self.promises)
        for name, sink in self.sinks.items():
            got = [harness.unpack(self.layouts[name], packed) for packed in sink.received[marks[name]:]]
            if not whole and name == "task":
                del expected[name][len(got):]
            assert len(got) == len(expected[name]), (name, len(got), len(expected[name]))
            for index, (item, wanted) in enumerate(zip(got, expected[name], strict=True)):
                mask = wanted.get("mask", (1 << config.seats) - 1)
                assert subset(item, wanted, mask), f"{name} {index}: {item}, expected {wanted}"

    async def run(self, opcodes, state):
        """One pass of random instructions, up to its `done`."""
        await self.carry_out([encoded(opcode, random_instruction(self.config, self.rng, opcode)) for opcode in opcodes],
                             state)

    async def carry_out(self, program, state):
        """One pass of these words, up to its `done`."""
        dut, rng = self.dut, self.rng
        dut.state.value = harness.pack(PassState(self.config), state)
        self.shifts.clear()
        marks, dones = self.marks(), self.dones
        self.source.send([*program, encoded(Opcode.END, {"wait": rng.randrange(2)})])
        while self.dones == dones:
            await RisingEdge(dut.clk)
        await self.tb.wait(10)
        assert self.dones == dones + 1
        self.check(marks, program, state)


async def random_programs(dut, seed, stalls, count):
    system = System(dut, seed, stalls)
    dut.quiet.value = dut.settled.value = 1
    await system.start()
    for opcode in BODY:
        await system.run([opcode] * 2, random_state(system.config, system.rng))
    for _ in range(count):
        opcodes = system.rng.choices(BODY, weights=(2, 2, 2, 6, 1), k=system.rng.randrange(8))
        await system.run(opcodes, random_state(system.config, system.rng))
    assert system.softmax_waits or not stalls
    return system


@cocotb.test()
async def random_stalls(dut):
    await random_programs(dut, 1, 0.3, 15)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; a matrix's tasks come one a cycle."""
    system = await random_programs(dut, 2, 0.0, 15)
    fields = random_instruction(system.config, system.rng, Opcode.LINEAR, tiles=8, wait=0, residual=0, norm=0, bias=0)
    dut.state.value = harness.pack(PassState(system.config), {"tokens": 1})
    system.source.send([encoded(Opcode.LINEAR, fields)])
    await system.tb.wait(30)
    cycles = system.sinks["task"].cycles[-8:]
    assert cycles[-1] - cycles[0] == 7


@cocotb.test()
async def guards(dut):
    """What reads the last results is not held: its tasks are guarded, whatever the datapath does."""
    system = System(dut, 4, 0.0)
    config, rng = system.config, system.rng
    await system.start()
    dut.quiet.value = 0
    state = of_run([0], 40)
    dut.state.value = harness.pack(PassState(config), state)

    def word(opcode, **given):
        return encoded(opcode, random_instruction(config, rng, opcode, only_last=0, **given))

    def linear(**given):
        return word(Opcode.LINEAR, mode=Mode.PLAIN, bias=0, **given)

    program = [
        linear(wait=0, dest=Dest.OPERAND, dst=8, tiles=6, residual=0, norm=0),
        linear(wait=1, src=8, kblocks=6, dest=Dest.KEY, norm=0, residual=0, head_blocks=1),
        linear(wait=1, src=8, kblocks=3, dest=Dest.QUERY, dst=20, tiles=6, residual=0, norm=0, group=3, head_blocks=1),
        word(Opcode.ATTEND, wait=1, src=20, dst=2, kv_heads=2, group=3, head_blocks=1),
        linear(wait=1, src=2, kblocks=6, dest=Dest.OPERAND, dst=9, residual=0, norm=0),
    ]
    marks = system.marks()
    system.source.send(program)
    await system.source.drain()
    await system.tb.wait(100)
    system.check(marks, program, state)
    tasks = [harness.unpack(array_task(config), packed) for packed in system.sinks["task"].received[marks["task"]:]]
    assert {task["need"] for task in tasks if task["guard"]} == {0, 6 + 2, 6 + 5, 12}
    rest = config.operand_blocks - 9
    system.source.send([linear(wait=1, src=9, kblocks=rest, dest=Dest.OPERAND, residual=0, norm=0)])
    await system.tb.wait(60)
    assert harness.peek(dut.waiting)  # it reads more than was promised


@cocotb.test()
async def chains(dut):
    """Each instruction reads what the one before it writes, or almost; promises go round several times."""
    system = System(dut, 7, 0.2)
    config, rng = system.config, system.rng
    await system.start()
    guarded = set()
    for _ in range(5):
        mark, program, dst, blocks = len(system.sinks["task"].received), [], 0, 1
        for opcode in rng.choices((Opcode.LINEAR, Opcode.EMBED, Opcode.ATTEND), (8, 1, 1), k=14):
            given = {"only_last": 0, "wait": int(rng.random() < 0.7)}
            if opcode is Opcode.LINEAR:
                given |= {"kblocks": rng.randint(1, blocks + (rng.random() < 0.1)), "norm": 0, "residual": 0,
                          "mode": Mode.PLAIN, "dest": Dest.OPERAND if rng.random() < 0.9 else Dest.KEY}
                given["tiles"] = rng.randint(1, config.operand_blocks if given["dest"] == Dest.OPERAND else 8)
            if opcode is not Opcode.EMBED:
                given["src"] = dst if rng.random() < 0.9 else rng.randrange(config.operand_blocks)
                given["dst"] = rng.randrange(config.operand_blocks - 2)
            if opcode is Opcode.ATTEND:
                given |= {"kv_heads": 1, "group": 1, "head_blocks": 1, "src": 2}
            fields = random_instruction(config, rng, opcode, **given)
            program.append(encoded(opcode, fields))
            if given.get("dest") != Dest.KEY:
                dst, blocks = fields["dst"], given.get("tiles", 1)
        await system.carry_out(program, of_run([0], rng.randrange(40)))
        guarded |= {task["need"] for packed in system.sinks["task"].received[mark:] if (
            task := harness.unpack(array_task(config), packed))["guard"]}
    assert all({need >> bit & 1 for need in guarded} == {0, 1} for bit in range(credit_bits(config)))


@cocotb.test()
async def wide_fields(dut):
    """Fields and positions of all widths; of matrices too large to be run here, the first tiles."""
    system = System(dut, 5, 0.0)
    config, rng = system.config, system.rng
    await system.start()
    dut.quiet.value = 1
    tiles_bits = FIELDS[Opcode.LINEAR]["tiles"][1] - 1  # fewer than 2^24 rows

    def anything(bits):
        return rng.choice([1 << rng.randrange(bits), rng.randrange(1, 1 << bits), (1 << bits) - 1])

    for turn in range(160):
        await system.tb.reset()
        system.promises = Promises.Model(config)
        opcode, given = rng.choice([Opcode.LOAD, Opcode.ROPE, Opcode.EMBED, *3 * [Opcode.LINEAR]]), {}
        if opcode is Opcode.LINEAR:
            dest = rng.choice([dest for dest in Dest if dest is not Dest.NONE])
            most = {Dest.LOGITS: tiles_bits, Dest.KEY: 8, Dest.VALUE: 8}.get(dest, 0)
            given = {"dest": dest, "tiles": anything(most) if most else rng.randrange(1, config.operand_blocks + 1)}
        else:
            given = {"bytes": config.bus_bytes * anything(24) & (1 << 24) - config.bus_bytes or config.bus_bytes}
        state = of_run([0] * rng.randint(1, config.seats),
                       min(anything(POSITION_BITS), (1 << POSITION_BITS) - config.seats), last=rng.getrandbits(1))
        dut.state.value = harness.pack(PassState(config), state)
        word = encoded(opcode, random_instruction(config, rng, opcode, wait=turn % 2, **given))
        system.source.send([word])
        await system.tb.wait(40)
        system.check(dict.fromkeys(system.sinks, 0), [word], state, whole=False)
        assert opcode is not Opcode.LINEAR or len(system.sinks["task"].received) >= min(given["tiles"], 20)


@cocotb.test()
async def one_bit_off(dut):
    """Results are waited for where they begin, and as many as there are; else the whole datapath is."""
    system = System(dut, 6, 0.0)
    config, rng = system.config, system.rng
    await system.start()
    state = of_run([0], 40)
    outcomes = set()
    for _ in range(150):
        await system.tb.reset()
        system.promises = Promises.Model(config)
        dut.state.value = harness.pack(PassState(config), state)
        dut.quiet.value = 0

        def linear(**given):
            return encoded(Opcode.LINEAR, random_instruction(config, rng, Opcode.LINEAR, mode=Mode.PLAIN, bias=0,
                                                             norm=0, residual=0, **given))

        results = [(rng.randrange(config.operand_blocks), rng.randrange(1, 12)) for _ in range(rng.randrange(1, 4))]
        program = [linear(wait=0, dest=Dest.OPERAND, dst=dst, tiles=tiles) for dst, tiles in results]
        src, kblocks = results[-1]
        if rng.random() < 0.5:
            src ^= 1 << rng.randrange(12)
        if rng.random() < 0.5:
            kblocks = rng.choice([1, kblocks + 1, kblocks + (1 << rng.randrange(4, 11))])
        program.append(linear(wait=1, src=src, kblocks=kblocks, dest=rng.choice([Dest.KEY, Dest.OPERAND]), tiles=2))
        system.source.send(program)
        await system.tb.wait(100)
        goes = (src, kblocks) == (results[-1][0], min(kblocks, results[-1][1]))
        outcomes.add(goes)
        assert harness.peek(dut.waiting) == (not goes)
        system.check(dict.fromkeys(system.sinks, 0), program if goes else program[:-1], state)
    assert outcomes == {False, True}


@cocotb.test()
async def waits(dut):
    """`wait` holds an instruction until the datapath is quiet; END also waits until everything is settled."""
    system = System(dut, 3, 0.0)
    config, rng, tb = system.config, system.rng, system.tb
    await system.start()
    dut.state.value = harness.pack(PassState(config), {"tokens": 1})
    for opcode in BODY:
        mark = system.marks()

        def commands(mark=mark):
            return sum(len(sink.received) - mark[name] for name, sink in system.sinks.items())

        fields = random_instruction(config, rng, opcode, wait=1)
        dut.quiet.value = 0
        system.source.send([encoded(opcode, fields)])
        await tb.wait(60)
        assert not commands() and harness.peek(dut.waiting)
        dut.quiet.value = 1
        await tb.wait(60)
        assert commands()
        while not harness.peek(dut.i__ready):
            await tb.wait(1)
        assert not harness.peek(dut.waiting)
    for quiet, settled in ((0, 0), (1, 0), (0, 1)):
        dones = system.dones
        dut.quiet.value, dut.settled.value = quiet, settled
        system.source.send([encoded(Opcode.END, {})])
        await tb.wait(30)
        assert system.dones == dones and harness.peek(dut.waiting)
        dut.quiet.value = dut.settled.value = 1
        await tb.wait(10)
        assert system.dones == dones + 1


@pytest.mark.parametrize("config", ["slim", "nano", "duo", "kria"])
def test_issue(sim, config):
    harness.run(Issue(get_config(config)), __name__, sim=sim, parameters=config)
