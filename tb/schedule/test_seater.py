"""The seater: passes of runs of any length, tokens that are kept or read, bad tokens, reads that fail, speed."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.isa import POSITION_BITS
from scoville.schedule.fields import fields_layout
from scoville.schedule.kept import kept_layout
from scoville.schedule.planner import planned_layout
from scoville.schedule.seater import Seater
from scoville.schedule.seats import PassState, Sampling
from words import Beats
from world import chip

SIZES = {"8 seats, 8 slots": {"lanes": 4, "phases": 2, "slots": 8}, "2 seats, 4 slots": {"lanes": 2, "slots": 4},
         "1 seat, 2 slots": {"lanes": 1, "slots": 2}}


class System:
    """Who plans runs, and what is known of each slot."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.stalls, self.config = dut, stalls, chip(**SIZES[harness.parameters()])
        self.tb = tb = harness.Bench(dut, seed)
        self.rng = tb.rng
        self.memory = Beats(tb, self.config, stalls)
        self.runs, self.verdicts = tb.source("run", stalls), tb.sink("verdict", stalls)
        self.fields = [{} for _ in range(self.config.slots)]
        self.kept = [{} for _ in range(self.config.slots)]
        self.offered = None  # the cycle in which the last run was first there
        tb.each_cycle(self._cycle)

    def _cycle(self):
        """What is known of a slot comes in the cycle behind; memory is not read until all tokens are there."""
        dut = self.dut
        slot = harness.peek(dut.slot)
        dut.fields.value = harness.pack(fields_layout(), self.fields[slot])
        dut.kept.value = harness.pack(kept_layout(self.config), self.kept[slot])
        assert harness.peek(dut.settled) or not harness.peek(dut.request__valid)
        if self.offered is None and harness.peek(dut.run__valid):
            self.offered = self.tb.cycle - 1  # this edge

    def token(self, bad=False):
        """One that differs from the vocabulary's size in some bit first: a token, or none."""
        rng, at = self.rng, [bit for bit in range(32) if (self.vocab >> bit & 1) != bad]
        if bad and (not at or rng.random() < 0.3):
            return self.vocab
        bit = rng.choice(at)
        return (self.vocab >> bit ^ 1) << bit | rng.getrandbits(32) & (1 << bit) - 1

    def new_slots(self):
        rng, bits = self.rng, self.config.addr_bits
        self.vocab = rng.getrandbits(rng.randint(1, 32)) | 1
        self.dut.vocab.value = self.vocab
        self.memory.words.clear()
        self.memory.broken.clear()
        for slot in range(self.config.slots):
            self.fields[slot] = {
                "tokens": 4 * rng.getrandbits(bits - 2), "seed": rng.getrandbits(64),
                "temperature": rng.getrandbits(32), "logits": rng.getrandbits(bits),
                "logits_stride": rng.getrandbits(32), "stop_count": rng.getrandbits(32)}
            self.kept[slot] = {"position": rng.choice([0, rng.randrange(1, 1 << POSITION_BITS - 1)]),
                               "token": self.token(),
                               "logits": rng.getrandbits(bits)}
        if rng.random() < 0.1:
            self.kept[rng.randrange(self.config.slots)]["token"] = self.token(bad=True)

    def run_of(self, slot, seat):
        """A run with its tokens in memory, some of which are none, or cannot be read."""
        rng, kept = self.rng, self.kept[slot]
        run = {"slot": slot, "seat": seat, "count": rng.randint(1, self.config.seats - seat),
               "first": rng.getrandbits(POSITION_BITS - 1), "samples": rng.getrandbits(1)}
        if rng.random() < 0.5 and kept["position"]:
            run |= {"count": 1, "first": kept["position"], "samples": 1}
        elif rng.random() < 0.3:
            run["first"] = rng.choice([0, kept["position"] ^ 1 << rng.randrange(POSITION_BITS - 1)])
        address = (self.fields[slot]["tokens"] + 4 * run["first"]) % (1 << self.config.addr_bits)
        address = min(address, (1 << self.config.addr_bits) - 4 * self.config.seats)
        self.fields[slot]["tokens"] = (address - 4 * run["first"]) % (1 << self.config.addr_bits)
        self.memory.put(address, [self.token() for _ in range(run["count"])])
        at = address + 4 * rng.randrange(run["count"])
        if rng.random() < 0.05:
            self.memory.put(at, [self.token(bad=True)])
        if rng.random() < 0.05:
            self.memory.broken.add(at // self.config.bus_bytes * self.config.bus_bytes)
        return run, address

    async def again(self):
        self.dut.again.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.again.value = 0
        await RisingEdge(self.dut.clk)
        state = harness.unpack(PassState(self.config), harness.peek(self.dut.state))
        assert (state["tokens"], state["last"]) == (0, 0)

    async def seat(self, run, address):
        """The run's model; how many cycles it took, and whether it was read."""
        dut, rng = self.dut, self.rng
        read, known = len(self.memory.requests), self.kept[run["slot"]]["position"] == run["first"] != 0
        wanted = Seater.model(self.vocab, run, self.fields[run["slot"]], self.kept[run["slot"]],
                              self.memory.read(address, run["count"]))
        self.offered, late = None, rng.random() < 0.3 and self.stalls
        dut.settled.value = int(not late)
        self.runs.send([harness.pack(planned_layout(self.config), run)])
        if late and not known:
            await self.tb.wait(rng.randrange(20))
            dut.settled.value = 1
        verdict, = await self.verdicts.receive(1)
        assert verdict == wanted[0] and (len(self.memory.requests) == read) == known
        return wanted, self.verdicts.cycles[-1] - self.offered, known


async def passes(dut, seed, stalls):
    system = System(dut, seed, stalls)
    rng, config = system.rng, system.config
    dut.settled.value = 1
    await system.tb.reset()
    seen, times = set(), set()
    for _ in range(100):
        system.new_slots()
        await system.again()
        seats, sampling = [], {}
        for slot in rng.sample(range(config.slots), config.slots):
            if len(seats) == config.seats or rng.random() < 0.1:
                break
            run, address = system.run_of(slot, len(seats))
            (verdict, its, how), cycles, known = await system.seat(run, address)
            seats += its
            if how:
                sampling[len(seats) - 1] = how
            await system.tb.wait(2)
            state = harness.unpack(PassState(config), harness.peek(dut.state))
            assert (state["tokens"], state["last"]) == (len(seats), int(bool(sampling)))
            for got, want in zip(state["seats"], seats, strict=False):
                assert got == (want if want["token"] is not None else want | {"token": got["token"]})
            found = harness.unpack(Sampling(config), harness.peek(dut.sampling))
            assert {seat: found[seat] for seat in sampling} == sampling
            seen |= {("verdict", verdict), ("known", known), ("samples", run["samples"], known)}
            times.add((known, cycles - (0 if known else run["count"])))
            if verdict:
                break
    assert len(seen) == 3 + 2 + 3
    return times


@cocotb.test()
async def random_stalls(dut):
    await passes(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """The same without stalls: from a run to its answer 2 cycles, or 6, its tokens, and what this memory takes."""
    assert await passes(dut, 2, 0.0) == {(True, 2), (False, 6 + 2)}


@pytest.mark.parametrize("config", list(SIZES))
def test_seater(sim, config):
    harness.run(Seater(chip(**SIZES[config])), __name__, sim=sim, parameters=config)
