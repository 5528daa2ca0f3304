"""The front end: random programs against its model, waits for KV appends, refused instructions and page faults."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from programs import LegalProgram, largest_page, random_state
from scoville.config import get_config
from scoville.control.front_end import FrontEnd
from scoville.control.instruction_fetch import instruction_layout
from scoville.isa import FIELDS, INSTRUCTION_BYTES, PAGE_SIZE_BITS, POSITION_BITS, Dest, LoadDest, Opcode
from scoville.kv.address import page_address_layout, page_request_layout
from scoville.memory.reader import request_layout
from scoville.registers import Status
from scoville.schedule.seats import PassState, of_run

DEST = FIELDS[Opcode.LINEAR]["dest"][0]
BODY = (Opcode.LOAD, Opcode.ROPE, Opcode.EMBED, Opcode.LINEAR, None)  # None: a layer's attention


class System:
    """The front end between an instruction source, an address of pages and a KV store that takes its time."""

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
        self.takes = 0.1  # chance a cycle that the KV store takes a command
        self.others = []  # what pages and store do at an edge
        tb.each_cycle(self._cycle)

    async def start(self):
        await self.tb.reset()
        self.entries, self.appends = {}, 0
        self.dut.kv_taken.value = self.dut.kv_busy.value = 0
        self.dut.page_bytes.value = largest_page(self.config)
        self.others = [self._pages(), self._store()]

    def _cycle(self):
        for other in self.others:
            next(other)
        self._watch()

    def entry(self, *place):
        """Where a page is: made up at the first look."""
        if place not in self.entries:
            address = self.rng.randrange((1 << self.config.addr_bits) - (1 << PAGE_SIZE_BITS)) & -self.config.bus_bytes
            self.entries[place] = (address, int(self.rng.random() < self.fault_rate))
        return self.entries[place]

    def _pages(self):
        served = 0
        while True:
            for packed in self.lookups.received[served:]:
                served += 1
                request = harness.unpack(page_request_layout(self.config), packed)
                address, fault = self.entry(request["slot"], request["cache"], request["page"])
                self.found.send([harness.pack(page_address_layout(self.config), {"address": address, "fault": fault})])
            yield

    def _store(self):
        """Takes the command of each append a while after the front end passed it on, and is busy for a while."""
        seen = due = busy = 0  # forwarded words looked at, commands not taken yet, cycles left of the current one
        while True:
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
            elif due and self.rng.random() < self.takes:
                due -= 1
                busy = self.rng.randrange(2, 20)
                self.dut.kv_taken.value = self.dut.kv_busy.value = 1
            yield

    def _watch(self):
        """Pages are looked up when nothing is appended; only an ATTEND waits for that, and then passes nothing on."""
        if waiting := harness.peek(self.dut.waiting_kv):
            assert self.forwarded.received[-1] & 15 == Opcode.ATTEND
            assert not harness.peek(self.dut.lookup__valid) and not harness.peek(self.dut.o__valid)
        if harness.peek(self.dut.lookup__valid):
            assert not self.appends, "KV pages are looked up while appends are under way"
        self.waited += waiting

    async def run(self, program, state):
        """One pass; compares everything with the model and returns how it stopped."""
        dut, config = self.dut, self.config
        program = [(word, self.rng.getrandbits(35) * INSTRUCTION_BYTES) for word in program]
        forwarded, descriptors, lookups, stop = FrontEnd.model(
            config, program, state, self.entry, largest_page(config))
        marks = [len(sink.received) for sink in (self.forwarded, self.descriptors, self.lookups)]
        self.source.send(harness.pack(instruction_layout(config), {"word": w, "address": a}) for w, a in program)
        dut.state.value = harness.pack(PassState(config), state)
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        ended, quiet = 0, 0
        while quiet < 300 and not ended:
            await RisingEdge(dut.clk)
            ended += harness.peek(dut.end)
            quiet = 0 if self.busy() else quiet + 1
        await self.tb.wait(3)
        got_forwarded, got_descriptors, got_lookups = (
            sink.received[mark:] for sink, mark in
            zip((self.forwarded, self.descriptors, self.lookups), marks, strict=True))
        assert got_forwarded == forwarded
        assert [tuple(harness.unpack(request_layout(config), d).values()) for d in got_descriptors] == descriptors
        asked = [harness.unpack(page_request_layout(config), packed) for packed in got_lookups]
        assert [(place["slot"], place["cache"], place["page"]) for place in asked] == lookups
        assert ended == (stop[0] is Status.OK)
        assert harness.peek(dut.status) == stop[0]
        if stop[0] is not Status.OK:
            assert harness.peek(dut.fault_address) == stop[1]
        return stop[0]

    def busy(self):
        """Something goes on, or is about to."""
        return (self.appends or not self.found.idle or any(harness.peek(handle) for handle in (
            self.dut.o__valid, self.dut.descriptor__valid, self.dut.lookup__valid))
            or (harness.peek(self.dut.i__valid) and harness.peek(self.dut.i__ready)))

    def program(self, opcodes, state, only_last=None):
        """A legal program with instructions of these opcodes in it, to its END."""
        program = LegalProgram(self.config, self.rng, state)
        program.begin()
        for opcode in opcodes:
            program.layer() if opcode is None else program.add(opcode, **({} if only_last is None
                                                                          else {"only_last": only_last}))
        program.end()
        return program.words


async def random_programs(dut, seed, stalls, count):
    system = System(dut, seed, stalls)
    await system.start()
    for _ in range(count):
        state = random_state(system.config, system.rng)
        program = system.program(system.rng.choices(BODY, weights=(2, 2, 2, 6, 1), k=system.rng.randrange(8)), state)
        assert await system.run(program, state) is Status.OK
    return system


@cocotb.test()
async def random_stalls(dut):
    await random_programs(dut, 1, 0.3, 40)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls, and the cycles that an instruction takes."""
    system = await random_programs(dut, 2, 0.0, 30)
    mark = len(system.forwarded.cycles)
    state = random_state(system.config, system.rng)
    program = system.program([Opcode.LOAD] * 10, state, only_last=0)
    assert await system.run(program, state) is Status.OK
    loads = [cycle for cycle, word in zip(system.forwarded.cycles[mark:], program, strict=False)][5:15]
    assert loads[-1] - loads[0] == 3 * 9


