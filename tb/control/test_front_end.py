"""The front end: random programs against its model, waits for KV appends, illegal instructions and page faults."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import encoded, random_instruction, random_state
from scoville.attention.pages import page_address_layout, page_request_layout
from scoville.config import get_config
from scoville.control.front_end import FrontEnd, PassState
from scoville.control.instruction_fetch import instruction_layout
from scoville.isa import FIELDS, INSTRUCTION_BYTES, Dest, LoadDest, Mode, Opcode, ScaleFormat
from scoville.memory.reader import request_layout

DEST = FIELDS[Opcode.LINEAR]["dest"][0]
BODY = [opcode for opcode in Opcode if opcode is not Opcode.END]


class System:
    """The front end between an instruction source, a page walker and a KV store that takes its time."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.stalls = dut, stalls
        self.config = get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.source = tb.source("i", stalls)
        self.forwarded, self.descriptors = tb.sink("o", stalls), tb.sink("descriptor", stalls)
        self.lookups, self.found = tb.sink("lookup", stalls), tb.source("found", stalls)
        self.entries = {}
        self.fault_rate = 0.0
        self.appends = 0  # LINEARs to the cache that the KV store has not done yet
        self.waited = 0

    async def start(self):
        await self.tb.reset()
        self.generation = getattr(self, "generation", 0) + 1
        self.entries, self.appends = {}, 0
        self.dut.kv_taken.value = self.dut.kv_busy.value = 0
        for task in (self._walk(), self._store(), self._watch()):
            cocotb.start_soon(self._while_current(task, self.generation))

    async def _while_current(self, generator, generation):
        for_ever = generator.__aiter__()
        while self.generation == generation:
            await for_ever.__anext__()

    def entry(self, row, page):
        """Where a page is: made up at the first look."""
        if (row, page) not in self.entries:
            address = self.rng.getrandbits(self.config.addr_bits - 1) // self.config.bus_bytes * self.config.bus_bytes
            self.entries[row, page] = (address, int(self.rng.random() < self.fault_rate))
        return self.entries[row, page]

    async def _walk(self):
        served = 0
        while True:
            await RisingEdge(self.dut.clk)
            for packed in self.lookups.received[served:]:
                served += 1
                request = harness.unpack(page_request_layout(self.config), packed)
                address, fault = self.entry(request["row"], request["page"])
                self.found.send([harness.pack(page_address_layout(self.config), {"address": address, "fault": fault})])
            yield

    async def _store(self):
        """Takes the command of each append a while after the front end passed it on, and is busy for a while."""
        seen = due = busy = 0  # forwarded words looked at, commands not taken yet, cycles left of the current one
        while True:
            await RisingEdge(self.dut.clk)
            self.dut.kv_taken.value = 0
            for word in self.forwarded.received[seen:]:
                seen += 1
                if word & 15 == Opcode.LINEAR and word >> DEST & 7 in (Dest.KEY, Dest.VALUE):
                    due += 1
                    self.appends += 1
            if busy:
                busy -= 1
                if not busy:
                    self.dut.kv_busy.value = 0
                    self.appends -= 1
            elif due and self.rng.random() < 0.1:
                due -= 1
                busy = self.rng.randrange(2, 20)
                self.dut.kv_taken.value = self.dut.kv_busy.value = 1
            yield

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            if int(self.dut.lookup__valid.value):
                assert not self.appends, "KV pages are looked up while appends are under way"
            self.waited += int(self.dut.waiting_kv.value)
            yield

    async def run(self, program, state):
        """One pass; compares everything with the model and returns how it stopped."""
        dut, config = self.dut, self.config
        program = [(word, self.rng.getrandbits(35) * INSTRUCTION_BYTES) for word in program]
        forwarded, descriptors, lookups, stop = FrontEnd.model(config, program, state, self.entry)
        marks = [len(sink.received) for sink in (self.forwarded, self.descriptors, self.lookups)]
        self.source.send(harness.pack(instruction_layout(config), {"word": w, "address": a}) for w, a in program)
        dut.state.value = harness.pack(PassState(config), state)
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        ended, quiet = 0, 0
        while quiet < 300 and not ended:
            await RisingEdge(dut.clk)
            ended += int(dut.end.value)
            quiet = 0 if self.busy() else quiet + 1
        await self.tb.wait(3)
        got_forwarded, got_descriptors, got_lookups = (
            sink.received[mark:] for sink, mark in
            zip((self.forwarded, self.descriptors, self.lookups), marks, strict=True))
        assert got_forwarded == forwarded
        assert [tuple(harness.unpack(request_layout(config), d).values()) for d in got_descriptors] == descriptors
        assert [tuple(harness.unpack(page_request_layout(config), d).values()) for d in got_lookups] == lookups
        assert ended == (stop[0] == "end")
        assert int(dut.illegal.value) == (stop[0] == "illegal") and int(dut.fault.value) == (stop[0] == "fault")
        if stop[0] != "end":
            assert int(dut.fault_address.value) == stop[1]
        return stop[0]

    def busy(self):
        """Something goes on, or is about to."""
        return (self.appends or not self.found.idle or any(int(handle.value) for handle in (
            self.dut.o__valid, self.dut.descriptor__valid, self.dut.lookup__valid))
            or (int(self.dut.i__valid.value) and int(self.dut.i__ready.value)))

    def program(self, opcodes):
        make = random_instruction
        return [encoded(opcode, make(self.config, self.rng, opcode)) for opcode in [*opcodes, Opcode.END]]


