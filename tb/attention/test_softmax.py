"""Softmax against its model: pages, lanes that see different tokens, commands back to back, stalls and throughput."""

from collections import deque

import cocotb
import harness
import numpy as np
import pytest
from cocotb.triggers import RisingEdge
from programs import with_slots
from scoville.array.drain import drain_row
from scoville.attention.denominator import FRACTION_BITS
from scoville.attention.softmax import Softmax, model, softmax_command_layout
from scoville.isa import PAGE_BITS, POSITION_BITS

LATENCY = 20  # from the last score of a page to its first output


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32)


class Command:
    """One random command and what the model makes of it."""

    def __init__(self, rng, config, *, pages, head_blocks, spread=8.0, positions=None, phases=None):
        seats = config.seats
        self.phases = range(phases or int(rng.integers(1, config.phases + 1)))
        if config.slots > 1:  # they may begin with any
            self.phases = self.phases[int(rng.integers(len(self.phases))):]
        self.config, self.pages, self.head_blocks = config, pages, head_blocks
        if positions is None:
            # The last tokens of a chunk: one a seat, possibly over a page boundary.
            first = max(0, 32 * pages - int(rng.integers(1, 32 if pages == 1 else 48)))
            positions = np.minimum(first + np.arange(seats), 32 * pages - 1)
        self.positions = np.asarray(positions)
        self.mask = np.array([seat // config.lanes in self.phases and rng.random() < 0.8 for seat in range(seats)])
        self.mask[self.phases[0] * config.lanes] = True
        self.scores = rng.normal(0, spread, (pages, 32, seats)).astype(np.float32)
        self.ev8 = rng.integers(90, 140, (pages, head_blocks, 32)).astype(np.uint8)
        self.scale = np.float32(rng.uniform(0.1, 1.5))
        self.update()

    def update(self):
        self.probabilities, self.shifts, self.factor = model(self.scores, self.positions, self.ev8, self.scale)

    def command(self):
        return harness.pack(softmax_command_layout(self.config), {
            "scale": int(bits(self.scale)), "pages": self.pages, "head_blocks": self.head_blocks,
            "last_phase": self.phases[-1],
            "positions": [int(p) for p in self.positions], "mask": sum(int(v) << k for k, v in enumerate(self.mask)),
        } | ({"first_phase": self.phases[0]} if self.config.slots > 1 else {}))

    def rows(self):
        layout, lanes = drain_row(self.config), self.config.lanes
        return [harness.pack(layout, {"row": row, "phase": phase, "values": [
            int(v) for v in bits(page[row, phase * lanes:(phase + 1) * lanes])]})
            for page in self.scores for phase in self.phases for row in range(32)]

    def beats(self):
        beats = []
        for page in self.ev8:
            header = page.tobytes().ljust(-(-page.size // self.config.bus_bytes) * self.config.bus_bytes, b"\xa5")
            beats += [int.from_bytes(header[k:k + self.config.bus_bytes], "little")
                      for k in range(0, len(header), self.config.bus_bytes)]
        return beats

    def check(self, outputs, shifts, factor=None):
        lanes, mask = self.config.seats, self.mask
        got = np.array([[o >> 32 * lane & 0xFFFFFFFF for lane in range(lanes)] for o in outputs], np.uint32)
        wanted = bits(self.probabilities).reshape(-1, lanes)
        wrong = np.argwhere((got != wanted)[:, mask])
        assert not len(wrong), f"outputs {wrong[:4].tolist()}: {got[wrong[0][0]]}, not {wanted[wrong[0][0]]}"
        got = np.array([[s >> 8 * lane & 255 for lane in range(lanes)] for s in shifts])
        assert (got == self.shifts)[:, mask].all(), f"shifts {got.tolist()}, not {self.shifts.tolist()}"
        if factor is None:
            return
        got = np.array([factor >> 32 * lane & 0xFFFFFFFF for lane in range(lanes)], np.uint32)
        assert (got == bits(self.factor))[mask].all(), f"factor {got}, not {bits(self.factor)}"


async def watch_busy(dut, items):
    """Busy while a command is inside, which gives so many items of all three outputs."""
    items, inside = deque(items), 0
    while True:
        await RisingEdge(dut.clk)
        assert harness.peek(dut.busy) or inside == 0
        inside -= sum(harness.moves(dut, name) for name in ("o", "shift", "factor"))
        if harness.moves(dut, "command"):
            inside += items.popleft()


async def play(dut, seed, make, stalls, slow=None):
    """Run the commands that `make(rng, config)` gives, and check all that comes out. Returns (bench, output sink).

    `slow` is the name of an output that is taken once in 400 cycles.
    """
    config = with_slots(harness.parameters()["config"])
    tb = harness.Bench(dut, seed)
    commands, rows, beats = (tb.source(name, stalls) for name in ("command", "i", "exponents"))
    outputs, shifts, factors = sinks = [tb.sink(name, stalls) for name in ("o", "shift", "factor")]
    await tb.reset()
    for sink in sinks:
        sink.every = 400 if sink.name == slow else 1
    jobs = make(tb.np_rng, config)
    cocotb.start_soon(watch_busy(dut, [job.pages * (32 * job.head_blocks + 1) + 1 for job in jobs]))
    for job in jobs:
        commands.send([job.command()])
        rows.send(job.rows())
        beats.send(job.beats())
    for job in jobs:
        took = await outputs.receive(job.pages * job.head_blocks * 32)
        job.check(took, await shifts.receive(job.pages), (await factors.receive(1))[0])
    await tb.wait(2)
    assert not dut.busy.value, "busy after the last factor"
    return tb, rows, outputs


def random_commands(rng, config):
    jobs = []
    for _ in range(8):
        jobs.append(Command(rng, config, pages=int(rng.integers(1, 5)),
                            head_blocks=int(rng.integers(1, config.max_head_blocks + 1)),
                            spread=float(rng.choice([0.01, 3.0, 100.0]))))
    return jobs


def corner_commands(rng, config):
    """Steps of the maximum beyond 255, saturated scores, equal scores, and a single token."""
    lanes = config.seats
    rising = Command(rng, config, pages=4, head_blocks=2, positions=[127] * lanes)
    rising.scores[:] = np.array([-1e4, -3e3, 5.0, 1e4], np.float32)[:, None, None]
    lowest = Command(rng, config, pages=2, head_blocks=1, positions=[63] * lanes)
    lowest.scale, lowest.scores[0] = np.float32(1), -3e38  # the first maximum is the least there is
    lowest.scores[1] = rng.integers(-32768, -32760, (32, lanes))
    huge = Command(rng, config, pages=3, head_blocks=1, positions=[95] * lanes)
    huge.scores[:] = rng.choice(np.array([3e38, -3e38, 1e9, 0, 1e-40], np.float32), huge.scores.shape)
    single = Command(rng, config, pages=1, head_blocks=1, positions=[0] * lanes)
    wide = Command(rng, config, pages=2, head_blocks=config.max_head_blocks, positions=[63] * lanes)
    wide.ev8[:] = rng.choice(np.array([0, 1, 127, 254, 255], np.uint8), wide.ev8.shape)
    behind = Command(rng, config, pages=3, head_blocks=1, positions=[k % 33 for k in range(lanes)])
    behind.scores[1:] += 100
    jobs = [rising, lowest, huge, single, wide, behind]
    jobs += [Command(rng, config, pages=pages, head_blocks=blocks) for pages in (1, 2, 6) for blocks in (1, 2)]
    for job in jobs:
        job.update()
    return jobs


def ties(rng, config):
    """Sums that are halfway between two FP32 numbers, or but for one bit, each that the sum has below them, mostly the
    last; the bits above are any."""
    nothing = 100
    for bit in (*range(25, FRACTION_BITS), *(FRACTION_BITS, nothing) * 8):
        job = Command(rng, config, pages=1, head_blocks=1, positions=[31] * config.seats)
        job.scale = np.float32(1)
        job.scores[:] = -nothing
        for seat in range(config.seats):
            above = rng.choice(np.arange(5, 23), 14, replace=False)
            job.scores[0, rng.choice(32, 17, replace=False), seat] = 0, -24, -bit, *-above
        job.update()
        yield job


def wide_commands(rng, config):
    """Fields of any size: positions, scales, exponents of V, blocks, and many pages."""
    for bit in range(POSITION_BITS):
        job = Command(rng, config, pages=1, head_blocks=1, positions=rng.integers(1 << bit, 2 << bit, config.seats))
        exponent = int(rng.integers(-60, 60))
        job.scale = np.float32(rng.choice([-1, 1]) * rng.uniform(1, 2) * 2.0**exponent)
        job.scores *= np.float32(2.0**-exponent)
        job.ev8 = rng.integers(0, 256, job.ev8.shape).astype(np.uint8)
        job.update()
        yield job
    yield Command(rng, config, pages=2, head_blocks=15)
    yield Command(rng, config, pages=66, head_blocks=1,
                  positions=[int(rng.choice([1023, 1024, 2047, 2048, 2079])) for _ in range(config.seats)])


@cocotb.test()
async def wide_fields(dut):
    await play(dut, 7, lambda rng, config: list(wide_commands(rng, config)), 0.0)


@cocotb.test()
async def long_commands(dut):
    """The first page of commands too long to be read here: it is not the last."""
    config, tb = with_slots(harness.parameters()["config"]), harness.Bench(dut, 8)
    commands, rows, beats = (tb.source(name) for name in ("command", "i", "exponents"))
    outputs, shifts, factors = (tb.sink(name) for name in ("o", "shift", "factor"))
    for pages in [(1 << bit) + more for bit in range(1, PAGE_BITS) for more in (0, 1)]:
        await tb.reset()
        job = Command(tb.np_rng, config, pages=1, head_blocks=1)
        rows.send(job.rows())
        beats.send(job.beats())
        job.pages = pages
        commands.send([job.command()] * 2)
        took = await outputs.receive(32)
        await tb.wait(config.seats + 40)
        assert harness.peek(dut.busy) and len(commands.accepted) == 1 and not factors.received
        job.check(took, shifts.received)


@cocotb.test()
async def rounded_sums(dut):
    await play(dut, 5, lambda rng, config: list(ties(rng, config)), 0.0)


@cocotb.test()
@cocotb.parametrize(slow=["shift", "factor"])
async def slow_receiver(dut, slow):
    """What nobody takes holds up the pages behind it, and nothing is lost."""
    await play(dut, 6, lambda rng, config: [Command(rng, config, pages=1, head_blocks=1) for _ in range(9)], 0.0, slow)


@cocotb.test()
async def random_stalls(dut):
    await play(dut, 1, random_commands, 0.3)


@cocotb.test()
async def no_stalls(dut):
    await play(dut, 2, random_commands, 0.0)


@cocotb.test()
async def corners(dut):
    await play(dut, 3, corner_commands, 0.2)


@cocotb.test()
async def throughput(dut):
    """A page in 32 * head_blocks + 1 cycles, also between commands; two pages of one block in 73."""
    def make(rng, config):
        blocks = [1, config.max_head_blocks]
        return [Command(rng, config, pages=4, head_blocks=b, positions=[127] * config.seats, phases=1)
                for b in blocks for _ in "12"]

    _, rows, outputs = await play(dut, 4, make, 0.0)
    config = with_slots(harness.parameters()["config"])
    starts = []
    position = 0
    for blocks in [1] * 8 + [config.max_head_blocks] * 8:
        starts.append((outputs.cycles[position], blocks))
        position += 32 * blocks
    for (start, blocks), (_, after), (following, _) in zip(starts, starts[1:], starts[2:], strict=False):
        if blocks == after:
            assert following - start == (73 if blocks == 1 else 2 * (32 * blocks + 1)), starts
    assert outputs.cycles[0] - rows.cycles[31] == LATENCY


@pytest.mark.parametrize("config", ["nano", "duo", "slim", "kria"])
def test_softmax(sim, config):
    harness.run(Softmax(with_slots(config)), __name__, sim=sim, parameters={"config": config})


@pytest.mark.parametrize("config", ["duo 4"])
def test_of_many(sim, config):
    harness.run(Softmax(with_slots(config)), __name__, sim=sim, parameters={"config": config})


def test_model_is_softmax():
    """The model against float64 arithmetic."""
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 4, (3, 32, 7)).astype(np.float32)
    positions = rng.integers(0, 96, 7)
    ev8 = np.full((3, 1, 32), 127, np.uint8)
    probabilities, shifts, factor = model(scores, positions, ev8, np.float32(1.25))
    # Probabilities of a page are relative to its maximum; bring them to the last page's.
    later = np.cumsum(shifts[::-1], axis=0)[::-1] - shifts
    scaled = probabilities[:, 0].astype(np.float64) * 2.0 ** -later[:, None] * factor
    exact = np.where(np.arange(96).reshape(3, 32, 1) <= positions, np.exp2(1.25 * scores.astype(np.float64)), 0)
    exact /= exact.sum((0, 1))
    assert np.abs(scaled - exact).max() < 1e-6


def test_model_takes_heads():
    """Lanes and heads at once give what each head gives alone."""
    rng = np.random.default_rng(6)
    scores = rng.normal(0, 4, (2, 32, 3, 5)).astype(np.float32)
    positions = rng.integers(0, 64, (3, 5))
    ev8 = rng.integers(100, 130, (2, 2, 32, 3, 1)).astype(np.uint8)
    together = model(scores, positions, ev8, np.float32(0.3))
    for head in range(3):
        alone = model(scores[:, :, head], positions[head], ev8[..., head, 0], np.float32(0.3))
        np.testing.assert_array_equal(together[0][..., head, :], alone[0])
        np.testing.assert_array_equal(together[1][:, head], alone[1])
        np.testing.assert_array_equal(together[2][head], alone[2])