@cocotb.test()
async def attention(dut):
    """Appends, then ATTEND, with every number of pages up to 4, and chunk size."""
    system = System(dut, 3, 0.2)
    config, rng = system.config, system.rng
    await system.start()
    for pages in range(1, 5):
        for _ in range(3):
            tokens = rng.randint(1, config.seats)
            position = max(0, 32 * pages - tokens - rng.randrange(8))
            state = of_run([0] * tokens, position, last=1)
            assert await system.run(system.program([None, None], state), state) is Status.OK
    assert system.waited > 10


@cocotb.test()
async def refused(dut):
    """An instruction that the checker refuses, and a row behind the end of the address space, stop the front end."""
    system = System(dut, 4, 0.0)
    config, rng = system.config, system.rng
    state = of_run([60000] * config.seats, 1000, last=1)
    top = (1 << config.addr_bits) - (1 << 20)
    for opcode, fields, status in (
            (Opcode.ROPE, {"address": top, "stride": 1 << 12}, Status.ILLEGAL_INSTRUCTION),
            (Opcode.EMBED, {"address": top, "stride": 1 << 23, "rows": 32}, Status.ILLEGAL_INSTRUCTION),
            (Opcode.EMBED, {"address": 0, "stride": 1 << 12, "rows": 32, "limit": 60000}, Status.TOKEN),
            (Opcode.ROPE, {"limit": 1000}, Status.CONTEXT),
            (Opcode.LOAD, {"count": 0}, Status.ILLEGAL_INSTRUCTION)):
        await system.start()
        program = LegalProgram(config, rng, state)
        program.begin()
        program.add(opcode, only_last=0, **{name: value for name, value in fields.items()
                                            if name in ("address", "stride", "rows")})
        for name, value in fields.items():
            lsb, width = FIELDS[opcode][name]
            program.words[-1] = program.words[-1] & ~((1 << width) - 1 << lsb) | value << lsb
        assert await system.run(program.words, state) is status, (opcode, fields)