async def random_programs(dut, seed, stalls, count):
    system = System(dut, seed, stalls)
    await system.start()
    for _ in range(count):
        program = system.program(system.rng.choices(BODY, weights=(2, 2, 2, 6, 1), k=system.rng.randrange(8)))
        assert await system.run(program, random_state(system.config, system.rng)) == "end"
    return system


@cocotb.test()
async def random_stalls(dut):
    await random_programs(dut, 1, 0.3, 40)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls, and the cycles that an instruction takes."""
    system = await random_programs(dut, 2, 0.0, 30)
    mark = len(system.forwarded.cycles)
    load = random_instruction(system.config, system.rng, Opcode.LOAD, only_last=0)
    program = [encoded(Opcode.LOAD, load)] * 10 + system.program([])
    assert await system.run(program, random_state(system.config, system.rng)) == "end"
    cycles = system.forwarded.cycles[mark:]
    assert cycles[-1] - cycles[0] == 4 * 10


@cocotb.test()
async def attention(dut):
    """Appends, then ATTEND, with every number of pages up to 4, GQA ratio, and chunk size."""
    system = System(dut, 3, 0.2)
    config, rng = system.config, system.rng
    await system.start()
    for pages in range(1, 5):
        for group in (1, 3, 4):
            tokens = rng.randint(1, config.seats)
            position = max(0, 32 * pages - tokens - rng.randrange(8))
            state = {"tokens": tokens, "position": position, "last": 1, "ids": [0] * tokens}
            program = [encoded(Opcode.LINEAR, random_instruction(config, rng, Opcode.LINEAR, dest=dest, norm=0))
                       for dest in (Dest.KEY, Dest.VALUE, Dest.QUERY)]
            program.append(encoded(Opcode.ATTEND, random_instruction(config, rng, Opcode.ATTEND, group=group)))
            assert await system.run(program + system.program([]), state) == "end"
    assert system.waited > 100


def illegal_fields(config):
    """(opcode, fields) that make a legal instruction illegal."""
    yield Opcode.END, {"only_last": 1}
    for opcode in (Opcode.LOAD, Opcode.ROPE, Opcode.EMBED):
        yield opcode, {"bytes": 0}
        yield opcode, {"bytes": config.bus_bytes - 1}
    yield Opcode.LOAD, {"load_dest": len(LoadDest)}
    for rows in (0, 33, config.max_hidden + 32):
        yield Opcode.EMBED, {"rows": rows}
    yield Opcode.EMBED, {"rows": 64, "dst": config.operand_blocks - 1}
    for fields in ({"tiles": 0}, {"kblocks": 0}, {"beats": 0}, {"scale_format": len(ScaleFormat)},
                   {"kblocks": 2, "src": config.operand_blocks - 1}, {"mode": len(Mode)}, {"dest": Dest.NONE},
                   {"dest": len(Dest)}, {"dest": 7}, {"bias": 1, "tiles": config.max_rows // 32 + 1},
                   {"residual": 1, "tiles": config.max_hidden // 32 + 1},
                   {"dest": Dest.OPERAND, "norm": 1, "tiles": config.max_hidden // 32 + 1},
                   {"dest": Dest.QUERY, "group": 0}, {"dest": Dest.LOGITS, "limit": 0},
                   {"dest": Dest.LOGITS, "tiles": 2, "limit": 65}):
        yield Opcode.LINEAR, fields
    for head_blocks in (0, config.max_head_blocks + 1):
        for fields in ({"dest": Dest.QUERY}, {"dest": Dest.KEY}, {"dest": Dest.VALUE}, {"mode": Mode.ROPE}):
            yield Opcode.LINEAR, fields | {"head_blocks": head_blocks}
        yield Opcode.ATTEND, {"head_blocks": head_blocks}
    yield Opcode.ATTEND, {"kv_heads": 0}
    yield Opcode.ATTEND, {"group": 0}


@cocotb.test()
async def illegal(dut):
    """Every field that is checked, and every opcode there is not; limits themselves are legal."""
    system = System(dut, 4, 0.0)
    config, rng = system.config, system.rng
    cases = [encoded(opcode, random_instruction(config, rng, opcode, **({"dest": Dest.OPERAND, "norm": 0}
                                                                        if opcode is Opcode.LINEAR else {}) | fields))
             for opcode, fields in illegal_fields(config)]
    cases += [rng.getrandbits(252) << 4 | opcode for opcode in range(len(Opcode), 16)]
    for word in cases:
        await system.start()
        before = system.program([Opcode.LOAD])[:1]
        assert await system.run([*before, word], random_state(config, rng)) == "illegal"
    await system.start()
    limits = [(Opcode.LOAD, {"bytes": config.bus_bytes}), (Opcode.EMBED, {"rows": config.max_hidden, "dst": 0}),
              (Opcode.LINEAR, {"kblocks": config.operand_blocks, "src": 0, "head_blocks": config.max_head_blocks}),
              (Opcode.LINEAR, {"dest": Dest.OPERAND, "bias": 1, "residual": 0, "norm": 0,
                               "tiles": config.max_rows // 32}),
              (Opcode.LINEAR, {"dest": Dest.OPERAND, "bias": 0, "residual": 1, "norm": 1,
                               "tiles": config.max_hidden // 32}),
              (Opcode.LINEAR, {"dest": Dest.LOGITS, "tiles": 3, "limit": 96})]
    program = [encoded(opcode, random_instruction(config, rng, opcode, **fields)) for opcode, fields in limits]
    assert await system.run(program + system.program([]), random_state(config, rng)) == "end"


@cocotb.test()
async def page_faults(dut):
    system = System(dut, 5, 0.2)
    system.fault_rate = 0.1
    stops = []
    for _ in range(25):
        await system.start()
        stops.append(await system.run(system.program([Opcode.LOAD, Opcode.ATTEND]),
                                      random_state(system.config, system.rng)))
    assert {"end", "fault"} <= set(stops)


@pytest.mark.parametrize("config", ["slim", "nano", "duo", "kria"])
def test_front_end(sim, config):
    harness.run(FrontEnd(get_config(config)), __name__, sim=sim, parameters=config)
