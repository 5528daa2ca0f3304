"""The sampler: first maximum, noise, the copy of the logits, throughput, and the distribution of tokens."""

import cocotb
import harness
import numpy as np
import pytest
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from scoville.config import get_config
from scoville.sampler import noise, sampler
from scoville.sampler.sampler import Sampler, sampler_command
from scoville.sampler.temperature import LEAST, MOST, inverse_temperature


class System:
    """A sampler with its streams."""

    def __init__(self, dut, seed, stalls):
        self.config = get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.dut = dut
        self.command, self.rows = tb.source("command", stalls), tb.source("i", stalls)
        self.token, self.dump = tb.sink("o", stalls), tb.sink("dump", stalls)

    async def start(self):
        await self.tb.reset()
        cocotb.start_soon(self._watch())

    async def _watch(self):
        """Busy from a command to its token, and no other command in between."""
        inside = 0
        while True:
            await RisingEdge(self.dut.clk)
            assert harness.peek(self.dut.busy) == inside
            inside += harness.moves(self.dut, "command") - harness.moves(self.dut, "o")

    def send(self, logits, **fields):
        layout = sampler_command(self.config)
        fields["invt"] = int(np.float32(fields["invt"]).view(np.uint32))
        self.command.send([harness.pack(layout, {"rows": len(logits)} | fields)])
        self.rows.send(int.from_bytes(row.astype("<f4").tobytes(), "little") for row in logits)

    def job(self, rows, invt):
        """Random logits and settings; few levels, so that equal maxima are common."""
        rng, lanes = self.tb.np_rng, self.config.lanes
        logits = (rng.integers(-40, 9, (rows, lanes)) / 4).astype(np.float32)
        fields = {"lane": int(rng.integers(lanes)), "invt": invt, "seed": int(rng.integers(1 << 63)),
                  "position": int(rng.integers(1 << 20))}
        return logits, fields


def expected(logits, lane, invt, seed, position):
    return sampler.model(logits[:, lane], invt, seed, position)


@cocotb.test()
async def under_stalls(dut):
    system = System(dut, 1, 0.3)
    rng = system.tb.rng
    await system.start()
    jobs = [system.job(rng.randint(1, 80), rng.choice([0, 0.3, 1, 4])) for _ in range(24)]
    jobs += [system.job(1, invt) for invt in (0, 1)]
    for logits, fields in jobs:
        system.send(logits, **fields)
    tokens = await system.token.receive(len(jobs))
    assert tokens == [expected(logits, **fields) for logits, fields in jobs]
    assert not system.dump.received


@cocotb.test()
async def dump_copies_the_lane(dut):
    system = System(dut, 2, 0.3)
    dut.dump_enable.value = 1
    await system.start()
    jobs = [system.job(50, invt) for invt in (0, 1, 0, 2)]
    for logits, fields in jobs:
        system.send(logits, **fields)
    tokens = await system.token.receive(len(jobs))
    assert tokens == [expected(logits, **fields) for logits, fields in jobs]
    copied = np.concatenate([logits[:, fields["lane"]] for logits, fields in jobs])
    assert (np.array(await system.dump.receive(len(copied)), np.uint32) == copied.view(np.uint32)).all()
    # A copy that waits holds up no logits that are not copied.
    system.dump.stalls, jobs = 1.0, [system.job(2, 0), system.job(50, 0)]
    for enable, (logits, fields) in zip((1, 0), jobs, strict=True):
        dut.dump_enable.value = enable
        system.send(logits, **fields)
        assert await system.token.receive(1) == [expected(logits, **fields)]
    assert len(system.dump.received) == len(copied) and harness.peek(dut.dump__valid)


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
    cases, differ = [], set()
    for word in words(rng):
        logits, fields = system.job(8, 0)
        kind = rng.randrange(3)
        if kind:  # large and small logits, which overflow and underflow with such a word; and zeros
            values = [0, 0x80000000, 1, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800000, 0xBF800000]
            pick = system.tb.np_rng.choice(np.array(values, np.uint32), logits.shape)
            logits = pick.view(np.float32) if kind == 1 else np.zeros_like(logits)
        fields["invt"] = np.uint32(word).view(np.float32)
        cases.append((logits, fields))
        system.send(logits, **fields)
    tokens = await system.token.receive(len(cases))
    for token, (logits, fields) in zip(tokens, cases, strict=True):
        wanted = expected(logits, **fields)
        assert token == wanted, (fields, logits[:, fields["lane"]])
        greedy = int(np.argmax(logits[:, fields["lane"]]))
        differ.add((sampler.is_greedy(int(fields["invt"].view(np.uint32)) >> 23 & 255), token == greedy))
    assert differ == {(False, False), (False, True), (True, True)}


