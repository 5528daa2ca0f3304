"""The SDRAM controller's AXI side against its model: runs, when they may be offered, turns, answers, speed."""

from itertools import groupby

import cocotb
import harness
import pytest
from axi_channels import Channels, layouts
from cocotb.triggers import RisingEdge
from scoville.board.sdram_bursts import RESPONSES, TURNS, SdramBursts, beat_layout, run_layout
from scoville.config import get_config
from scoville.memory import axi
from test_sdram import CASES, timing_of

TEST = cocotb.test(timeout_time=300, timeout_unit="us")
LATENCY = 3  # cycles from an address to its run
DELAY = 9  # cycles from a READ to its beat, here


class System:
    """A manager on five channels, and the other half of the controller: it carries runs out, one after the other."""

    def __init__(self, dut, seed, stalls=0.0):
        case = harness.parameters()
        self.config, self.timing = get_config(CASES[case][0]), timing_of(case)
        self.model = SdramBursts(self.config, self.timing)
        self.dut, self.tb = dut, harness.Bench(Channels(dut), seed)
        self.rng, self.stalls = self.tb.rng, stalls
        self.ar, self.aw, self.w = (self.tb.source(name, stalls) for name in ("ar", "aw", "w"))
        self.r, self.b = (self.tb.sink(name, stalls) for name in ("r", "b"))
        self.layouts, self.size = layouts(self.config), (self.config.bus_bytes - 1).bit_length()
        self.runs, self.cycles, self.values, self.taken = [], [], [], []
        self.gap = lambda: self.rng.choice([0, 0, 1, 7]) if stalls else 0
        self.every = (lambda: self.rng.choice([1, 1, 2, 6])) if stalls else lambda: 1

    async def start(self):
        await self.tb.reset()
        cocotb.start_soon(self.carry_out())

    def burst(self, channel, beats, word=None, **changed):
        """An address; of a write the data as well. Within 4 KiB, as AXI wants it."""
        page = axi.BOUNDARY >> self.size
        beats = min(beats, page)
        if word is None:
            pages = self.timing.size_bytes // axi.BOUNDARY
            word = page * self.rng.choice([0, pages - 1, self.rng.randrange(pages)])
            word += self.rng.randrange(page - beats + 1)
        fields = {"addr": word << self.size, "len": beats - 1, "size": self.size, "burst": axi.Burst.INCR.value,
                  "id": self.rng.randrange(1 << axi.ID_BITS)} | changed
        getattr(self, channel).send([harness.pack(self.layouts[channel], fields)])
        if channel == "aw":
            self.w.send(harness.pack(self.layouts["w"], {
                "data": self.rng.getrandbits(self.config.bus_bits), "strb": self.rng.getrandbits(self.config.bus_bytes),
                "last": n == beats - 1}) for n in range(beats))

    def odd(self):
        """A burst of random kind; one in four is wrong, or past the end."""
        rng = self.rng
        changed = rng.choice([{}] * 9 + [{"burst": 0}, {"burst": 2}, {"size": self.size - 1}])
        word = None
        if rng.random() < 0.1:
            past = self.timing.size_bytes << rng.randrange(self.config.addr_bits - self.timing.size_bytes.bit_length())
            word = (past >> self.size) + rng.randrange(16)
        self.burst(rng.choice(["ar", "aw"]), rng.choice([1, 1, 2, rng.randrange(1, 60), 256]), word, **changed)

    async def carry_out(self):
        """Runs in their order; what may have to wait never has to."""
        dut, layout = self.dut, run_layout(self.config, self.timing)
        reads, promised, wait, here = [], 0, 0, None
        depth = max(4 * self.model.beats, 16)
        while True:
            moves = here is not None and not wait
            takes = here is None and not wait or (moves and here["left"] == 1 and not self.stalls)
            dut.runs__ready.value = int(takes)
            dut.write_take.value = dut.written.value = 0
            if moves:
                last = here["left"] == 1
                beat = harness.pack(beat_layout(self.config), {
                    "resp": here["resp"], "id": here["id"], "last": here["last"] and last})
                if here["write"]:
                    dut.write_take.value = 1
                    dut.written.value, dut.written_beat.value = int(bool(last and here["last"])), beat
                else:
                    reads.append((self.tb.cycle + DELAY, beat))
            dut.read_done.value = 0
            if reads and reads[0][0] <= self.tb.cycle:
                _, beat = reads.pop(0)
                self.values.append(self.rng.getrandbits(self.config.bus_bits))
                dut.read_done.value, dut.read_data.value, dut.read_beat.value = 1, self.values[-1], beat
            await RisingEdge(dut.clk)
            if harness.peek(dut.write_take):
                self.taken.append(harness.peek(dut.write_data) | harness.peek(dut.write_strobe) << self.config.bus_bits)
            wait -= wait > 0
            if moves:
                here["left"] -= 1
                wait = self.every() - 1
                if not here["left"]:
                    here = None
            if takes and harness.peek(dut.runs__valid):
                here = harness.unpack(layout, harness.peek(dut.runs__payload))
                self.runs.append(dict(here))
                self.cycles.append(self.tb.cycle - 1)  # the bench has counted this edge
                here["left"], wait = here["beats"], self.gap()
                if here["write"]:
                    written = sum(run["beats"] for run in self.runs if run["write"])
                    assert len(self.w.accepted) >= written, "a write run is offered before its data has come"
                else:
                    promised += here["beats"]
                    assert promised - len(self.r.received) <= depth, "a read run is offered without room for it"

    async def check(self):
        """All runs, answers and beats are the model's, for what the port accepted."""
        for source in (self.ar, self.aw, self.w):
            await source.drain()
        bursts = {name: [harness.unpack(self.layouts[name], each) for each in getattr(self, name).accepted]
                  for name in ("ar", "aw")}
        runs = {name: list(self.model.model(name, bursts[name])) for name in bursts}
        for sink, count in ((self.r, sum(run["beats"] for run in runs["ar"])), (self.b, len(bursts["aw"]))):
            while len(sink.received) < count:
                await self.tb.wait(1)
        for name, write in (("ar", 0), ("aw", 1)):
            assert [run for run in self.runs if run["write"] == write] == runs[name]
        wanted = [(run["resp"], run["id"]) for run in runs["aw"] if run["last"]]
        answers = [harness.unpack(self.layouts["b"], each) for each in self.b.received]
        assert [(each["resp"], each["id"]) for each in answers] == wanted
        beats = [(run["resp"], run["id"], int(run["last"] and n == run["beats"] - 1))
                 for run in runs["ar"] for n in range(run["beats"])]
        answers = [harness.unpack(self.layouts["r"], each) for each in self.r.received]
        assert [(each["resp"], each["id"], each["last"]) for each in answers] == beats
        assert [each["data"] for each in answers] == [
            value if resp == axi.Resp.OKAY.value else 0 for value, (resp, _, _) in zip(self.values, beats, strict=True)]
        last = 1 << self.config.bus_bits + self.config.bus_bytes
        assert self.taken == [each % last for each in self.w.accepted]


