"""The logits dump of many seats: every seat's rows in their places, nothing else written, its speed."""

from dataclasses import replace

import cocotb
import harness
import pytest
from scoville.config import TILE_ROWS, get_config
from scoville.memory.dump import copy_layout
from scoville.memory.tile_dump import TileDump
from scoville.memory.writer import write_command_layout, write_data_layout
from scoville.sampler.walk import Walk, sampling_seats
from scoville.schedule.seats import Sampling

SIZES = {"nano": {}, "kria": {}, "slim": {}, "duo": {"bus_bytes": 128}, "wide": {"bus_bytes": 256}}


def configuration(name):
    return replace(get_config(name), slots=4, **SIZES[name])


class System:
    """A dump between a sampler and a writer."""

    def __init__(self, dut, seed, *, words=0.0, writer=0.0):
        self.config, self.dut = configuration(harness.parameters()), dut
        self.tb = tb = harness.Bench(dut, seed)
        self.words = tb.source("i", words)
        self.command, self.data = tb.sink("command", writer), tb.sink("data", writer)

    def matrix(self, rows, *, samples=0.6, kept=0.7):
        """(sampling, copies) of random seats; one of them at least is kept."""
        config, rng = self.config, self.tb.rng
        seats = [{"samples": int(rng.random() < samples)} for _ in range(config.seats)]
        state = {"tokens": rng.randint(1, config.seats), "seats": seats}
        one = rng.randrange(state["tokens"])
        seats[one]["samples"] = 1
        limit = 1 << config.addr_bits
        sampling = [{"logits": rng.choice([1 << rng.randrange(12, config.addr_bits), rng.randrange(limit)])
                     // config.bus_bytes * config.bus_bytes} for _ in seats]
        numbers = sampling_seats(config, state)
        wanted = {seat for seat in numbers if rng.random() < kept} | {one}
        items = [{"word": rng.getrandbits(32), "row": row, "seat": seat, "kept": int(seat in wanted),
                  "last": int(closes)} for row, seat, _, closes in Walk.model(config, state, rows)]
        return sampling, items

    def send(self, sampling, items):
        self.dut.sampling.value = harness.pack(Sampling(self.config), sampling)
        self.words.send(harness.pack(copy_layout(self.config), item) for item in items)

    async def check(self, sampling, items):
        """A write for each burst; its words where they belong, and no other byte."""
        config, bus = self.config, self.config.bus_bytes
        for address, words in TileDump.model(config, sampling, items):
            command = harness.unpack(write_command_layout(config), (await self.command.receive(1))[0])
            aligned = address // bus * bus
            count = -(-(address - aligned + 4 * len(words)) // bus)
            assert command == {"address": aligned, "beats": count}
            wanted = {address + 4 * number + byte: word >> 8 * byte & 255
                      for number, word in enumerate(words) for byte in range(4)}
            found = {}
            for number, packed in enumerate(await self.data.receive(count)):
                beat = harness.unpack(write_data_layout(config), packed)
                found |= {aligned + number * bus + byte: beat["data"] >> 8 * byte & 255
                          for byte in range(bus) if beat["strobe"] >> byte & 1}
            assert found == wanted
        await self.words.drain()  # those that are not kept
        await self.tb.wait(5)
        assert not harness.peek(self.dut.busy)
        assert len(self.command.received) == self.command._taken and len(self.data.received) == self.data._taken


@cocotb.test()
@cocotb.parametrize(words=[0.0, 0.6], writer=[0.0, 0.5])
async def matrices(dut, words, writer):
    system = System(dut, int(10 * words + 100 * writer), words=words, writer=writer)
    rng = system.tb.rng
    await system.tb.reset()
    for rows in (1, 2, 31, 32, 33, 64, 65, rng.randint(1, 100), rng.randint(1, 100)):
        sampling, items = system.matrix(rows)
        system.send(sampling, items)
        while not system.words.accepted:
            assert not harness.peek(dut.busy)
            await system.tb.wait(1)
        await system.check(sampling, items)
        system.words.accepted.clear()


@cocotb.test()
async def busy_from_the_first_word(dut):
    """To the last beat, whoever keeps it waiting; and over where no word is kept."""
    system = System(dut, 3)
    await system.tb.reset()
    for rows, kept in ((1, 1), (5, 1), (32, 1), (5, 0)):
        item = {"seat": 0, "kept": kept, "word": 0}
        items = [item | {"row": row, "last": int(row == rows - 1)} for row in range(rows)]
        system.command.every = 1 << 30
        await system.tb.wait(2)
        sampling = [{"logits": 4096}] * system.config.seats
        for one in items:
            system.send(sampling, [one])
            await system.words.drain()
            await system.tb.wait(1)
            assert harness.peek(dut.busy)
        await system.tb.wait(40)
        assert harness.peek(dut.busy) == kept
        system.command.every = 1
        await system.check(sampling, items)


@cocotb.test()
async def high_rows(dut):
    """Every bit of a row's number is one of the address."""
    system = System(dut, 4)
    await system.tb.reset()
    for bit in range(5, 24):
        sampling, _ = system.matrix(1)
        items = [{"seat": 0, "kept": 1, "word": bit, "row": 1 << bit, "last": 1}]
        system.send(sampling, items)
        await system.check(sampling, items)


@cocotb.test()
async def stands_still(dut):
    """A writer that takes nothing: the first tile that has words, and the next, are taken, and nothing is lost."""
    system = System(dut, 6)
    await system.tb.reset()
    system.command.every = 1 << 30
    await system.tb.wait(2)
    sampling, items = system.matrix(300)
    system.send(sampling, items)
    await system.tb.wait(3 * TILE_ROWS * system.config.seats)
    first = next(number for number, item in enumerate(items) if item["kept"])
    ends = [number for number, item in enumerate(items) if item["last"] and number > first]
    assert len(system.words.accepted) == ends[1] + 1
    system.command.every = 1
    await system.check(sampling, items)


@cocotb.test()
async def full_throughput(dut):
    """A word a cycle, for one seat and for all, as long as tiles are whole."""
    system = System(dut, 5)
    await system.tb.reset()
    for samples in (0, 1, 1, 0.5):
        sampling, items = system.matrix(10 * TILE_ROWS, samples=samples, kept=1)
        mark = len(system.words.cycles)
        system.send(sampling, items)
        await system.check(sampling, items)
        cycles = system.words.cycles[mark:]
        assert cycles[-1] - cycles[0] == len(items) - 1


@pytest.mark.parametrize("config", SIZES)
def test_tile_dump(sim, config):
    harness.run(TileDump(configuration(config)), __name__, sim=sim, parameters=config)
