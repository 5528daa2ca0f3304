"""The fetch arbiter: every client gets its own beats, one read at a time, client 0 first; speed."""

import random

import cocotb
import harness
import pytest
from scoville.config import get_config
from scoville.memory.fetch_arbiter import FetchArbiter
from scoville.memory.fetch_port import fetch_layout, response_layout

CLIENTS = 3


class System:
    """Clients, and a fetch port whose beats are made of their addresses."""

    def __init__(self, dut, seed, stalls):
        self.dut, self.config = dut, get_config(harness.parameters())
        self.tb = tb = harness.Bench(dut, seed)
        self.asked = [tb.source(f"i__{n}", stalls) for n in range(CLIENTS)]
        self.beats = [tb.sink(f"o__{n}", stalls) for n in range(CLIENTS)]
        self.request, self.response = tb.sink("request", stalls), tb.source("response", stalls)
        self.wanted, self.served = [[] for _ in range(CLIENTS)], 0
        tb.each_cycle(self._serve)

    def answer(self, fetch):
        bits = random.Random(fetch["address"])
        return [bits.getrandbits(response_layout(self.config).size) for _ in range(fetch["beats"])]

    def ask(self, client, address, beats):
        fetch = {"address": address * self.config.bus_bytes, "beats": beats}
        self.asked[client].send([harness.pack(fetch_layout(self.config), fetch)])
        self.wanted[client] += self.answer(fetch)

    def _serve(self):
        for packed in self.request.received[self.served:]:
            assert self.response.idle, "a read before the last one's beats are taken"
            self.served += 1
            self.response.send(self.answer(harness.unpack(fetch_layout(self.config), packed)))


async def traffic(dut, seed, stalls):
    system = System(dut, seed, stalls)
    await system.tb.reset()
    rng = system.tb.rng
    for _ in range(60):
        beats = rng.choice([1, 1, 2, 8, 255]) if rng.random() < 0.2 else rng.randint(1, 4)
        address = rng.getrandbits(system.config.addr_bits) // system.config.bus_bytes
        system.ask(rng.randrange(CLIENTS), address, beats)
    for beats, wanted in zip(system.beats, system.wanted, strict=True):
        while len(beats.received) < len(wanted):
            await system.tb.wait(10)
        assert beats.received == wanted
    return system


@cocotb.test()
async def random_stalls(dut):
    await traffic(dut, 1, 0.3)


@cocotb.test()
async def full_speed(dut):
    """A beat a cycle; client 0 before all that waits; the next read goes in the cycle behind the last beat."""
    await traffic(dut, 2, 0.0)
    system = System(dut, 3, 0.0)
    await system.tb.reset()
    for address, client in enumerate((2, 1, 0, 0)):
        system.ask(client, address, 4)
    for beats, wanted in zip(system.beats, system.wanted, strict=True):
        while len(beats.received) < len(wanted):
            await system.tb.wait(1)
    order = [harness.unpack(fetch_layout(system.config), packed)["address"] for packed in system.request.received]
    assert order == [n * system.config.bus_bytes for n in (2, 3, 1, 0)]
    ends = system.response.cycles[3::4]
    assert all(end - begin == 3 for begin, end in zip(system.response.cycles[::4], ends, strict=True))
    assert [begin - end for begin, end in zip(system.request.cycles[1:], ends, strict=False)] == [1, 1, 1]


@pytest.mark.parametrize("config", ["nano"])
def test_fetch_arbiter(sim, config):
    harness.run(FetchArbiter(get_config(config), clients=CLIENTS), __name__, sim=sim, parameters=config)
