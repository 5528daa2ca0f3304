"""The arbiter's channels field by field: what goes in comes out as it was, in order, on the side its ID says."""

import cocotb
import harness
from axi_channels import Channels, layouts
from cocotb.triggers import RisingEdge
from scoville.board.arbiter import MemoryArbiter
from scoville.board.bus_access import LINK_ID
from scoville.config import get_config

CONFIG = get_config("slim")
LAYOUTS = layouts(CONFIG)
PORTS = ("chip", "link", "memory")
LONGEST = 4  # beats of a burst
SLOW = 0.9  # chance of a pause where a channel lags behind


class System:
    """The three ports as streams of random fields; the managers' writes are whole bursts, the answers are anything."""

    def __init__(self, dut, seed, stalls, slow=()):
        self.tb = harness.Bench(Channels(dut, {f"{port}_": port for port in PORTS}), seed)
        self.rng = self.tb.rng

        def pace(name):
            return SLOW if name in slow else stalls

        self.sources = {name: self.tb.source(name, pace(name)) for name in (
            *(f"{port}_{channel}" for port in ("chip", "link") for channel in ("ar", "aw", "w")),
            "memory_r", "memory_b")}
        # The link is always ready for an answer.
        self.sinks = {name: self.tb.sink(name, 0 if name.startswith("link") else pace(name)) for name in (
            *(f"memory_{channel}" for channel in ("ar", "aw", "w")),
            *(f"{port}_{channel}" for port in ("chip", "link") for channel in ("r", "b")))}
        self.sent = {name: [] for name in self.sources}
        self.bursts = {port: [] for port in ("chip", "link")}  # the data of each

    def send(self, name, **given):
        """An item of a channel: all fields random but those given."""
        layout = LAYOUTS[name.partition("_")[2]]
        fields = {field: self.rng.getrandbits(layout[field].width) for field in layout.members} | given
        packed = harness.pack(layout, fields)
        self.sources[name].send([packed])
        self.sent[name].append(packed)
        return packed

    def number(self, port):
        return LINK_ID if port == "link" else self.rng.randrange(LINK_ID)

    def read(self, port):
        self.send(f"{port}_ar", id=self.number(port))

    def write(self, port, beats):
        self.send(f"{port}_aw", id=self.number(port))
        self.bursts[port].append([self.send(f"{port}_w", last=int(beat == beats - 1)) for beat in range(beats)])

    def answer(self):
        for channel in ("memory_r", "memory_b"):
            self.send(channel)

    async def drain(self):
        for source in self.sources.values():
            await source.drain()
        for _ in range(400):
            await self.tb.wait(1)
            if all(len(self.sinks[f"memory_{channel}"].received)
                   == sum(len(self.sent[f"{port}_{channel}"]) for port in ("chip", "link"))
                   for channel in ("ar", "aw", "w")):
                break
        await self.tb.wait(20)

    def check(self):
        """Everything came, unchanged and in order; the data of the bursts in the order of their addresses."""
        def of(name, items, *, link):
            layout = LAYOUTS[name.partition("_")[2]]
            return [item for item in items if (harness.unpack(layout, item)["id"] == LINK_ID) == link]

        for port in ("chip", "link"):
            for channel in ("ar", "aw"):
                name = f"memory_{channel}"
                assert of(name, self.sinks[name].received, link=port == "link") == self.sent[f"{port}_{channel}"]
            for channel in ("r", "b"):
                name = f"memory_{channel}"
                assert self.sinks[f"{port}_{channel}"].received == of(name, self.sent[name], link=port == "link")
        waiting = {port: list(bursts) for port, bursts in self.bursts.items()}
        data = []
        for item in self.sinks["memory_aw"].received:
            port = "link" if harness.unpack(LAYOUTS["aw"], item)["id"] == LINK_ID else "chip"
            data += waiting[port].pop(0)
        assert self.sinks["memory_w"].received == data
        assert not any(waiting.values())


@cocotb.test()
@cocotb.parametrize(slow=["", "chip_w", "chip_aw", "link_w", "link_aw", "memory_aw", "memory_w"])
async def fields(dut, slow):
    system = System(dut, 1, 0.2, slow)
    await system.tb.reset()
    for _ in range(60):
        system.answer()
        system.read("chip")
        system.write("chip", system.rng.randint(1, LONGEST))
    for _ in range(15):  # one transfer of the link at a time
        system.read("link")
        system.write("link", system.rng.randint(1, 2))
        while not all(system.sources[f"link_{channel}"].idle for channel in ("ar", "aw", "w")):
            await system.tb.wait(1)
        await system.tb.wait(system.rng.randrange(30))
    await system.drain()
    system.check()


@cocotb.test()
async def full_speed(dut):
    """The chip alone: an item a cycle on every channel, and a cycle from one side to the other."""
    system = System(dut, 2, 0.0)
    await system.tb.reset()
    for _ in range(60):
        system.send("memory_r", id=0)
        system.send("memory_b", id=0)
        system.read("chip")
        system.write("chip", 1)
    await system.drain()
    system.check()
    for channel in ("ar", "aw"):
        harness.assert_full_speed(system.sources[f"chip_{channel}"], system.sinks[f"memory_{channel}"], 1)
    harness.assert_full_speed(system.sources["chip_w"], system.sinks["memory_w"], 1)
    for channel in ("r", "b"):
        harness.assert_full_speed(system.sources[f"memory_{channel}"], system.sinks[f"chip_{channel}"], 1)


@cocotb.test()
async def addresses_ahead(dut):
    """Addresses without data: as many as are counted go out, and the others when theirs have ended."""
    system = System(dut, 3, 0.0)
    await system.tb.reset()
    most = MemoryArbiter.OUTSTANDING
    for _ in range(most + 5):
        system.send("chip_aw", id=0)
    await system.tb.wait(most + 20)
    sink = system.sinks["memory_aw"]
    assert len(sink.received) == most
    for ended in range(1, 6):
        for beat in range(2):
            await system.tb.wait(10)
            assert len(sink.received) == most + ended - 1
            system.send("chip_w", last=beat)
        await system.tb.wait(10)
        assert len(sink.received) == most + ended
    assert sink.received == system.sent["chip_aw"]


@cocotb.test()
async def chip_always_reads(dut):
    """The chip's read addresses come without a gap: the link's goes first."""
    tb = harness.Bench(dut, 4)
    await tb.reset()
    dut.chip__arvalid.value = dut.memory__arready.value = 1
    dut.link__arid.value = LINK_ID
    for wait in range(8):
        await tb.wait(5 + wait)
        dut.link__arvalid.value, start = 1, tb.cycle
        await RisingEdge(dut.clk)
        while not harness.peek(dut.link__arready):
            await RisingEdge(dut.clk)
            assert tb.cycle - start < 6, "the link waits for the chip's pause"
        dut.link__arvalid.value = 0
        taken = 0
        for _ in range(12):
            await RisingEdge(dut.clk)
            assert not harness.peek(dut.link__arready)
            taken += harness.peek(dut.chip__arready)
        assert taken >= 11, "the chip's reads do not go on"


def test_arbiter_fields(sim):
    harness.run(MemoryArbiter(CONFIG), __name__, sim=sim)