@cocotb.test()
async def close_contests(dut):
    """Two rows whose scores are neighbours: every bit of the factor, of the seed and of the position decides, whatever
    the number of rows."""
    system = System(dut, 5, 0.0)
    rng, np_rng = system.tb.rng, system.tb.np_rng
    await system.start()
    cases, tokens = [], set()
    for turn in range(160):
        rows = rng.randrange(1 << 10, 1100) if turn < 4 else 2
        invt = np.float32(np_rng.uniform(1, 2) * 2.0 ** rng.randrange(-3, 3))
        fields = {"lane": rng.randrange(system.config.lanes), "seed": rng.getrandbits(64),
                  "position": rng.getrandbits(32), "invt": invt}
        first, second = noise.model(fields["seed"], fields["position"], 2).astype(np.float64)
        logits = np_rng.standard_normal((rows, system.config.lanes)).astype(np.float32)
        logits[2:] = -1e30
        near = np.float32((float(logits[0, fields["lane"]]) * float(fields["invt"]) + first - second) / fields["invt"])
        logits[1, fields["lane"]] = np.nextafter(near, np.float32(rng.choice([-9, 9])))
        cases.append((logits, fields))
        system.send(logits, **fields)
    for token, (logits, fields) in zip(await system.token.receive(len(cases)), cases, strict=True):
        assert token == expected(logits, **fields), fields
        tokens.add(token)
    assert tokens == {0, 1}


@cocotb.test()
async def many_rows(dut):
    """More rows than 2^19, the largest near the end; they come a row a cycle, most of them without Python."""
    config, tb, rows = get_config(harness.parameters()), harness.Bench(dut, 6), (1 << 19) + 40
    low, high = (int.from_bytes(np.full(config.lanes, value, "<f4").tobytes(), "little") for value in (-1, 1))
    dut.rst.value = 1
    Clock(dut.clk, harness.PERIOD, "ns").start()
    await tb.wait(harness.RESET_CYCLES)
    dut.rst.value = 0
    dut.command__payload.value = harness.pack(sampler_command(config), {"rows": rows})
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
        logits, fields = system.job(6, system.tb.rng.choice([0, 1]))
        system.send(logits, rows=(1 << bit) + bit % 2 * 6, **fields)  # 6 is where all but this bit would be over
        await system.rows.drain()
        await system.tb.wait(60)
        assert not system.token.received and harness.peek(dut.busy), bit


@cocotb.test()
async def full_throughput(dut):
    system = System(dut, 3, 0.0)
    await system.start()
    for invt, wait in ((0, 2), (1, 44)):
        logits, fields = system.job(300, invt)
        start, first = system.tb.cycle, len(system.rows.cycles)
        system.send(logits, **fields)
        assert await system.token.receive(1) == [expected(logits, **fields)]
        cycles = system.rows.cycles[first:]
        assert cycles[-1] - cycles[2] == 297  # two wait at the input until the noise comes
        assert cycles[2] - start <= wait + 4
        assert system.token.cycles[-1] - cycles[-1] == 9


@pytest.mark.parametrize("config", ["slim", "kria"])
def test_sampler(sim, config):
    harness.run(Sampler(get_config(config)), __name__, sim=sim, parameters=config)


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