@cocotb.test()
async def far_rows(dut):
    """Rows of every number: each bit of positions and token ids, of strides and of the sum with the address."""
    system = System(dut, 6, 0.0)
    config, rng = system.config, system.rng
    await system.start()
    bus, memory, most = config.bus_bytes, 1 << config.addr_bits, (1 << POSITION_BITS) - 1

    def rows(*numbers):
        """A random stride and address with which these rows are within the address space."""
        bits = min(24, config.addr_bits - 1 - max(numbers).bit_length())
        stride = max(bus, rng.getrandbits(bits) & -bus)
        return {"stride": stride, "address": rng.randrange(memory - max(numbers) * stride) & -bus}

    for bit in range(POSITION_BITS):
        for low in (0, 1 << bit, rng.getrandbits(bit)):
            position = min((1 << bit) + low, most - config.seats)
            ids = [min((1 << bit) + rng.choice([low, rng.getrandbits(bit)]), most - 1) for _ in range(config.seats)]
            state = of_run(ids, position)
            program = LegalProgram(config, rng, state)
            program.add(Opcode.ROPE, limit=most, only_last=0, **rows(position + config.seats))
            program.add(Opcode.LOAD, load_dest=LoadDest.NORM, count=64, only_last=0)
            program.add(Opcode.EMBED, rows=32, limit=most, only_last=0, **rows(*ids))
            program.end()
            assert await system.run(program.words, state) is Status.OK
    # Behind the end: by one bit of the address each.
    for bit in range(config.addr_bits, 2 * POSITION_BITS - 1):
        for opcode in (Opcode.ROPE, Opcode.EMBED):
            row = 1 << rng.randrange(bit - 23, POSITION_BITS)
            state = of_run([row], row)
            await system.start()
            program = LegalProgram(config, rng, state)
            program.add(Opcode.LOAD, load_dest=LoadDest.NORM, count=64, only_last=0)
            fields = {"rows": 32} if opcode is Opcode.EMBED else {}
            program.add(opcode, limit=most, only_last=0, stride=(1 << bit) // row, address=0, **fields)
            assert await system.run(program.words, state) is Status.ILLEGAL_INSTRUCTION


@cocotb.test()
async def many_appends(dut):
    """As many appends as may be on their way, and none of them forgotten; many heads, of both kinds."""
    system = System(dut, 7, 0.0)
    await system.start()
    state = of_run([1] * system.config.seats, 20)
    most = min(40, system.config.operand_blocks // 4)
    system.takes = 0.002
    program = LegalProgram(system.config, system.rng, state)
    program.begin(stride=system.config.bus_bytes, address=0)
    for _ in range(26):
        program.add(Opcode.LINEAR, dest=Dest.KEY, only_last=0)
    program.layer()
    program.end()
    assert await system.run(program.words, state) is Status.OK
    system.takes = 0.1
    for group, kv_heads in ((most, 1), (1, most), (most // 2 - 1, 2), (3, most // 3)):
        program = LegalProgram(system.config, system.rng, state)
        program.begin(stride=system.config.bus_bytes, address=0)
        program.layer(group=group, kv_heads=kv_heads)
        program.end()
        assert await system.run(program.words, state) is Status.OK


@cocotb.test()
async def far_pages(dut):
    """The first pages of contexts too long to be walked here: one after the other."""
    system = System(dut, 8, 0.0)
    config, rng, bus = system.config, system.rng, system.config.bus_bytes
    for bit in range(8, POSITION_BITS):
        for position in ((1 << bit) + 70, rng.randrange(1 << bit, 1 << bit + 1) - config.seats):
            await system.start()
            state = of_run([1] * config.seats, position)
            program = LegalProgram(config, rng, state)
            program.begin(stride=bus, address=0)
            program.layer()
            system.source.send(harness.pack(instruction_layout(config), {"word": word}) for word in program.words)
            dut.state.value = harness.pack(PassState(config), state)
            dut.start.value = 1
            await RisingEdge(dut.clk)
            dut.start.value = 0
            requests = [harness.unpack(page_request_layout(config), packed)
                        for packed in await system.lookups.receive(12 if position > 400 else position // 32 + 1)]
            assert requests == [{"slot": 0, "cache": 0, "page": page} for page in range(len(requests))]


@cocotb.test()
async def page_faults(dut):
    system = System(dut, 5, 0.2)
    system.fault_rate = 0.1
    stops = []
    for _ in range(25):
        await system.start()
        state = random_state(system.config, system.rng)
        stops.append(await system.run(system.program([Opcode.LOAD, None], state), state))
    assert {Status.OK, Status.PAGE_FAULT} <= set(stops)


@pytest.mark.parametrize("config", ["slim", "nano", "duo", "kria"])
def test_front_end(sim, config):
    harness.run(FrontEnd(get_config(config)), __name__, sim=sim, parameters=config)
