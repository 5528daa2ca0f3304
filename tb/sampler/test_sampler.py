"""The sampler: first maximum, noise, the copies of the logits, throughput, and the distribution of tokens."""

from dataclasses import replace
from types import SimpleNamespace

import cocotb
import harness
import numpy as np
import pytest
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from scoville.config import TILE_ROWS, get_config
from scoville.isa import POSITION_BITS
from scoville.memory.dump import copy_layout
from scoville.sampler import noise, sampler
from scoville.sampler.sampler import Sampler
from scoville.sampler.temperature import LEAST, MOST, inverse_temperature
from scoville.sampler.walk import Walk, sampling_seats
from scoville.schedule.seats import PassState, Sampling

MANY = {"nano": {}, "kria": {}, "slim": {"slots": 2}, "duo": {"phases": 4}}  # where a phase may have nobody who samples


def configuration(name):
    """Named, or with more slots than one: "many" in front of the name."""
    base = name.removeprefix("many ")
    return get_config(name) if base == name else replace(get_config(base), **{"slots": 4} | MANY[base])


class System:
    """A sampler with its streams."""

    def __init__(self, dut, seed, stalls):
        self.config = configuration(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.dut = dut
        self.command, self.rows = tb.source("command", stalls), tb.source("i", stalls)
        self.token, self.dump = tb.sink("o", stalls), tb.sink("dump", stalls)
        self.due = 0  # tokens

    async def start(self):
        await self.tb.reset()
        cocotb.start_soon(self._watch())

    async def _watch(self):
        """Busy from a command to its last token, and no other command in between."""
        inside = 0
        while True:
            await RisingEdge(self.dut.clk)
            assert harness.peek(self.dut.busy) == (inside > 0)
            if harness.moves(self.dut, "command"):
                assert not inside
                inside = self.due
            inside -= harness.moves(self.dut, "o")

    def job(self, rows, invt, *, logits_at=0.0, samples=0.5, **fields):
        """Random seats, settings and logits; few levels, so that equal maxima are common.

        `invt` is a number, or a function that gives one for each seat; `logits_at` how many have a place for logits.
        """
        rng, np_rng, config = self.tb.rng, self.tb.np_rng, self.config
        pick = invt if callable(invt) else lambda: invt
        tokens = rng.randint(1, config.seats)
        seats = [{"position": rng.getrandbits(20), "token": rng.getrandbits(32)} for _ in range(config.seats)]
        if config.slots > 1:
            for seat in seats:
                seat |= {"slot": rng.randrange(config.slots), "samples": int(rng.random() < samples)}
            seats[rng.randrange(tokens)]["samples"] = 1
        state = {"tokens": tokens, "last": 1, "seats": seats}
        choices = config.seats if config.slots > 1 else 1
        sampling = [{"seed": rng.getrandbits(64), "invt": int(np.float32(pick()).view(np.uint32)),
                     "logits": rng.getrandbits(config.addr_bits) | 1 if rng.random() < logits_at else 0}
                    for _ in range(choices)]
        logits = (np_rng.integers(-40, 9, (rows, config.seats)) / 4).astype(np.float32)
        job = SimpleNamespace(state=state, sampling=sampling, logits=logits, rows=rows,
                              numbers=sampling_seats(config, state))
        for name, value in fields.items():
            for choice in sampling:
                choice[name] = value
        return job

    def choice(self, job, seat):
        return job.sampling[seat if self.config.slots > 1 else 0]

    def expected(self, job):
        """The tokens."""
        return [sampler.model(job.logits[:, seat], np.uint32(self.choice(job, seat)["invt"]).view(np.float32),
                              self.choice(job, seat)["seed"], job.state["seats"][seat]["position"])
                for seat in job.numbers]

    def copies(self, job):
        """What comes to `dump`: dicts of what counts of `copy_layout`."""
        places = [bool(self.choice(job, seat)["logits"]) for seat in job.numbers]
        if not any(places):
            return []
        items = []
        for row, seat, _, closes in Walk.model(self.config, job.state, job.rows):
            kept = seat in job.numbers and bool(self.choice(job, seat)["logits"])
            item = {"word": int(job.logits[row, seat].view(np.uint32)), "last": int(closes)}
            if self.config.slots > 1:
                item |= {"row": row, "seat": seat, "kept": int(kept)}
            else:
                item["last"] = int(row == job.rows - 1)
            items.append(item)
        return items

    def send_rows(self, job):
        """As the chain does: 32 rows of each phase."""
        lanes = self.config.lanes
        for first in range(0, len(job.logits), TILE_ROWS):
            for phase in range(job.numbers[0] // lanes, job.numbers[-1] // lanes + 1):
                block = job.logits[first:first + TILE_ROWS, phase * lanes:(phase + 1) * lanes]
                self.rows.send(int.from_bytes(row.astype("<f4").tobytes(), "little") for row in block)

    async def command_of(self, job):
        """Settings, and a cycle later the command."""
        self.dut.state.value = harness.pack(PassState(self.config), job.state)
        self.dut.sampling.value = harness.pack(Sampling(self.config), job.sampling)
        self.due = len(job.numbers)
        await self.tb.wait(1)
        self.command.send([job.rows])

    async def run(self, jobs):
        """All of them; the rows of the next ones wait while one runs. Their tokens, compared."""
        for job in jobs:
            self.send_rows(job)
        found = []
        for job in jobs:
            await self.command_of(job)
            tokens = await self.token.receive(len(job.numbers))
            assert tokens == self.expected(job), (job.state, job.sampling)
            found.append(tokens)
        return found

    async def check_dump(self, jobs):
        wanted = [item for job in jobs for item in self.copies(job)]
        layout = copy_layout(self.config)
        for packed, item in zip(await self.dump.receive(len(wanted)), wanted, strict=True):
            assert harness.unpack(layout, packed) == item
        assert len(self.dump.received) == self.dump._taken


@cocotb.test()
async def under_stalls(dut):
    system = System(dut, 1, 0.3)
    rng = system.tb.rng
    await system.start()
    jobs = [system.job(rng.randint(1, 80), lambda: rng.choice([0, 0.3, 1, 4])) for _ in range(16)]
    jobs += [system.job(1, invt) for invt in (0, 1)] + [system.job(40, 1, samples=1), system.job(33, 0, samples=1)]
    await system.run(jobs)
    assert not system.dump.received


@cocotb.test()
async def dump_copies(dut):
    """Every logit that counts, with its row and seat and the ends; none where nobody wants them."""
    system = System(dut, 2, 0.3)
    rng = system.tb.rng
    await system.start()
    jobs = [system.job(rng.choice([1, 32, 33, 50]), lambda: rng.choice([0, 1, 2]), logits_at=chance)
            for chance in (1, 1, 0.5, 0.5, 0.2, 0.2)]
    await system.run(jobs)
    await system.check_dump(jobs)
    # A copy that waits holds up no logits that are not copied.
    system.dump.stalls = 1.0
    await system.tb.wait(1)
    count = len(system.dump.received)
    one = system.job(1, 0, logits_at=1, samples=0)
    while len(one.numbers) > 1:
        one = system.job(1, 0, logits_at=1, samples=0)
    await system.run([one])
    await system.run([system.job(50, 0)])
    assert len(system.dump.received) == count and harness.peek(dut.dump__valid)


def words(rng):
    """Words of the register TEMPERATURE: every exponent field with either sign, the corners, and any."""
    fields = [sign << 31 | field << 23 for sign in (0, 1) for field in range(256)]
    corners = [0x7F7FFFFF, 0x7F800001, 0x7FC00000, 0xFFFFFFFF, 1, 0x007FFFFF, 0x00800000, 0x00800001, 0x80000001]
    return fields + corners + [rng.getrandbits(32) for _ in range(100)]


@cocotb.test()
async def every_temperature(dut):
    """Infinities, NaN, subnormal and negative values: the model's token for each word that the register could hold."""
    system = System(dut, 4, 0.0)
    rng = system.tb.rng
    await system.start()
    differ, left = set(), words(rng)
    while left:
        job = system.job(8, 0)
        kind = rng.randrange(3)
        if kind:  # large and small logits, which overflow and underflow with such a word; and zeros
            values = [0, 0x80000000, 1, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800000, 0xBF800000]
            pick = system.tb.np_rng.choice(np.array(values, np.uint32), job.logits.shape)
            job.logits = pick.view(np.float32) if kind == 1 else np.zeros_like(job.logits)
        for seat in job.numbers:
            system.choice(job, seat)["invt"] = left.pop() if left else 0
        for seat, token in zip(job.numbers, (await system.run([job]))[0], strict=True):
            greedy = int(np.argmax(job.logits[:, seat]))
            differ.add((sampler.is_greedy(system.choice(job, seat)["invt"] >> 23 & 255), token == greedy))
    assert differ == {(False, False), (False, True), (True, True)}


@cocotb.test()
async def close_contests(dut):
    """Two rows whose scores are neighbours: every bit of the factor, of the seed and of the position decides, whatever
    the number of rows."""
    system = System(dut, 5, 0.0)
    rng, np_rng = system.tb.rng, system.tb.np_rng
    await system.start()
    tokens = set()
    for turn in range(160):
        rows = rng.randrange(1 << 10, 1100) if turn < 4 // system.config.seats else 2
        job = system.job(rows, 0)
        job.logits = np_rng.standard_normal(job.logits.shape).astype(np.float32)
        job.logits[2:] = -1e30
        for seat in job.numbers:
            invt = np.float32(np_rng.uniform(1, 2) * 2.0 ** rng.randrange(-3, 3))
            choice, place = system.choice(job, seat), job.state["seats"][seat]
            choice["invt"], place["position"] = int(invt.view(np.uint32)), rng.getrandbits(POSITION_BITS)
            first, second = noise.model(choice["seed"], place["position"], 2).astype(np.float64)
            near = np.float32((float(job.logits[0, seat]) * float(invt) + first - second) / invt)
            job.logits[1, seat] = np.nextafter(near, np.float32(rng.choice([-9, 9])))
        tokens |= set((await system.run([job]))[0])
    assert tokens == {0, 1}


@cocotb.test()
async def many_rows(dut):
    """More rows than 2^19, the largest near the end; they come a row a cycle, most of them without Python."""
    config, tb, rows = configuration(harness.parameters()), harness.Bench(dut, 6), (1 << 19) + 40
    low, high = (int.from_bytes(np.full(config.lanes, value, "<f4").tobytes(), "little") for value in (-1, 1))
    dut.state.value = harness.pack(PassState(config), {"tokens": 1})
    dut.rst.value = 1
    Clock(dut.clk, harness.PERIOD, "ns").start()
    await tb.wait(harness.RESET_CYCLES)
    dut.rst.value = 0
    await tb.wait(1)
    dut.command__payload.value = rows
    dut.command__valid.value, dut.i__valid.value, dut.i__payload.value = 1, 1, low
    taken = 0
    while taken < rows:
        await RisingEdge(dut.clk)
        taken += harness.moves(dut, "i")
        if harness.moves(dut, "command"):
            dut.command__valid.value = 0
        if taken == 16:  # from now on each cycle takes one
            await Timer((rows - 32) * harness.PERIOD + harness.PERIOD // 2, "ns")
            taken += rows - 32
        dut.i__payload.value = high if taken == rows - 9 else low
    dut.i__valid.value = 0
    await tb.wait(16)
    assert harness.peek(dut.o__valid) and harness.peek(dut.o__payload) == rows - 9


@cocotb.test()
async def long_commands(dut):
    """The first rows of commands too long to be read here: no token, and the next row is taken."""
    system = System(dut, 7, 0.0)
    for bit in range(3, 24):
        await system.tb.reset()
        job = system.job(6, system.tb.rng.choice([0, 1]))
        job.rows = (1 << bit) + bit % 2 * 6  # 6 is where all but this bit would be over
        system.send_rows(job)
        await system.command_of(job)
        await system.rows.drain()
        await system.tb.wait(60)
        assert not system.token.received and harness.peek(dut.busy), bit


@cocotb.test()
async def full_throughput(dut):
    """A row a cycle, or a value a cycle; the tokens at once behind the last of them."""
    system = System(dut, 3, 0.0)
    several = system.config.slots > 1
    await system.start()
    for invt, wait in ((0, 2), (1, 45 if several else 44)):
        for samples in (0, 1) if several else (0,):
            job = system.job(300, invt, samples=samples, logits_at=1)
            start, first, marks = system.tb.cycle, len(system.rows.cycles), len(system.dump.cycles)
            await system.run([job])
            cycles, copies = system.rows.cycles[first:], system.dump.cycles[marks:]
            if not several:
                assert cycles[-1] - cycles[2] == 297  # two wait at the input until the noise comes
                assert cycles[2] - start <= wait + 5
            values = len(Walk.model(system.config, job.state, 300))
            assert copies[-1] - copies[0] == values - 1
            tokens = system.token.cycles[-len(job.numbers):]
            assert tokens[-1] - tokens[0] == len(tokens) - 1
            assert tokens[0] - copies[-1] == 7 + several
            assert copies[0] - start <= wait + 6


@pytest.mark.parametrize("config", ["nano", "kria"])
def test_sampler(sim, config):
    harness.run(Sampler(get_config(config)), __name__, sim=sim, parameters=config)


@pytest.mark.parametrize("config", MANY)
def test_many(sim, config):
    config = f"many {config}"
    harness.run(Sampler(configuration(config)), __name__, sim=sim, parameters=config,
                testcase=["under_stalls", "dump_copies", "close_contests", "full_throughput"])


def test_inverse_temperature():
    """Always zero or a positive normal number, the nearest to 1 / (T ln 2); refused beyond the limits."""
    for temperature in (LEAST, 1e-29, 1e-6, 0.7, 1, 100, MOST):
        value = inverse_temperature(temperature)
        assert np.isfinite(value) and value >= np.finfo(np.float32).tiny
        assert abs(float(value) * temperature * np.log(2) - 1) < 2.0**-24
    for temperature in (0, 5e-324, 1e-300, 1e-46, 1e-39, 5e-39, 9.9e-31):
        assert inverse_temperature(temperature) == 0
    for temperature in (-1e-9, -0.5, np.nextafter(MOST, 1e39), 1e46, 1e300, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="must be 0 .* to 1e\\+38"):
            inverse_temperature(temperature)


@pytest.mark.parametrize("temperature", [0, 1e-300, 5e-39, 9e-31, LEAST, 1e-20, 1e-9])
def test_tiny_temperatures_take_the_largest_logit(temperature):
    """Also among large logits, which saturate when they are multiplied by too much."""
    rng = np.random.default_rng(1)
    for position in range(50):
        logits = (rng.choice([1, 30, 1e6]) * rng.standard_normal(64)).astype(np.float32)
        assert sampler.model(logits, inverse_temperature(temperature), 7, position) == logits.argmax()


def test_tokens_follow_the_softmax():
    logits, temperature, draws = np.array([2, 0, 1, -3, 1.5, 0.25], np.float32), 0.7, 4000
    invt = np.float32(1 / (temperature * np.log(2)))
    counts = np.bincount([sampler.model(logits, invt, 11, position) for position in range(draws)], minlength=6)
    wanted = np.exp(logits / temperature)
    wanted *= draws / wanted.sum()
    assert ((counts - wanted) ** 2 / wanted).sum() < 20.5  # chi squared, 5 degrees of freedom, 0.1 %
