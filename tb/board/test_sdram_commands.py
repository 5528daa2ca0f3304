"""The SDRAM controller's side of the part against its model, at a part that asserts its data sheet: runs, speed."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.board.sdram_bursts import beat_layout, run_layout
from scoville.board.sdram_commands import SdramCommands
from scoville.board.sdram_timing import BANK_BITS, INIT_REFRESHES
from scoville.config import get_config
from scoville.memory import axi
from test_sdram import CASES, System, timing_of

TEST = cocotb.test(timeout_time=1, timeout_unit="ms")


def commands(case):
    return SdramCommands(get_config(CASES[case][0]), timing_of(case), CASES[case][3])


class Half(System):
    """The other half of the controller: runs, the beats they write, and what comes back."""

    def __init__(self, dut, seed, stalls=0.0):
        super().__init__(dut, seed)
        self.unit = commands(self.case)
        self.layout, self.rng = run_layout(self.config, self.part.timing), self.tb.rng
        self.longest = self.layout["beats"].shape.stop - 1
        self.source = self.tb.source("runs", stalls)
        self.written, self.read, self.responses = [], [], []
        self.cycles, self.write_cycles = [], []  # of beats read and bursts written

    async def start(self):
        await super().start()
        cocotb.start_soon(self._watch())

    async def _watch(self):
        """A beat to write is always there; answers are what they are."""
        dut, config = self.dut, self.config
        while True:
            beat = self.rng.getrandbits(config.bus_bits), self.rng.getrandbits(config.bus_bytes)
            dut.write_data.value, dut.write_strobe.value = beat
            while True:
                await RisingEdge(dut.clk)
                if harness.peek(dut.read_done):
                    found = harness.unpack(beat_layout(config), harness.peek(dut.read_beat))
                    self.read.append((harness.peek(dut.read_data), found["resp"], found["id"], found["last"]))
                    self.cycles.append(self.tb.cycle - 1)  # the bench has counted this edge
                if harness.peek(dut.written):
                    found = harness.unpack(beat_layout(config), harness.peek(dut.written_beat))
                    self.responses.append((found["resp"], found["id"]))
                    self.write_cycles.append(self.tb.cycle - 1)
                if harness.peek(dut.write_take):
                    break
            self.written.append(beat)

    def run(self, **fields):
        """A run within its row: random, but for `fields`."""
        rng, per_beat = self.rng, self.config.bus_bytes // self.part.timing.word_bytes
        beats = rng.choice([1, 1, 2, self.longest, rng.randrange(1, self.longest + 1)])
        beats = min(beats, self.longest)
        block = self.longest * rng.randrange((1 << self.part.timing.column_bits) // (self.longest * per_beat))
        rows = 1 << self.part.timing.row_bits
        self.source.send([harness.pack(self.layout, {
            "write": rng.randrange(2), "resp": rng.choice([0] * 6 + [2, 3]), "id": rng.randrange(1 << axi.ID_BITS),
            "last": rng.randrange(2), "beats": beats, "bank": rng.randrange(1 << BANK_BITS),
            "column": (block + rng.randrange(self.longest - beats + 1)) * per_beat,
            "row": rng.choice([0, 1, rows - 1, rng.randrange(rows)])} | fields)])

    def most_refreshes(self, clocks):
        """None comes before it is wished for."""
        return clocks // (self.part.timing.refresh_clocks - self.unit.slack) + 1

    async def check(self):
        """Every beat, answer and word is the model's."""
        await self.source.drain()
        await self.tb.wait(200)  # the last runs are over
        assert not self.clock.done(), self.clock.result()
        runs = [harness.unpack(self.layout, each) for each in self.source.accepted]
        words = {}
        reads, responses = self.unit.model(runs, iter(self.written), words)
        assert len(self.written) == sum(run["beats"] for run in runs if run["write"])
        assert [found if wanted[0] is not None else (None, *found[1:])
                for found, wanted in zip(self.read, reads, strict=True)] == reads
        assert self.responses == responses
        assert all(self.part.memory[place] == word for place, word in words.items())
        assert all(words.get(place, 0) == word for place, word in self.part.memory.items())


async def random_runs(dut, seed, stalls, count):
    half = Half(dut, seed, stalls)
    await half.start()
    for _ in range(count):
        half.run()
    await half.check()
    assert 10 < half.part.refreshes <= INIT_REFRESHES + half.most_refreshes(half.tb.cycle)


@TEST
async def stalls(dut):
    await random_runs(dut, 1, 0.9, 300)


@TEST
async def no_stalls(dut):
    await random_runs(dut, 2, 0.0, 400)


@TEST
async def full_speed(dut):
    """Of a stream every word follows the last, but for the refreshes; a row in the next bank costs nothing."""
    half = Half(dut, 3)
    await half.start()
    timing, unit = half.part.timing, half.unit
    per_beat = unit.burst * unit.parts
    per_row = (1 << timing.column_bits) // (half.longest * per_beat)
    for write in (1, 0):
        begin, refreshes, words = half.tb.cycle, half.part.refreshes, half.part.words
        for n in range(8 * per_row):
            row, block = divmod(n, per_row)
            half.run(write=write, resp=0, last=1, beats=half.longest, bank=row % 4, row=row // 4,
                     column=block * half.longest * per_beat)
        await half.check()
        clocks = half.tb.cycle - 200 - begin
        refreshes, words = half.part.refreshes - refreshes, half.part.words - words
        assert words == 8 << timing.column_bits
        assert refreshes <= half.most_refreshes(clocks + 200) + INIT_REFRESHES * write
        # A refresh: the row's last write, PRE, REF, ACT, and the way to the first word.
        pause = unit.turnaround + unit.recovery + unit.t_rp + unit.t_rfc + unit.t_rcd + 8
        assert clocks - words <= (refreshes + 1) * pause + (timing.cycles(timing.t_init) + 9 * unit.t_rfc) * write
    gaps = [after - before for before, after in zip(half.cycles, half.cycles[1:], strict=False)]
    assert min(gaps) == per_beat and sum(gap > per_beat for gap in gaps) <= refreshes


