"""The sequence controller: prompts of any length, stop tokens, limits, the context's end, errors and halts."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.config import get_config
from scoville.isa import POSITION_BITS
from scoville.memory.fetch_port import fetch_layout, response_layout
from scoville.schedule.seats import PassState, of_run
from scoville.schedule.sequence import STOPS, SequenceController

MEMORY = 1 << 12
VOCABULARY = 1 << 32


class System:
    """The controller, the prompt's memory, a back end that ends passes, and a sampler with a list of tokens."""

    def __init__(self, dut, seed, stalls=0.3):
        self.dut, self.stalls = dut, stalls
        self.config = get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.request, self.response = tb.sink("request", stalls), tb.source("response", stalls)
        self.sampled, self.token = tb.source("sampled", stalls), tb.sink("token", stalls)
        self.memory = bytearray(self.rng.randbytes(MEMORY))
        self.broken = None  # index of the prompt token whose read fails
        self.stuck = False  # the back end never ends a pass

    async def start(self):
        await self.tb.reset()
        self.passes, self.events, self.error_addresses = [], {"finished": 0}, []
        self.answers, self.left = [], iter(())
        for task in (self._serve(), self._back_end(), self._watch()):
            cocotb.start_soon(task)

    async def _serve(self):
        size, served = self.config.bus_bytes, 0
        while True:
            await RisingEdge(self.dut.clk)
            served = min(served, len(self.request.received))  # a reset empties the list
            if served == len(self.request.received):
                continue
            fetch = harness.unpack(fetch_layout(self.config), self.request.received[served])
            served += 1
            at = fetch["address"]
            assert at % size == 0 and fetch["beats"] == 1 and 0 <= at - self.origin < MEMORY
            if self.stalls:
                await self.tb.wait(self.rng.randrange(1, 8))
            error = self.broken is not None and at <= self.prompt_at + 4 * self.broken < at + size
            self.response.send([harness.pack(response_layout(self.config), {
                "data": int.from_bytes(self.memory[at - self.origin:][:size], "little"), "error": error})])

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk)
            self.events["finished"] += harness.peek(self.dut.finished)
            if harness.peek(self.dut.read_error):
                self.error_addresses.append(harness.peek(self.dut.error_address))

    async def _back_end(self):
        """Takes `begin`, keeps an eye on the state, and ends the pass after a while."""
        while True:
            await RisingEdge(self.dut.clk)
            if not harness.peek(self.dut.begin):
                continue
            packed = harness.peek(self.dut.state)
            state = harness.unpack(PassState(self.config), packed)
            self.passes.append(state | {"seats": state["seats"][:state["tokens"]]})
            if self.stuck:
                continue
            for _ in range(self.rng.randrange(1, 20) if self.stalls else 1):
                await RisingEdge(self.dut.clk)
                assert harness.peek(self.dut.state) == packed and not harness.peek(self.dut.begin)
            if state["last"]:
                self.sampled.send([next(self.left)])
            self.dut.pass_done.value = 1
            await RisingEdge(self.dut.clk)
            self.dut.pass_done.value = 0

    async def begin(self, prompt, sampled, *, max_new, context, first=0, stops=(), stop_count=None, length=None):
        dut = self.dut
        # Anywhere; or where an address of a token carries into a bit of its own.
        bits, place = self.config.addr_bits, 4 * self.rng.randrange(MEMORY // 4 - len(prompt) - 64)
        self.origin = self.rng.getrandbits(bits) // MEMORY * MEMORY
        if self.rng.random() < 0.5:
            self.origin = (1 << self.rng.randrange(MEMORY.bit_length(), bits)) - MEMORY // 2
            place = MEMORY // 2 - 4 * self.rng.randrange(len(prompt) + 1)
        self.prompt_at = self.origin + place
        packed = b"".join(token.to_bytes(4, "little") for token in prompt)
        self.memory[place:place + len(packed)] = packed
        self.passes.clear()
        self.error_addresses.clear()
        self.events["finished"] = 0
        self.left = iter(sampled)
        stops = list(stops) + [self.rng.randrange(VOCABULARY) for _ in range(STOPS - len(stops))]
        dut.prompt.value, dut.prompt_length.value = self.prompt_at, length or len(prompt)
        dut.max_new.value, dut.context.value, dut.first.value = max_new, context, first
        dut.stops.value = sum(stop << 32 * index for index, stop in enumerate(stops))
        dut.stop_count.value = stop_count or 0
        dut.start.value = 1
        await RisingEdge(dut.clk)
        dut.start.value = 0
        await RisingEdge(dut.clk)

    async def end(self):
        for _ in range(20000):
            await RisingEdge(self.dut.clk)
            if not harness.peek(self.dut.running):
                await self.tb.wait(2)
                return
        raise AssertionError("the sequence does not end")

    async def check(self, prompt, sampled, *, max_new, context, first=0, stops=()):
        before = len(self.token.received)
        await self.begin(prompt, sampled, max_new=max_new, context=context, first=first, stops=stops,
                         stop_count=len(stops))
        await self.end()
        passes, tokens, overrun = SequenceController.model(
            self.config, prompt, iter(sampled), max_new=max_new, context=context, first=first, stops=stops)
        assert self.passes == passes
        assert self.token.received[before:] == tokens
        assert harness.peek(self.dut.generated) == len(tokens)
        assert harness.peek(self.dut.overrun) == overrun and self.events["finished"] == (not overrun)
        assert not self.error_addresses

    def tokens(self, count):
        return [self.rng.randrange(VOCABULARY) for _ in range(count)]


@cocotb.test()
async def prompts(dut):
    """Every prompt length up to three full chunks and one token."""
    system = System(dut, 1)
    await system.start()
    for length in range(1, 3 * system.config.seats + 2):
        new = system.rng.randrange(1, 6)
        await system.check(system.tokens(length), system.tokens(new), max_new=new, context=length + new)


@cocotb.test()
async def stop_tokens(dut):
    """The first of the stop tokens ends the sequence and is the last token; stops past STOP_COUNT are not looked at."""
    system = System(dut, 2)
    await system.start()
    for count in range(STOPS + 1):
        for which in 4 * list(range(STOPS)):
            stops, sampled = system.tokens(STOPS), system.tokens(8)
            at = system.rng.randrange(1, 7)
            sampled[at] = stops[which]
            prompt = system.tokens(system.rng.randrange(1, 6))
            if which < count:
                await system.check(prompt, sampled, max_new=8, context=1000, stops=stops[:count])
                assert harness.peek(dut.generated) == at + 1
            else:
                before = len(system.token.received)
                await system.begin(prompt, sampled, max_new=8, context=1000, stops=stops, stop_count=count)
                await system.end()
                assert system.token.received[before:] == sampled


@cocotb.test()
async def context(dut):
    """A pass that would not fit is not begun; one that fits exactly is."""
    system = System(dut, 3)
    seats = system.config.seats
    await system.start()
    for length in (1, seats, seats + 1, 2 * seats + 1):
        for room in range(length + 4):
            if harness.peek(dut.overrun):
                await system.tb.reset()
            await system.check(system.tokens(length), system.tokens(4), max_new=4, context=room)
    await system.tb.reset()
    await system.check([], [], max_new=4, context=100)


@cocotb.test()
async def first_position(dut):
    """A prompt may begin where the pages already hold something; the context counts from position 0."""
    system = System(dut, 7)
    seats = system.config.seats
    await system.start()
    for first in (1, 31, 32, 1000, (1 << POSITION_BITS) - seats - 5, 0):
        for length in (1, seats, seats + 1):
            await system.check(system.tokens(length), system.tokens(4), max_new=4, context=first + length + 3,
                               first=first)
    for first in (100, (1 << POSITION_BITS) - 2):  # the last positions there are
        await system.tb.reset()
        await system.check(system.tokens(2), system.tokens(2), max_new=2, context=first + 1, first=first)
        assert harness.peek(dut.overrun)


@cocotb.test()
async def every_bit(dut):
    """Each bit of a position, of the context and of the limit counts."""
    system = System(dut, 9, 0.0)
    await system.start()
    seats = system.config.seats
    for bit in range(32):
        sampled = system.tokens(3)
        for limit in (1 << bit, (1 << bit) + 1, (1 << 32) - (1 << bit)):
            await system.check(system.tokens(1), sampled, max_new=limit, context=100, stops=sampled[2:])
    for bit in range(POSITION_BITS):
        for first in {max(0, (1 << bit) - seats), 1 << bit, (1 << POSITION_BITS - 1) - (1 << bit)}:
            await system.check(system.tokens(seats + 1), system.tokens(2), max_new=2, context=first + seats + 2,
                               first=first)
        await system.check(system.tokens(2), system.tokens(2), max_new=2, context=max(4, 1 << bit))
    for bit in range(3, POSITION_BITS):
        for first in {(1 << bit) - 1, 1 << bit, (1 << POSITION_BITS - 1) - (1 << bit)}:
            await system.tb.reset()
            await system.check(system.tokens(seats + 1), [], max_new=2, context=first + seats, first=first)
            assert len(system.passes) == 1 and harness.peek(dut.overrun)


@cocotb.test()
async def many_tokens(dut):
    """Prompts and answers of some hundred tokens, to the end."""
    system = System(dut, 11, 0.0)
    await system.start()
    for length, new in ((127, 1), (260, 4), (1, 300)):
        await system.check(system.tokens(length), system.tokens(new), max_new=new, context=length + new)


@cocotb.test()
async def long_prompts(dut):
    """Prompts too long to be read here: the first passes are full ones, and ask for one token after the other."""
    system = System(dut, 10, 0.0)
    await system.start()
    seats = system.config.seats
    for bit in range(5, POSITION_BITS):
        for length in {1 << bit, (1 << bit) + 1, (1 << bit) + seats, (1 << bit) + 2 * seats,
                       (1 << POSITION_BITS) - (1 << bit)}:
            prompt = system.tokens(4 * seats)
            await system.begin(prompt, [], max_new=1, context=(1 << POSITION_BITS) - 1, length=length)
            while len(system.passes) < 3:
                await RisingEdge(dut.clk)
            dut.halt.value = 1
            await system.tb.wait(20)
            dut.halt.value = 0
            assert system.passes[:3] == [of_run(prompt[at:at + seats], at)
                                         for at in range(0, 3 * seats, seats)]
            await system.tb.reset()
            await system.tb.wait(2)


@cocotb.test()
async def read_error(dut):
    """The error is told once, with the token's address; the halt that follows ends the sequence."""
    system = System(dut, 4)
    await system.start()
    seats = system.config.seats
    for length in (1, seats, 2 * seats):
        for broken in range(length):
            system.broken = broken
            await system.begin(system.tokens(length), system.tokens(1), max_new=1, context=100)
            while not harness.peek(dut.read_error):
                await RisingEdge(dut.clk)
            dut.halt.value = 1  # a cycle after the error, as the fault latch does
            await system.end()
            # That of the first token in the bus word that cannot be read.
            word = (system.prompt_at + 4 * broken) // system.config.bus_bytes * system.config.bus_bytes
            assert system.error_addresses == [max(system.prompt_at, word)] and not system.events["finished"]
            assert all(p["seats"][-1]["position"] < broken for p in system.passes)
            dut.halt.value = 0
            await system.tb.reset()
            await system.tb.wait(20)
            await system.tb.reset()


WAITS = ("request", "response", "run", "sampled", "emit")


@cocotb.test()
async def halt(dut):
    """Whatever it waits for - memory, the back end, the sampler, the host - a halt ends the sequence."""
    tb = harness.Bench(dut, 5)
    for case in WAITS:
        await tb.reset()
        dut.prompt_length.value = dut.max_new.value = 1
        dut.context.value = 10
        dut.request__ready.value = int(case != "request")
        dut.token__ready.value = 0
        steps = (dut.start, dut.response__valid, dut.pass_done, dut.sampled__valid)
        reached = {"request": 1, "response": 1, "run": 2, "sampled": 3, "emit": 4}[case]
        for handle in steps[:reached]:
            handle.value = 1
            await tb.wait(1)
            if handle is dut.response__valid:
                await tb.wait(2)
            handle.value = 0
            await tb.wait(5)
        waiting = {"request": dut.request__valid, "response": dut.response__ready, "run": dut.running,
                   "sampled": dut.sampled__ready, "emit": dut.token__valid}
        for name, handle in waiting.items():
            assert harness.peek(handle) == int(name in (case, "run")), (case, name)
        dut.halt.value = 1
        await tb.wait(2)
        dut.token__ready.value = 1
        for _ in range(5):
            assert not any(map(harness.peek, (dut.running, dut.finished, dut.token__valid)))
            await tb.wait(1)
        dut.start.value = 1  # nor does one start
        await tb.wait(2)
        assert not harness.peek(dut.running)
        dut.start.value = dut.halt.value = 0
        await tb.wait(5)
        assert not harness.peek(dut.running)


@cocotb.test()
async def halt_at_any_time(dut):
    """In the cycle after a halt the sequence is over, whatever it did: no token, pass or end comes from then on."""
    system = System(dut, 8, 0.0)
    await system.start()
    for cycles in range(70):
        await system.tb.reset()
        await system.begin(system.tokens(system.config.seats + 1), system.tokens(2), max_new=2, context=100)
        await system.tb.wait(cycles)
        ran = harness.peek(dut.running)
        dut.halt.value = 1
        await RisingEdge(dut.clk)
        received = len(system.token.received)
        for _ in range(4):
            await RisingEdge(dut.clk)
            assert not harness.peek(dut.running) and not harness.peek(dut.begin) and not harness.peek(dut.finished)
            assert len(system.token.received) == received
        await system.tb.wait(30)  # the back end ends its pass, for nobody
        dut.halt.value = 0
        if not ran:
            break
    assert not ran and cycles > 20


@cocotb.test()
async def full_speed(dut):
    """A pass begins 4 cycles after the token before it was taken."""
    system = System(dut, 6, 0.0)
    await system.start()
    begun = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if harness.peek(dut.begin):
                begun.append(system.tb.cycle)

    cocotb.start_soon(watch())
    await system.check(system.tokens(1), system.tokens(6), max_new=6, context=10)
    assert [b - t for b, t in zip(begun[1:], system.token.cycles, strict=False)] == [4] * 5


@pytest.mark.parametrize("config", ["slim", "nano", "duo", "kria"])
def test_sequence(sim, config):
    harness.run(SequenceController(get_config(config)), __name__, sim=sim, parameters=config)
