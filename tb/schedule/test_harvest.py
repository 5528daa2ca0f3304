"""Harvest: the tokens of passes of any seats, stop lists, lists that cannot be read, what is kept, speed."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.isa import POSITION_BITS
from scoville.schedule.fields import fields_layout
from scoville.schedule.harvest import Harvest
from scoville.schedule.kept import kept_layout
from scoville.schedule.planner import sampled_layout
from scoville.schedule.records import MAX_STOPS
from scoville.schedule.seats import PassState, Sampling
from scoville.schedule.token_writer import token_write_layout
from words import Beats
from world import chip

SIZES = {"2 seats, 4 slots": {"lanes": 2, "slots": 4}, "8 seats, 8 slots": {"lanes": 4, "phases": 2, "slots": 8},
         "1 seat, 2 slots": {"lanes": 1, "slots": 2}}


class System:
    """A core whose passes give tokens, and who takes what becomes of them."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.config = dut, chip(**SIZES[harness.parameters()])
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.memory = Beats(tb, self.config, stalls)
        self.sampled = tb.source("sampled", stalls)
        self.tokens, self.answers = tb.sink("token", stalls), tb.sink("o", stalls)
        self.fields = [{} for _ in range(self.config.slots)]
        self.kept, self.left = [], 0  # tokens of the pass that are still to come
        tb.each_cycle(self._cycle)

    def _cycle(self):
        """The fields of a slot come in the cycle behind; `busy` goes with the last answer."""
        dut = self.dut
        slot = harness.peek(dut.slot)
        dut.fields.value = harness.pack(fields_layout(), self.fields[slot])
        assert harness.peek(dut.busy) == (self.left > 0)
        if harness.peek(dut.keep):
            self.kept.append((slot, harness.unpack(kept_layout(self.config), harness.peek(dut.kept))))
        self.left -= harness.moves(dut, "o")
        self.left += self.coming if harness.peek(dut.begin) else 0

    def new_fields(self):
        """Requests, each with a stop list of its own; some of which cannot be read."""
        rng = self.rng
        self.memory.broken.clear()
        for slot in range(self.config.slots):
            count = rng.choice([0, 0, 1, 2, rng.randint(3, 20)])
            stops = 1 << 30 | slot << 20 | 4 * rng.randrange(1 << 15)
            self.memory.put(stops, [rng.getrandbits(32) for _ in range(count)])
            if count and rng.random() < 0.2:
                at = stops + 4 * rng.randrange(count)
                self.memory.broken.add(at // self.config.bus_bytes * self.config.bus_bytes)
            self.fields[slot] = {
                "tokens": 4 * rng.getrandbits(self.config.addr_bits - 2), "stops": stops, "stop_count": count,
                "logits": rng.getrandbits(64), "logits_stride": rng.getrandbits(32), "seed": rng.getrandbits(64)}

    async def harvest(self, seats, tokens, early=0):
        """A pass of these seats, of which `early` tokens come before it is begun; what its runs give is compared.

        Parameters
        ----------
        seats : (slot, position, samples, address of its logits), a seat each
        tokens : for each that samples
        """
        dut, config, rng = self.dut, self.config, self.rng
        state = {"tokens": len(seats), "seats": [
            {"slot": slot, "position": position, "samples": samples, "token": rng.getrandbits(32)}
            for slot, position, samples, _ in seats]}
        state["seats"] += [{"samples": 1, "slot": rng.randrange(config.slots)}] * (config.seats - len(seats))
        dut.state.value = harness.pack(PassState(config), state)
        dut.sampling.value = harness.pack(Sampling(config), [{"logits": row} for *_, row in seats])
        self.coming = len(tokens)
        before = len(self.tokens.received), len(self.answers.received), len(self.kept)
        self.sampled.send(tokens[:early])
        await self.tb.wait(10)
        assert harness.peek(dut.busy) == 0 and (self.sampled.idle or not self.sampled.accepted[before[1]:])
        dut.begin.value = 1
        await RisingEdge(dut.clk)
        dut.begin.value = 0
        self.sampled.send(tokens[early:])
        wanted = [Harvest.model(config, token, position, row, self.fields[slot], self.memory.read(
            self.fields[slot]["stops"], self.fields[slot]["stop_count"]))
            for token, (slot, position, row) in zip(
                tokens, ((slot, position, row) for slot, position, samples, row in seats if samples), strict=True)]
        for n, packed in enumerate(await self.answers.receive(len(tokens)) if tokens else []):
            assert harness.unpack(sampled_layout(), packed) == wanted[n][0]
        await self.tb.wait(3)
        written = [harness.unpack(token_write_layout(config), packed) for packed in self.tokens.received[before[0]:]]
        assert written == [write for _, write, _ in wanted if write is not None]
        slots = [slot for slot, _, samples, _ in seats if samples]
        assert self.kept[before[2]:] == list(zip(slots, (kept for *_, kept in wanted), strict=True))
        return wanted


async def passes(dut, seed, stalls):
    system = System(dut, seed, stalls)
    rng, config = system.rng, system.config
    await system.tb.reset()
    seen = set()
    for _ in range(80):
        system.new_fields()
        seats = [(rng.randrange(config.slots), rng.getrandbits(POSITION_BITS - 1), int(rng.random() < 0.6),
                  rng.choice([0, rng.getrandbits(config.addr_bits - 1)]))
                 for _ in range(rng.randint(1, config.seats))]
        tokens = []
        for slot, _, samples, _ in seats:
            it = system.fields[slot]
            stops = [system.memory.words[it["stops"] + 4 * n] for n in range(it["stop_count"])]
            tokens += [rng.choice([rng.getrandbits(32), *stops])] * samples
        for answer, write, kept in await system.harvest(seats, tokens, rng.randint(0, len(tokens))):
            seen.add((answer["stop"], answer["failed"], write is not None, kept["logits"] != 0))
    assert {it[:3] for it in seen} == {(0, 0, True), (1, 0, True), (0, 1, False)} and {it[3] for it in seen} == {0, 1}
    return system


@cocotb.test()
async def random_stalls(dut):
    await passes(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls; without a stop list a token in 6 cycles, and nothing is read."""
    system = await passes(dut, 2, 0.0)
    config = system.config
    system.new_fields()
    for it in system.fields:
        it["stop_count"] = 0
    read, before = len(system.memory.requests), len(system.sampled.cycles)
    seats = [(n % config.slots, n, 1, 0) for n in range(config.seats)]
    await system.harvest(seats, list(range(config.seats)), config.seats)
    assert len(system.memory.requests) == read
    cycles = system.sampled.cycles[before:]
    assert [after - first for first, after in zip(cycles, cycles[1:], strict=False)] == [6] * (config.seats - 1)


@cocotb.test()
async def longest_list(dut):
    """Its last word, and one that is not in it; a token is with the writer before its answer."""
    system = System(dut, 3, 0.3)
    await system.tb.reset()
    system.new_fields()
    system.memory.broken.clear()
    it = system.fields[1]
    it["stops"], it["stop_count"] = (1 << 38) + 4, MAX_STOPS
    system.memory.put(it["stops"], range(1000, 1000 + MAX_STOPS))
    for token, stop in ((999 + MAX_STOPS, 1), (1000 + MAX_STOPS, 0)):
        (answer, *_), = await system.harvest([(1, 7, 1, 0)], [token])
        assert answer["stop"] == stop and system.tokens.cycles[-1] < system.answers.cycles[-1]


@cocotb.test()
async def soft_reset(dut):
    """Of a pass that a reset ends no token is awaited."""
    system = System(dut, 4, 0.0)
    config = system.config
    await system.tb.reset()
    system.new_fields()
    dut.state.value = harness.pack(PassState(config), {
        "tokens": config.seats, "seats": [{"samples": 1}] * config.seats})
    system.coming = config.seats
    dut.begin.value = 1
    await RisingEdge(dut.clk)
    dut.begin.value = 0
    await system.tb.wait(3)
    assert harness.peek(dut.busy)
    system.left = 0
    await system.tb.reset()
    await system.harvest([(0, 1, 1, 0)], [5])


@pytest.mark.parametrize("config", list(SIZES))
def test_harvest(sim, config):
    harness.run(Harvest(chip(**SIZES[config])), __name__, sim=sim, parameters=config)