@TEST
async def latency(dut):
    """A lone read of an open row: READ, CAS latency, the part's burst, and five registers."""
    half = Half(dut, 4)
    await half.start()
    half.run(write=0, resp=0, beats=1, bank=1, row=3)
    await half.check()
    half.run(write=0, resp=0, beats=1, bank=1, row=3)
    await half.check()
    io = CASES[half.case][3]
    most = half.part.timing.cas_latency + half.unit.burst * half.unit.parts + io + 5
    assert half.cycles[-1] - half.source.cycles[-1] == most, (half.cycles[-1] - half.source.cycles[-1], most)


@TEST
async def waits(dut):
    """No longer than the part asks for: a closed row, another row of the bank, a write behind a read."""
    half = Half(dut, 5)
    await half.start()
    unit, part = half.unit, half.part
    flight = part.timing.cas_latency + unit.burst + CASES[half.case][3] + 2  # from the last READ to its beat
    row, other = {"bank": 1, "row": 3}, {"bank": 1, "row": 5}
    await half.tb.wait(part.timing.cycles(part.timing.t_init) + 12 * unit.t_rfc)
    activate = max(unit.t_rcd, 3) - 1

    async def read(*places):
        """Clocks from the last of these runs to its beat, where no refresh comes between them."""
        while True:
            refreshes = part.refreshes
            for place in places:
                half.run(write=0, resp=0, beats=1, **place)
                await half.check()
            if part.refreshes == refreshes:
                return half.cycles[-1] - half.source.cycles[-1]

    opened = await read(row, row)
    assert await read(row, other) == opened + unit.t_rp + activate
    refreshes = part.refreshes
    while part.refreshes == refreshes:
        await half.tb.wait(1)
    await half.tb.wait(unit.t_rfc + 4)
    half.run(write=0, resp=0, beats=1, **row)
    await half.check()
    assert half.cycles[-1] - half.source.cycles[-1] == opened + activate
    for write in (0, 1):
        half.run(write=write, resp=0, beats=1, last=1, **row)
    await half.check()
    assert half.write_cycles[-1] - (half.cycles[-1] - flight) == unit.turnaround + (unit.parts - 1) * unit.burst


@TEST
async def rows(dut):
    """A row is told from another by every bit, in every bank; what the bus gets an error for is let be."""
    half = Half(dut, 6)
    await half.start()
    unit, part, rng = half.unit, half.part, half.rng
    reopened = unit.t_rp + max(unit.t_rcd, 3) - 1

    async def read(**fields):
        """Clocks from a run to its beat."""
        count = len(half.read)
        half.run(write=0, beats=1, **fields)
        while len(half.read) == count:
            await half.tb.wait(1)
        return half.cycles[-1] - half.source.cycles[-1]

    for bit in range(part.timing.row_bits):
        for bank in range(1 << BANK_BITS):
            row, refreshes = rng.randrange(1 << part.timing.row_bits), -1
            while refreshes != part.refreshes:  # none in between
                refreshes, here = part.refreshes, {"bank": bank, "row": row}
                await read(resp=0, **here)
                opened = await read(resp=0, **here)
                error = await read(resp=rng.choice([1, 2, 3]), bank=bank, row=row ^ 1 << bit)
                again = await read(resp=0, **here)
                other = await read(resp=0, bank=bank, row=row ^ 1 << bit)
            assert (error, again, other) == (opened, opened, opened + reopened), (bank, row, bit)
    await half.check()


@TEST
async def start_and_refresh(dut):
    """The start takes the time it must, and no more; with nothing else to do refreshes are as far apart as is safe.

    Then a row is opened at any of the clocks about a refresh, and one after it.
    """
    half = Half(dut, 7)
    await half.start()
    unit, part, timing = half.unit, half.part, half.part.timing
    seen = []
    for number in range(INIT_REFRESHES + 3):
        while part.refreshes == number:
            await half.tb.wait(1)
        seen.append(part.refreshed)
    first = timing.cycles(timing.t_init) + unit.t_rp  # PRE comes at once
    at_start = [first + number * unit.t_rfc for number in range(INIT_REFRESHES + 1)]
    assert [*seen[:INIT_REFRESHES], part.mode_set] == at_start
    gaps = [after - before for before, after in zip(seen[-4:], seen[-3:], strict=False)]
    assert gaps == [(between := timing.refresh_clocks - unit.slack + unit.t_rp + 3)] * 3
    for early in range(20):
        while part.now - part.refreshed != between - early:
            await half.tb.wait(1)
        half.run(resp=0, beats=1)
        half.run(resp=0, beats=1)
        await half.tb.wait(early + 1)
    await half.check()


@pytest.mark.parametrize("case", CASES)
def test_sdram_commands(sim, case):
    harness.run(commands(case), __name__, sim=sim, parameters=case)
