"""The link's way to registers and memory, at subordinates that take addresses and data in every order: model, speed."""

import cocotb
import harness
import pytest
from cocotb.triggers import RisingEdge
from scoville.board.bus_access import LINK_ID, BusAccess, access_layout, outcome_layout
from scoville.config import get_config
from scoville.memory import axi

TEMPERS = ("any", "both", "data first", "address first")
SHORTEST = 4  # cycles of an access


class Place:
    """Words that remember; some addresses answer with an error, and every code that is none is no error."""

    def __init__(self, bits):
        self.words, self.mask, self.touched = {}, (1 << bits) - 1, 0

    @staticmethod
    def resp(address):
        return axi.Resp((address >> 5) % 4).value

    def read(self, address):
        self.touched += 1
        return self.words.get(address, address * 0x9E3779B97F4A7C15 & self.mask), self.resp(address) >> 1

    def write(self, address, value):
        self.touched += 1
        if not self.resp(address) >> 1:
            self.words[address] = value & self.mask
        return self.resp(address) >> 1


class Subordinate:
    """One AXI port: `temper` says in which order it takes the two halves of a write; it stalls at random."""

    def __init__(self, tb, dut, name, place, temper, stalls):
        self.tb, self.place, self.temper, self.stalls = tb, place, temper, stalls
        self.name, self._dut = name, dut
        size = (len(dut.memory__wdata) // 8 - 1).bit_length()
        self.owner, self.burst = {}, {}
        if name == "memory":
            self.owner = {"id": LINK_ID}
            self.burst = {**self.owner, "len": 0, "size": size, "burst": axi.Burst.INCR.value}

    def port(self, name):
        return getattr(self._dut, f"{self.name}__{name}")

    def get(self, name):
        return int(self.port(name).value)

    def address(self, channel):
        """The address that a channel carries; its other fields are what the contract says."""
        assert {field: self.get(channel + field) for field in self.burst} == self.burst
        return self.get(f"{channel}addr")

    def data(self):
        assert self.get("wstrb") == (1 << len(self.port("wstrb"))) - 1
        assert not self.owner or self.get("wlast")
        return self.get("wdata")

    def answer(self, channel, address, **fields):
        for field, value in {**fields, **self.owner, "resp": self.place.resp(address)}.items():
            self.port(channel + field).value = value

    async def run(self):
        """A cycle at a time: what was valid and ready at the edge has passed."""
        ready, taken, owed = dict.fromkeys(("ar", "aw", "w"), False), {}, None
        while True:
            await RisingEdge(self._dut.clk)
            valid = {channel: self.get(f"{channel}valid") for channel in ready}
            assert not owed or not any(valid.values()), "one access at a time"
            if owed and self.get(f"{owed}valid") and self.get(f"{owed}ready"):
                self.port(f"{owed}valid").value = 0
                owed = None
            if ready["ar"] and valid["ar"]:
                address = self.address("ar")
                self.answer("r", address, data=self.place.read(address)[0], **({"last": 1} if self.owner else {}))
                owed = "r"
            for channel, value in (("aw", self.address), ("w", self.data)):
                if ready[channel] and valid[channel]:
                    assert channel not in taken
                    taken[channel] = value(channel) if channel == "aw" else value()
            if len(taken) == 2:
                self.place.write(taken["aw"], taken["w"])
                self.answer("b", taken["aw"])
                taken, owed = {}, "b"
            go = {name: self.tb.rng.random() >= self.stalls for name in ("ar", "aw", "w", "answer")}
            if owed and go["answer"]:
                self.port(f"{owed}valid").value = 1
            if self.temper == "both":
                go["aw"] = go["w"] = go["aw"] and valid["aw"] and valid["w"] and not any(ready[n] for n in ("aw", "w"))
            if self.temper == "data first":
                go["aw"] &= "w" in taken
            if self.temper == "address first":
                go["w"] &= "aw" in taken
            ready = {channel: bool(go[channel]) and channel not in taken for channel in ready}
            for channel, value in ready.items():
                self.port(f"{channel}ready").value = int(value)


class Bus:
    """Both ports and the two streams, and the model's copies of what is behind the ports."""

    def __init__(self, dut, seed, temper, stalls):
        self.config = get_config(harness.parameters()["config"])
        self.tb, self.dut = harness.Bench(dut, seed), dut
        self.source, self.sink = self.tb.source("i", stalls), self.tb.sink("o", stalls)
        bits = {"registers": axi.LITE_DATA_BITS, "memory": self.config.bus_bits}
        self.places = {name: Place(width) for name, width in bits.items()}
        self.copies = {name: Place(width) for name, width in bits.items()}
        self.ports = [Subordinate(self.tb, dut, name, place, temper, stalls) for name, place in self.places.items()]

    async def start(self):
        await self.tb.reset()
        for port in self.ports:
            cocotb.start_soon(port.run())

    def accesses(self, count):
        rng, layout = self.tb.rng, access_layout(self.config)
        for _ in range(count):
            registers = rng.randrange(2)
            address = rng.choice([rng.randrange(0, 256, 4), rng.getrandbits(32)])
            yield harness.pack(layout, {"registers": registers, "write": rng.randrange(2), "address": address,
                                        "data": rng.getrandbits(self.config.bus_bits)})

    async def compare(self, count):
        self.source.send(self.accesses(count))
        found = [harness.unpack(outcome_layout(self.config), each) for each in await self.sink.receive(count)]
        accepted = [harness.unpack(access_layout(self.config), each) for each in self.source.accepted]
        wanted = list(BusAccess.model(accepted, **self.copies))
        assert [(each["data"], each["error"]) for each in found] == wanted
        for name, place in self.places.items():
            assert (place.words, place.touched) == (self.copies[name].words, self.copies[name].touched)
        assert {error for _, error in wanted} == {0, 1}


@cocotb.test()
@cocotb.parametrize(temper=TEMPERS)
async def stalls(dut, temper):
    bus = Bus(dut, TEMPERS.index(temper), temper, 0.4)
    await bus.start()
    await bus.compare(200)


@cocotb.test()
async def full_speed(dut):
    """Four cycles an access: the access, its address, its answer, the outcome."""
    bus = Bus(dut, 10, "any", 0)
    await bus.start()
    await bus.compare(100)
    for cycles in (bus.source.cycles, bus.sink.cycles):
        assert {after - before for before, after in zip(cycles[1:], cycles[2:], strict=False)} == {SHORTEST}, cycles


@pytest.mark.parametrize("config", ["slim", "nano"])
def test_bus_access(sim, config):
    harness.run(BusAccess(get_config(config)), __name__, sim=sim, parameters={"config": config})