async def random_bursts(dut, seed, stalls, count):
    system = System(dut, seed, stalls)
    await system.start()
    for _ in range(count):
        system.odd()
    await system.check()
    assert {run["resp"] for run in system.runs} == {0, 2, 3}


@TEST
async def stalls(dut):
    await random_bursts(dut, 1, 0.4, 150)


@TEST
async def no_stalls(dut):
    await random_bursts(dut, 2, 0.0, 150)


@TEST
async def slow_data(dut):
    """Data that trickles in: no run is begun before all of it is here, and reads go past."""
    system = System(dut, 3)
    system.w.stalls = 0.95
    await system.start()
    for _ in range(6):
        system.burst("aw", 2 * system.model.beats)
    for _ in range(40):
        system.burst("ar", 3)
    await system.tb.wait(300)
    assert len(system.r.received) == 40 * 3 and len(system.w.accepted) < 40
    await system.check()


@TEST
async def slow_manager(dut):
    """Answers nobody takes: no more than there is room for is begun; then all come."""
    system = System(dut, 4)
    system.b.stalls = system.r.stalls = 1.0
    await system.start()
    for _ in range(12):
        system.burst("aw", 2)
        system.burst("ar", system.model.beats)
    await system.tb.wait(600)
    assert sum(run["write"] for run in system.runs) <= RESPONSES * 2 and len(system.aw.accepted) == RESPONSES
    system.b.stalls = system.r.stalls = 0.0
    await system.check()


@TEST
async def full_speed(dut):
    """A beat a cycle each way, a burst in two cycles, and the latency of the first."""
    system = System(dut, 5)
    await system.start()
    system.burst("ar", 1)
    await system.tb.wait(30)
    assert system.cycles[0] - system.ar.cycles[0] == LATENCY
    for channel, sink in (("ar", system.r), ("aw", system.w)):
        begin = len(sink.cycles)
        for n in range(24):
            system.burst(channel, system.model.beats, word=n * system.model.beats)
        await system.check()
        assert {after - before for before, after in zip(sink.cycles[begin:], sink.cycles[begin + 1:], strict=False)
                } == {1}, sink.cycles[begin:]


@TEST
async def turns(dut):
    """Both directions always have a run: each has its turn of so many."""
    system = System(dut, 6)
    system.gap = lambda: 8
    await system.start()
    for _ in range(12 * TURNS):
        system.burst("ar", 1)
        system.burst("aw", 1)
    await system.check()
    groups = [len(list(group)) for _, group in groupby(run["write"] for run in system.runs)]
    assert max(groups[:-2]) == TURNS and groups[2:-2] == [TURNS] * len(groups[2:-2]), groups


@pytest.mark.parametrize("case", ["ulx3s", "tangnano20k", "slow"])
def test_sdram_bursts(sim, case):
    harness.run(SdramBursts(get_config(CASES[case][0]), timing_of(case)), __name__, sim=sim, parameters=case)
